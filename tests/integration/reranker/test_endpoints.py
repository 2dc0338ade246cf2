"""Our own endpoints over a real Elasticsearch."""

from __future__ import annotations

import asyncio
from contextlib import closing, contextmanager
from urllib.parse import quote

import httpx
import pytest

from es_mappings import indices
from es_mappings.elastic_client import connect
from galleries.about import about_method
from galleries.features import FeatureStore
from indexer.pipeline import index_sources
from indexer.sources import Source
from reranker.app import make_app
from reranker.proxy.upstream import ElasticsearchUpstream, UpstreamSettings
from tests.support.tiny_network import tiny_method
from tests.support.tiny_service import (
    COUNT,
    REGIONS,
    image_text,
    make_gallery,
    re_ranked,
    tiny_service,
)

pytestmark = pytest.mark.services


@pytest.fixture
def folder(tmp_path):
    make_gallery(tmp_path)
    return tmp_path


@pytest.fixture
def images(elasticsearch_url, index_prefix, folder):
    method, name = tiny_method(), f"{index_prefix}images"
    sources = [Source(f"{i}/a.png", str(folder / str(i) / "a.png"), {}) for i in range(COUNT)]
    store = FeatureStore(str(folder / "maps"), method.fingerprint())
    with connect(elasticsearch_url) as client, closing(store):
        about = about_method(method, REGIONS)
        indices.create_gallery(
            client, name, about, method.settings.dims, indices.IndexPlan(replicas=0)
        )
        index_sources(sources, method, indices.open_gallery(client, name), store)
        client.indices.refresh(index=name)
    return name


@contextmanager
def serving(folder, url, images, **settings):
    upstream = ElasticsearchUpstream(UpstreamSettings(url))
    with tiny_service(folder, parts={"upstream": upstream, "index": images}, **settings) as made:
        yield make_app(made), upstream


def asked(app, upstream, *requests):
    async def all_of_them():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            found = [await client.request(how, path, **said) for how, path, said in requests]
        await upstream.close()
        return found

    return asyncio.run(all_of_them())


def test_a_gallery_in_elasticsearch_is_ready_explained_and_shown(folder, elasticsearch_url, images):
    body = {"id": "3/a.png", "image": {"id": "3/a.png"}, "regions": False}
    with serving(folder, elasticsearch_url, images) as (app, upstream):
        ready, explained, small, page = asked(
            app,
            upstream,
            ("GET", "/_camsearch/health/ready", {}),
            ("POST", "/_camsearch/explain", {"json": body}),
            ("GET", "/_camsearch/thumbnails/3%2Fa.png", {}),
            ("GET", "/_camsearch/", {}),
        )
    assert ready.status_code == 200, ready.text
    assert f"[{images}" in ready.json()["checks"][0]["said"]
    assert explained.status_code == 200, explained.text
    assert explained.json()["cosine"] == pytest.approx(1, abs=1e-3)
    assert explained.json()["first_cosine"] == pytest.approx(1, abs=1e-2)
    assert (small.status_code, small.headers["content-type"]) == (200, "image/jpeg")
    assert f">{COUNT}</b> images" in page.text


def by_image(image, **more):
    builder = {"camsearch": {"image": image}}
    knn = {"field": "descriptor", "k": 3, "num_candidates": 20, "query_vector_builder": builder}
    return {"knn": knn, "_source": False, **more}


def test_a_vector_searches_elasticsearch_itself_and_its_hits_are_ranked_as_by_the_proxy(
    folder, elasticsearch_url, images
):
    image = {"data": image_text(folder, 3)}
    search = re_ranked(image, COUNT)
    ids = [f"{i}/a.png" for i in range(COUNT)]
    with serving(folder, elasticsearch_url, images) as (app, upstream):
        by_proxy, reranked, described, compared = asked(
            app,
            upstream,
            ("POST", f"/{images}/_search", {"json": by_image(image)}),
            ("POST", f"/{images}/_search", {"json": search}),
            ("POST", "/_camsearch/vector", {"json": {"image": image}}),
            ("POST", "/_camsearch/rank", {"json": {"image": image, "ids": ["none", *ids]}}),
        )
    said = described.json()
    knn = {"field": "descriptor", "k": 3, "num_candidates": 20, "query_vector": said["vector"]}
    with connect(elasticsearch_url) as client:
        by_vector = client.search(index=images, knn=knn, source=False)
        knn |= {"field": "regions.vector", "query_vector": said["window_vector"]}
        by_window = client.search(index=images, knn=knn, source=False)
    assert by_vector["hits"] == by_proxy.json()["hits"]
    assert by_window["hits"]["hits"][0]["_id"] == "3/a.png"
    hits = reranked.json()["hits"]["hits"]
    assert compared.json()["scores"] == {hit["_id"]: hit["_score"] for hit in hits}
    assert compared.json()["boxes"] == {h["_id"]: h["fields"]["camsearch.box"] for h in hits}
    assert compared.json()["missing"] == ["none"]


