"""What is killed under the proxy, and what callers are told meanwhile.

Its own end under load is in test_proxy….py.
"""

from __future__ import annotations

import asyncio
import shutil
import threading
from contextlib import closing, contextmanager

import pytest

from es_mappings import indices
from es_mappings.elastic_client import connect
from galleries.about import about_method
from indexer.pipeline import index_sources
from indexer.sources import Source
from reranker.app import make_app
from reranker.proxy.upstream import ElasticsearchUpstream, UpstreamSettings
from tests.support.asgi import ask
from tests.support.clock import HANG_S, move_clock, run_with_clock
from tests.support.house import COUNT, REGIONS, first, ranked
from tests.support.wire import run, scripted

pytestmark = pytest.mark.slow

FAST = UpstreamSettings(connect_s=1, ask_s=2, forward_s=2)


def filled(url, house):
    sources = [
        Source(f"{i:02d}", str(house.root / f"{i:02d}.png"), {"city": "Bonn"}) for i in range(COUNT)
    ]
    with connect(url) as client, closing(house.store()) as store:
        about = about_method(house.method, REGIONS)
        plan = indices.IndexPlan(replicas=0)
        indices.create_gallery(client, "images", about, house.method.settings.dims, plan)
        gallery = indices.open_gallery(client, "images")
        assert index_sources(sources, house.method, gallery, store).indexed == COUNT
        client.indices.refresh(index="images")


def test_elasticsearch_is_killed_and_comes_back(own_elasticsearch, house):
    server = own_elasticsearch()
    filled(server.url, house)
    asked = {
        "passed through": ("/images/_search", {"query": {"match_all": {}}}),
        "first search": ("/images/_search", first(house.image(2))),
        "re-ranked": ("/images/_search", ranked(house.image(2), expand={})),
        "by id": ("/images/_search", ranked({"id": "04"})),
        "several": ("/images/_msearch", None),
    }
    lines = b'{}\n{}\n{}\n{"knn": {"field": "descriptor", "k": 3, "query_vector_builder": '
    lines += b'{"camsearch": {"image": {"id": "04"}}}}}\n'

    async def answers(app):
        all_of_them = [ask(app, "POST", path, body or lines) for path, body in asked.values()]
        return dict(zip(asked, await asyncio.gather(*all_of_them), strict=True))

    async def test(app, upstream):
        try:
            before = await answers(app)
            assert {one.status for one in before.values()} == {200}
            await asyncio.to_thread(server.kill)
            for _ in range(2):
                found = await answers(app)
                assert {name: one.status for name, one in found.items()} == dict.fromkeys(
                    asked, 503
                )
                for one in found.values():
                    assert one.json["error"]["type"] == "connect_transport_exception"
                    assert "does not answer" in one.reason
                    assert one.all(b"x-elastic-product") == ["Elasticsearch"]
            await asyncio.to_thread(server.start)
            after = await answers(app)
            for name in asked:
                assert after[name].status == 200, after[name].body
                if name != "several":
                    assert after[name].ids == before[name].ids
        finally:
            await upstream.close()

    upstream = ElasticsearchUpstream(
        UpstreamSettings(server.url, FAST.connect_s, ask_s=FAST.ask_s, forward_s=FAST.forward_s)
    )
    with house.service(upstream) as service:
        run(test(make_app(service), upstream))


@pytest.mark.parametrize("body", [first({"id": "04"}), {"query": {"match_all": {}}}])
def test_elasticsearch_hangs(house, body):
    async def silent(server, reader, writer):
        await reader.read()  # until the caller gives up
        return False

    async def test():
        async with scripted(silent) as server:
            upstream = ElasticsearchUpstream(UpstreamSettings(server.url, 1, ask_s=1, forward_s=1))
            with house.service(upstream) as service:
                answer = await ask(make_app(service), "POST", "/images/_search", body)
            await upstream.close()
        return answer

    answer = run(test())
    assert answer.status == 503
    assert "does not answer" in answer.reason


BY_MAPS = {"by": "maps"}


def order(service, body):
    answer = run(ask(make_app(service), "POST", "/images/_search", body))
    assert answer.status == 200, answer.body
    return answer.ids, answer.all(b"warning")


@contextmanager
def away(path):
    """A folder that is somewhere else for a while."""
    path.rename(path.with_name("away"))
    try:
        yield
    finally:
        shutil.rmtree(path, ignore_errors=True)
        path.with_name("away").rename(path)


def test_the_kept_maps_go_and_come_back(house):
    image = house.image(5)
    with house.service() as service:
        in_first_order, _ = order(service, first(image))
        in_order, said = order(service, ranked(image, rerank=BY_MAPS))
        assert said == []
        assert in_order != in_first_order  # else nothing below would show
        with away(house.root / "maps"):
            found, (warning,) = order(service, ranked(image, rerank=BY_MAPS))
            assert found == in_first_order
            assert f"{COUNT} of {COUNT} hits keep their first score" in warning
            assert warning.startswith("299 Elasticsearch-")
        assert order(service, ranked(image, rerank=BY_MAPS)) == (in_order, [])


class Broken:
    """Maps kept where nobody can read them just now."""

    def __init__(self, error=None):
        self.error = error
        self.asked, self.free = threading.Event(), threading.Event()

    def get(self, digests):
        self.asked.set()
        if self.error:
            raise self.error
        self.free.wait(HANG_S)
        return {}

    def close(self):
        """Nothing is open."""


def test_the_store_of_maps_fails(house):
    error = RuntimeError("credentials ran out")  # as gcsfs raises it: not all are an OSError
    with house.service(features=Broken(error)) as service:
        image = house.image(5)
        expected, _ = order(service, first(image))
        found, warnings = order(service, ranked(image, rerank=BY_MAPS))
    assert found == expected
    assert len(warnings) == 1
    assert str(error) not in warnings[0]


def test_the_store_of_maps_hangs(house):
    store = Broken()
    with house.service(features=store) as service:
        image = house.image(5)
        expected, _ = order(service, first(image))
        body = ranked(image, rerank=BY_MAPS) | {"timeout": f"{HANG_S:.0f}s"}

        async def test():
            asked = asyncio.create_task(ask(make_app(service), "POST", "/images/_search", body))
            assert await asyncio.to_thread(store.asked.wait, HANG_S)
            move_clock(HANG_S)
            answer = await asked
            # The thread that waits for the store ends with it; the caller did not wait.
            store.free.set()
            return answer

        answer = run_with_clock(test())
    assert answer.ids == expected
    (warning,) = answer.all(b"warning")
    assert "timed out" in warning
