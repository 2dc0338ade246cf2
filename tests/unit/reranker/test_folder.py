"""A gallery in a folder behind a real server, asked by the official client; odd and damaged requests."""

from __future__ import annotations

import asyncio
import gzip
import json
import socket
import threading
import time
import zlib
from typing import Any

import pytest
import uvicorn
from elasticsearch import ApiError, Elasticsearch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from galleries.errors import GalleryBusy
from galleries.local import LocalGallery
from reranker.folder import LocalUpstream
from reranker.http.exchange import Request
from tests.support.documents import DIMS, document

JSON = ((b"content-type", b"application/json"),)
X = [1.0, 0.0, 0.0, 0.0]
KNN = {"field": "descriptor", "query_vector": X, "k": 2, "num_candidates": 10}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory):
    folder = tmp_path_factory.mktemp("gallery")
    with LocalGallery.create(folder, DIMS, "f" * 64, {"maps": "here"}) as made:
        made.put(
            [
                document("a", X, meta={"city": "Paris", "large": 2**70}, revision=3),
                document("b/1", [1, 1, 0, 0], meta={"city": "Paris"}),
                document("c", [0, 0, 1, 0], meta={"deep": json.loads("[" * 300 + "]" * 300)}),
            ]
        )
        yield made


@pytest.fixture(scope="module")
def upstream(gallery):
    return LocalUpstream(gallery, max_body_bytes=20_000)


@pytest.fixture(scope="module")
def url(upstream):
    async def app(scope, receive, send):
        await upstream.forward(scope, receive, send, None)

    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


@pytest.fixture(scope="module")
def client(url):
    with Elasticsearch(url, max_retries=0) as made:
        yield made


def ids(answer):
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def test_the_client_searches(client):
    assert client.info()["tagline"] == "You Know, for Search"
    assert client.ping()
    assert ids(client.search(index="images", knn=KNN)) == ["a", "b/1"]
    assert ids(client.search(retriever={"knn": KNN}, size=1)) == ["a"]
    assert ids(client.search(query={"match_all": {}}, from_=1)) == ["b/1", "c"]
    assert client.count(query={"term": {"meta.city": "Paris"}})["count"] == 2
    found = client.search(index="im*", query={"ids": {"values": ["a"]}}, fields=["descriptor"])
    assert found["hits"]["hits"][0]["fields"]["descriptor"] == X
    searches = [{}, {"knn": KNN}, {"index": "other"}, {"query": {"match_all": {}}}, {"x": 1}, {}]
    first, *others = client.msearch(index="images", searches=searches)["responses"]
    assert ids(first) == ["a", "b/1"]
    assert [one["status"] for one in others] == [404, 400]


NOT_SERVED = {
    "[aggs]": lambda c: c.search(aggs={"x": {"terms": {"field": "meta.city"}}}),
    "[sort]": lambda c: c.search(sort=["width"]),
    "[post_filter]": lambda c: c.search(post_filter={"match_all": {}}),
    "'match'": lambda c: c.search(query={"match": {"uri": "x"}}),
    "'format'": lambda c: c.search(query={"range": {"indexed_at": {"gte": "x", "format": "y"}}}),
    "[should]": lambda c: c.search(
        query={"bool": {"must": {"bool": {"should": [{"match_all": {}}]}}}}
    ),
    "several [knn]": lambda c: c.search(knn=[KNN, KNN]),
    "with both [knn] and [query]": lambda c: c.search(knn=KNN, query={"match_all": {}}),
    "[inner_hits] of [knn]": lambda c: c.search(knn=KNN | {"inner_hits": {}}),
    "another field": lambda c: c.search(knn=KNN | {"field": "width"}),
    "another field than": lambda c: c.search(knn=KNN | {"field": ["descriptor"]}),
    "[rrf] of [retriever]": lambda c: c.search(retriever={"rrf": {"retrievers": []}}),
    "[format] of [fields]": lambda c: c.search(fields=[{"field": "indexed_at", "format": "x"}]),
    "[exclude_vectors] of [_source]": lambda c: c.search(source={"exclude_vectors": True}),
    "[q] of the query string": lambda c: c.search(q="width:640"),
    "GET /_cat/indices": lambda c: c.cat.indices(format="json"),
    "POST /images/_mget": lambda c: c.mget(index="images", ids=["a"]),
    "POST /images/_pit": lambda c: c.open_point_in_time(index="images", keep_alive="1m"),
    "PUT /images/_doc/x": lambda c: c.index(index="images", id="x", document={"a": 1}),
    "PUT /_bulk": lambda c: c.bulk(operations=[{"index": {}}, {"a": 1}]),
    "DELETE /images": lambda c: c.indices.delete(index="images"),
}