def test_an_id_that_two_indices_have_is_not_ranked(folder, elasticsearch_url, images, index_prefix):
    twin = f"{index_prefix}twin"
    with connect(elasticsearch_url) as client:
        [made] = client.indices.get(index=images).body.values()
        client.indices.create(index=twin, mappings=made["mappings"])
        document = client.get(index=images, id="3/a.png")["_source"]
        client.index(index=twin, id="3/a.png", document=document, refresh=True)
    body = {"image": {"data": image_text(folder, 3)}, "index": f"{images},{twin}"}
    with serving(folder, elasticsearch_url, images) as (app, upstream):
        both, one = asked(
            app,
            upstream,
            ("POST", "/_camsearch/rank", {"json": {**body, "ids": ["3/a.png"]}}),
            ("POST", "/_camsearch/rank", {"json": {**body, "ids": ["2/a.png"]}}),
        )
    assert both.status_code == 400
    assert "several of the indices have" in both.json()["error"]["reason"]
    assert (one.status_code, one.json()["missing"]) == (200, [])


@pytest.fixture
def other(elasticsearch_url, index_prefix):
    """A gallery of another method beside, with a document of an id that `images` has too."""
    name, method = f"{index_prefix}other", tiny_method()
    about = {**about_method(method, REGIONS), "fingerprint": "a" * 64}
    vector = [1.0] + [0.0] * (method.settings.dims - 1)
    with connect(elasticsearch_url) as client:
        indices.create_gallery(
            client, name, about, method.settings.dims, indices.IndexPlan(replicas=0)
        )
        made = {"id": "3/a.png", "descriptor": vector}
        client.index(index=name, id="3/a.png", document=made, refresh=True)
    return name


def test_a_point_in_time_is_checked_for_its_own_indices_only(
    folder, elasticsearch_url, images, other, index_prefix
):
    with connect(elasticsearch_url) as client:
        books = f"{index_prefix}books"
        client.index(index=books, document={"title": "x"}, refresh=True)
        mine, both, none = (
            client.open_point_in_time(index=i, keep_alive="1m")["id"]
            for i in (images, f"{images},{other}", books)
        )
    search = ("POST", "/_search")
    by_id = {"id": "3/a.png"}
    with serving(folder, elasticsearch_url, images) as (app, upstream):
        plain, found, shown, two, no_image, wrong = asked(
            app,
            upstream,
            ("POST", f"/{images}/_search", {"json": by_image(by_id)}),
            (*search, {"json": by_image(by_id, pit={"id": mine})}),
            (*search, {"json": by_image({"data": image_text(folder, 3)}, pit={"id": mine})}),
            (*search, {"json": by_image(by_id, pit={"id": both})}),
            (*search, {"json": by_image(by_id, pit={"id": none})}),
            (*search, {"json": by_image(by_id, pit={"id": "x"})}),
        )
    assert found.status_code == 200, found.text
    assert found.json()["hits"] == plain.json()["hits"]
    assert shown.json()["hits"]["hits"][0]["_id"] == "3/a.png"
    assert two.status_code == 409
    assert f"[{other}" in two.json()["error"]["reason"]
    assert no_image.status_code == 400
    assert "holds no document that camsearch made" in no_image.json()["error"]["reason"]
    assert wrong.status_code == 400
    assert "camsearch" not in wrong.text  # Elasticsearch's own words


@pytest.mark.parametrize("odd", ["a\n", "\x00\x7f", "a\r\n?#%2F", "\u2028 ü/../b"])
def test_a_thumbnail_of_any_id(folder, elasticsearch_url, images, odd):
    with connect(elasticsearch_url) as client:
        made = client.get(index=images, id="3/a.png")["_source"]
        client.index(index=images, id=odd, document=made, refresh=True)
    path = f"/_camsearch/thumbnails/{quote(odd, safe='')}"
    with serving(folder, elasticsearch_url, images) as (app, upstream):
        shown, none = asked(app, upstream, ("GET", path, {}), ("GET", path + "%0Ax", {}))
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/jpeg")
    assert none.status_code == 404
    assert "is not an image of" in none.json()["error"]["reason"]


def test_an_index_that_is_not_there_is_not_ready(folder, elasticsearch_url, index_prefix):
    with serving(folder, elasticsearch_url, f"{index_prefix}none") as (app, upstream):
        ready, small = asked(
            app,
            upstream,
            ("GET", "/_camsearch/health/ready", {}),
            ("GET", "/_camsearch/thumbnails/3%2Fa.png", {}),
        )
    assert (ready.status_code, ready.json()["checks"][0]["name"]) == (503, "index")
    assert (small.status_code, small.json()["status"]) == (404, 404)
    assert small.json()["error"]["type"] == "index_not_found_exception"
