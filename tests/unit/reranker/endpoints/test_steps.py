"""``/vector`` and ``/rank``: the steps that a plugin or a plain client asks for, one at a time."""

from __future__ import annotations

import asyncio
import logging

import orjson
import pytest

from reranker.app import make_app
from reranker.errors import UpstreamUnreachable
from reranker.http.exchange import Answer
from tests.support.clock import HANG_S, move_clock, run_with_clock
from tests.support.tiny_service import ask, image_text, re_ranked, tiny_service

JSON = ((b"content-type", b"application/json"),)
VECTOR, RANK = "/_camsearch/vector", "/_camsearch/rank"
BOX = [10, 5, 60, 50]
IDS = [f"{i}/a.png" for i in range(6)]


@pytest.fixture(scope="module")
def shared(folder):
    with tiny_service(folder) as made:
        yield made


@pytest.fixture
def service(shared):
    shared.upstream.asked.clear()
    shared.upstream.instead.clear()
    shared.upstream.slow_s = 0
    return shared


@pytest.fixture
def image(folder):
    return {"data": image_text(folder)}


def mapping(fingerprint):
    about = {"images-1": {"mappings": {"_meta": {"camsearch": {"fingerprint": fingerprint}}}}}
    return Answer(200, JSON, orjson.dumps(about))


SEVERAL = {
    "image": None,
    "images": [{"id": "2/a.png"}, {"id": "3/a.png", "box": BOX}],
    "without": [{"id": "4/a.png"}],
}


@pytest.mark.parametrize("query", [{}, {"box": BOX}, {"image": {"id": "2/a.png"}}, SEVERAL])
def test_the_vectors_are_those_that_a_search_sends(service, image, query):
    asked = {"image": image, **query}
    found = ask(service, "POST", VECTOR, json=asked)
    assert found.status_code == 200
    said = found.json()
    assert (said["version"], said["dims"]) == (1, len(said["vector"]))
    assert said["fingerprint"] == service.method.fingerprint()
    for field, ours in (("descriptor", "vector"), ("regions.vector", "window_vector")):
        service.upstream.asked.clear()
        knn = {"field": field, "k": 3, "query_vector_builder": {"camsearch": asked}}
        ask(service, "POST", "/images/_search", json={"knn": knn})
        sent = [orjson.loads(one.body) for one in service.upstream.asked if b"knn" in one.body]
        assert said[ours] == sent[0]["knn"]["query_vector"]


def test_clients_of_elasticsearch_accept_the_answers(service, image):
    for path, body in ((VECTOR, {"image": image}), (RANK, {"image": image, "ids": IDS})):
        answer = ask(service, "POST", path, json=body)
        assert answer.headers["x-elastic-product"] == "Elasticsearch"
        assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    ("how", "rerank"),
    [
        ({}, {"by": "maps"}),
        ({"by": "images"}, {"by": "images"}),
        ({"by": "maps", "classes": 2}, {"by": "maps", "classes": 2}),
    ],
)
def test_hits_are_compared_as_by_a_search(service, image, how, rerank):
    search = re_ranked(image, len(IDS))
    search["retriever"]["camsearch"]["rerank"] = rerank
    hits = ask(service, "POST", "/images/_search", json=search).json()["hits"]["hits"]
    said = ask(service, "POST", RANK, json={"image": image, "ids": IDS, **how}).json()
    assert said["scores"] == {hit["_id"]: hit["_score"] for hit in hits}
    assert said["boxes"] == {hit["_id"]: hit["fields"]["camsearch.box"] for hit in hits}
    assert (said["missing"], said["version"]) == ([], 1)
    assert said["fingerprint"] == service.method.fingerprint()


def test_hits_that_cannot_be_compared_are_named(folder, image):
    with tiny_service(folder, parts={"features": None}, serve_max_encoded=2) as service:
        said = ask(service, "POST", RANK, json={"image": image, "ids": ["x", *IDS]}).json()
    assert len(said["scores"]) == 2
    assert said["missing"][0] == "x"
    assert {*said["missing"][1:], *said["scores"]} == set(IDS)


def test_an_id_in_several_indices_is_refused(service, image):
    fields = {"digest": ["a"], "width": [9], "height": [9]}
    hits = [{"_index": name, "_id": IDS[0], "fields": fields} for name in ("a", "b")]
    service.upstream.instead["_search"] = Answer(200, JSON, orjson.dumps({"hits": {"hits": hits}}))
    answer = ask(service, "POST", RANK, json={"image": image, "ids": IDS[:1]})
    assert answer.status_code == 400
    assert "ask once for each index" in answer.json()["error"]["reason"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"ids": IDS}, "[body.image]"),
        ({"ids": IDS, "images": [{"id": IDS[0]}]}, "[body.images]"),
        ({"image": {"id": IDS[0]}}, "[ids] must be a list of ids, not null"),
        ({"image": {"id": IDS[0]}, "ids": []}, "give 1 to 7"),
        ({"image": {"id": IDS[0]}, "ids": [str(i) for i in range(8)]}, "[ids] has 8 ids"),
        ({"image": {"id": IDS[0]}, "ids": ["a", "a"]}, "give each once"),
        ({"image": {"id": IDS[0]}, "ids": ["a", 1]}, "[ids.1] must be a text"),
        ({"image": {"id": IDS[0]}, "ids": ["a"], "by": "windows"}, "Elasticsearch compares"),
        ({"image": {"id": IDS[0]}, "ids": ["a"], "by": ["maps"]}, "[body.by] must be"),
        ({"image": {"id": IDS[0]}, "ids": ["a"], "classes": 11}, "from 1 to 10"),
        ({"image": {"id": IDS[0]}, "ids": ["a"], "index": "_nodes"}, "not the name of an index"),
        ({"image": {"id": IDS[0]}, "ids": ["a"], "size": 3}, "[body.size] is not known"),
        ({"image": {"url": "http://x/a.png"}, "ids": ["a"]}, "[image.url] is not allowed"),
    ],
)
def test_what_cannot_be_ranked_is_refused_in_shape(folder, body, words):
    with tiny_service(folder, serve_max_window=7) as service:
        answer = ask(service, "POST", RANK, json=body)
    assert (answer.status_code, answer.json()["status"]) == (400, 400)
    assert words in answer.json()["error"]["reason"]