@pytest.mark.parametrize("named", NOT_SERVED)
def test_what_is_not_served_is_named_with_what_is(client, gallery, named):
    with pytest.raises(ApiError) as caught:
        NOT_SERVED[named](client)
    error = caught.value.body["error"]
    assert (caught.value.status_code, caught.value.body["status"]) == (501, 501)
    assert error["root_cause"][0]["type"] == error["type"] == "unsupported_operation_exception"
    assert named in error["reason"]
    if not named.startswith("'"):
        assert "compose.yaml" in error["reason"]
        assert "camsearch index" in error["reason"]
    assert gallery.count() == 3


def ask(upstream, method, path, body=b"", **said):
    path, _, query = path.partition("?")
    return upstream.answer(Request(method, path, query, said.get("headers", JSON), body))


@pytest.mark.parametrize("path", ["/", "/nothing/_search", "/_nodes", "/images/_doc/z"])
def test_every_answer_says_which_product_it_is_and_whose_request(upstream, path):
    for accepted, kind in (
        (b"application/vnd.elasticsearch+json; compatible-with=8", None),
        (b"application/vnd.elasticsearch+json;compatible-with=9", None),
        (b"*/*", b"application/json"),
    ):
        asked_with = ((b"x-opaque-id", b"mine"), (b"accept", accepted))
        headers = dict(ask(upstream, "GET", path, headers=asked_with).headers)
        assert headers[b"x-elastic-product"] == b"Elasticsearch"
        assert headers[b"x-opaque-id"] == b"mine"
        assert headers[b"content-type"] == (kind or accepted.replace(b" ", b""))


@pytest.mark.parametrize(
    "path",
    ["/images//_search", "/%5Fsearch", "/images/%5Fsearch", "/_foo", "/_doc", "/images/_doc/a/b"],
)
def test_a_path_is_read_as_it_stands(upstream, path):
    assert ask(upstream, "GET", path).status == 501


@pytest.mark.parametrize(
    ("names", "status"),
    [("images", 200), ("_all", 200), ("im*", 200), ("images,x*", 404), ("*,-images", 404)],
)
def test_a_path_means_the_index_or_nothing(upstream, names, status):
    assert ask(upstream, "GET", f"/{names}/_count").status == status


def test_pretty_indents_the_answer(upstream):
    plain, pretty = (ask(upstream, "GET", f"/images/_count{q}").body for q in ("", "?pretty"))
    assert (b"\n" in plain, b"\n" in pretty) == (False, True)
    assert json.loads(plain) == json.loads(pretty)


def test_what_the_gallery_refuses_keeps_its_sentence(upstream, gallery, monkeypatch):
    answer = ask(upstream, "POST", "/_search", b'{"query": {"term": {"city": "Paris"}}}')
    assert answer.status == 400
    assert "meta.<name>" in json.loads(answer.body)["error"]["reason"]

    def busy(*_):
        raise GalleryBusy("Another process writes: try again.")

    monkeypatch.setattr(gallery, "count", busy)
    answer = ask(upstream, "GET", "/_count")
    assert answer.status == 503
    assert json.loads(answer.body)["error"]["reason"] == "Another process writes: try again."


def test_many_may_ask_at_once_while_the_loop_is_free(upstream, gallery, monkeypatch):
    seen, knn = set(), gallery.knn
    monkeypatch.setattr(gallery, "knn", lambda *a: seen.add(threading.current_thread()) or knn(*a))
    request = Request("POST", "/_search", "", JSON, json.dumps({"knn": KNN | {"k": 1}}).encode())

    async def all_at_once():
        return await asyncio.gather(*(upstream.ask(request) for _ in range(40)))

    found = [json.loads(answer.body) for answer in asyncio.run(all_at_once())]
    assert [ids(one) for one in found] == [["a"]] * 40
    assert threading.main_thread() not in seen


class Exchange:
    """One ASGI request, its body in pieces, and what was sent back."""

    def __init__(self, *pieces, gone=False):
        ends = [False] * (len(pieces) - 1) + [True]
        self.messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": piece, "more_body": not end or gone}
            for piece, end in zip(pieces, ends, strict=True)
        ] + [{"type": "http.disconnect"}]
        self.sent: list[dict[str, Any]] = []

    async def receive(self):
        return self.messages.pop(0)

    async def send(self, message):
        self.sent.append(message)

    def run(self, upstream, read=None, **said):
        scope = {"method": "POST", "path": "/images/_count", "query_string": b"", "headers": JSON}
        asyncio.run(upstream.forward(scope | said, self.receive, self.send, read))
        return self.sent[0]["status"] if self.sent else None


BODY = b'{"query": {"match_all": {}}}'
GZIPPED = gzip.compress(BODY, mtime=0)


def with_encoding(name):
    return {"headers": (*JSON, (b"content-encoding", name.encode()))}


@pytest.mark.parametrize(
    ("body", "name", "status"),
    [
        (GZIPPED, "gzip", 200),
        (zlib.compress(BODY), "deflate", 200),
        (BODY, "identity", 200),
        (gzip.compress(b" " * 20_001, mtime=0), "gzip", 413),
        (GZIPPED[:-9], "gzip", 400),
        (b"no gzip", "gzip", 400),
        (GZIPPED, "zstd", 400),
    ],
    ids=["gzip", "deflate", "identity", "a bomb", "cut short", "no gzip", "not known"],
)
def test_a_body_may_be_packed_and_come_in_pieces(upstream, body, name, status):
    exchange = Exchange(body[:9], body[9:])
    assert exchange.run(upstream, **with_encoding(name)) == status
    assert Exchange(b"no json").run(upstream, body, **with_encoding(name)) == status
    said = json.loads(exchange.sent[1]["body"])
    assert said["count"] == 3 if status == 200 else said["status"] == status


def test_a_body_that_is_too_large_is_not_read_to_its_end(upstream):
    exchange = Exchange(*[b"x" * 15_000] * 9)
    assert exchange.run(upstream) == 413
    assert len(exchange.messages) == 8


def test_a_caller_who_goes_is_not_answered(upstream):
    assert Exchange(b"{", gone=True).run(upstream) is None


def test_head_has_the_length_of_the_answer_and_no_body(upstream):
    exchange = Exchange(b"")
    assert exchange.run(upstream, method="HEAD", path="/images/_doc/a", headers=()) == 200
    length = dict(exchange.sent[0]["headers"])[b"content-length"]
    assert int(length) == len(ask(upstream, "GET", "/images/_doc/a", headers=()).body)
    assert exchange.sent[1]["body"] == b""


NAMES = """_source fields from knn min_score query retriever size timeout explain aggs field
    query_vector k num_candidates filter similarity boost standard bool must should must_not term
    range exists ids match_all values value gte lt includes excludes descriptor meta.city meta"""
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 12),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "a", "descriptor", "meta.city", "me*", "3s", "true", "P4AAAA==", "\x00"]),
    st.just(X),
)
VALUES = st.recursive(
    LEAVES,
    lambda below: (
        st.lists(below, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES.split()), below, max_size=3)
    ),
    max_leaves=8,
)
CLAUSES = st.fixed_dictionaries(
    {"field": st.just("descriptor"), "query_vector": st.just(X) | VALUES},
    optional={"k": VALUES, "num_candidates": VALUES, "filter": VALUES, "boost": VALUES},
)
SEARCHES = st.fixed_dictionaries(
    {},
    optional={
        "knn": CLAUSES | VALUES,
        "query": st.fixed_dictionaries({"bool": VALUES}) | VALUES,
        "retriever": st.fixed_dictionaries({"standard": VALUES}) | VALUES,
        "size": VALUES,
        "_source": VALUES,
        "fields": VALUES,
    },
)


def check_shape(answer):
    said = json.loads(answer.body)
    assert answer.status in {200, 400, 404, 501}
    if answer.status >= 400:
        assert said["status"] == answer.status
        assert said["error"]["root_cause"][0]["reason"].strip()


@given(body=SEARCHES | VALUES, path=st.sampled_from(["_search", "_count"]))
@example(body={"knn": {"field": "descriptor", "query_vector": [1e300] * 4}}, path="_search")
@example(body={"knn": {"field": "descriptor", "query_vector": [10**400] * 4}}, path="_search")
@example(body={"query": {"term": {"meta.city": "\ud800"}}}, path="_count")
@example(body={"_source": ["meta.deep"], "fields": ["meta.deep"]}, path="_search")
@settings(max_examples=200)
def test_any_body_is_answered_or_refused(upstream, body, path):
    check_shape(ask(upstream, "POST", f"/images/{path}", json.dumps(body).encode()))


@given(lines=st.lists(st.binary(max_size=9) | SEARCHES.map(lambda s: json.dumps(s).encode())))
def test_any_lines_are_answered_or_refused(upstream, lines):
    check_shape(ask(upstream, "POST", "/_msearch", b"".join(line + b"\n" for line in lines)))


@given(query=st.text("_sourceinlude=&,*%tkfrmz01", max_size=30))
@example(query="_source_includes=*")
@example(query="size=1&from=")
def test_any_parameters_are_answered_or_refused(upstream, query):
    check_shape(upstream.answer(Request("GET", "/images/_search", query)))