@pytest.mark.parametrize("path", [VECTOR, RANK])
def test_an_index_of_another_method_is_a_conflict(service, image, path):
    service.upstream.instead["theirs/_mapping"] = mapping("f" * 64)
    body = {"image": image, "index": "theirs"} | ({"ids": IDS} if path == RANK else {})
    answer = ask(service, "POST", path, json=body)
    assert (answer.status_code, answer.json()["status"]) == (409, 409)


@pytest.mark.parametrize("path", [VECTOR, RANK])
def test_each_caller_must_have_a_right_to_the_index(service, image, path):
    """What one caller was told of an index lets no other one use the network."""
    body = {"image": image} | ({"ids": IDS} if path == RANK else {})
    mine, other = ({"authorization": f"ApiKey {name}"} for name in ("me", "other"))
    assert ask(service, "POST", path, json=body, headers=mine).status_code == 200
    assert all((b"authorization", b"ApiKey me") in a.headers for a in service.upstream.asked)
    told = Answer(401, (*JSON, (b"www-authenticate", b"ApiKey")), b'{"status":401}')
    service.upstream.instead["_mapping"] = told
    refused = ask(service, "POST", path, json=body, headers=other)
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "ApiKey")


def test_an_elasticsearch_that_is_away_is_told(service, image):
    service.upstream.instead["_mapping"] = UpstreamUnreachable("It is away.")
    headers = {"authorization": "ApiKey third"}
    answer = ask(service, "POST", VECTOR, json={"image": image}, headers=headers)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (503, "It is away.")


def test_bodies_and_rates_are_limited(folder, image):
    with tiny_service(folder, serve_rate="2/minute", serve_max_body=40_000) as service:
        large = ask(service, "POST", VECTOR, content=b" " * 40_001)
        assert (large.status_code, large.json()["status"]) == (413, 413)
        assert ask(service, "POST", VECTOR, json={"image": image}).status_code == 200
        refused = ask(service, "POST", RANK, json={"image": image, "ids": IDS})
        assert (refused.status_code, refused.json()["status"]) == (429, 429)
        assert int(refused.headers["retry-after"]) >= 1
        text = ask(service, "GET", "/_camsearch/metrics").text
    for endpoint, outcome in (
        ("vector", "refused"),
        ("vector", "answered"),
        ("rank", "overloaded"),
    ):
        label = f'camsearch_steps_total{{endpoint="{endpoint}",outcome="{outcome}"}}'
        assert f"{label} 1.0" in text


def test_a_comparison_that_takes_too_long_is_ended(folder, image):
    with tiny_service(folder, serve_timeout=3) as service:
        app, upstream = make_app(service), service.upstream
        upstream.slow_s, upstream.slow_at = HANG_S, "_search"

        async def test():
            asked = asyncio.create_task(_asked(app, {"image": image, "ids": IDS}))
            await _until_searched(upstream)
            move_clock(3)
            return await asked

        status, body = run_with_clock(test())
    assert status == 429
    assert "within 3 s" in orjson.loads(body)["error"]["reason"]


def test_a_caller_who_disconnects_ends_the_work(folder, image, caplog):
    caplog.set_level(logging.INFO, "camsearch.search")
    with tiny_service(folder) as service:
        app, upstream = make_app(service), service.upstream
        upstream.slow_s, upstream.slow_at = HANG_S, "_search"

        async def test():
            gone = asyncio.Event()
            asked = asyncio.create_task(_asked(app, {"image": image, "ids": IDS}, gone))
            await _until_searched(upstream)
            gone.set()
            await asked  # returns long before the upstream does

        asyncio.run(test())
    assert [r.outcome for r in caplog.records if r.name == "camsearch.search"] == ["gone"]


async def _until_searched(upstream):
    while not any("_search" in one.path for one in upstream.asked):  # noqa: ASYNC110 - told to nobody
        await asyncio.sleep(0)


async def _asked(app, body, gone=None):
    """Status and body of a request to rank, whose caller disconnects when `gone` is set."""
    data, sent = orjson.dumps(body), []
    waiting = [{"type": "http.request", "body": data, "more_body": False}]

    async def receive():
        if waiting:
            return waiting.pop()
        await (gone or asyncio.Event()).wait()
        return {"type": "http.disconnect"}

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "http_version": "1.1", "method": "POST", "scheme": "http"}
    scope |= {
        "path": RANK,
        "raw_path": RANK.encode(),
        "query_string": b"",
        "client": ("127.0.0.1", 1),
    }
    scope |= {"headers": [*JSON, (b"content-length", b"%d" % len(data))], "server": ("x", 1)}
    await app(scope, receive, send)
    status = sent[0]["status"] if sent else None
    return status, b"".join(message.get("body", b"") for message in sent[1:])
