"""A gallery in a folder behind a real server, asked by the official client."""

from __future__ import annotations

import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from elasticsearch import ApiError, Elasticsearch, NotFoundError

from es_mappings.local import LocalGallery
from reranker.local_elasticsearch.upstream import LocalUpstream
from tests.support.documents import DIMS, document

if TYPE_CHECKING:
    from collections.abc import Iterator

X = [1.0, 0.0, 0.0, 0.0]
KNN = {"field": "descriptor", "query_vector": X, "k": 2, "num_candidates": 10}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGallery]:
    folder = tmp_path_factory.mktemp("gallery")
    with LocalGallery.create(folder, DIMS, "f" * 64, {"maps": "here"}) as made:
        made.put(
            [
                document("a", X, meta={"city": "Paris", "large": 2**70}, revision=3),
                document("b/1", [1, 1, 0, 0], meta={"city": "Paris"}),
                document("c", [0, 0, 1, 0]),
            ]
        )
        yield made


@pytest.fixture(scope="module")
def upstream(gallery: LocalGallery) -> LocalUpstream:
    return LocalUpstream(gallery)


@pytest.fixture(scope="module")
def url(upstream: LocalUpstream) -> Iterator[str]:
    async def app(scope: Any, receive: Any, send: Any) -> None:
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


@pytest.fixture(params=[False, True], ids=["plain", "gzip"], scope="module")
def client(url: str, request: pytest.FixtureRequest) -> Iterator[Elasticsearch]:
    with Elasticsearch(url, http_compress=request.param, max_retries=0) as made:
        yield made


def ids(answer: Any) -> list[str]:
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def test_the_client_knows_it(client):
    assert client.info()["tagline"] == "You Know, for Search"
    assert client.ping()
    assert client.cluster.health()["status"] == "green"
    assert client.indices.exists(index="images")
    assert not client.indices.exists(index="other")
    (row,) = client.cat.indices(format="json")
    assert (row["index"], row["docs.count"]) == ("images", "3")


def test_the_client_searches(client):
    assert ids(client.search(index="images", knn=KNN)) == ["a", "b/1"]
    assert ids(client.search(retriever={"knn": KNN}, size=1)) == ["a"]
    assert ids(client.search(query={"match_all": {}}, from_=1)) == ["b/1", "c"]
    assert client.count(query={"term": {"meta.city": "Paris"}})["count"] == 2
    found = client.search(index="im*", query={"ids": {"values": ["a"]}}, fields=["descriptor"])
    assert found["hits"]["hits"][0]["fields"]["descriptor"] == X
    client.indices.refresh(index="images")


def test_the_client_gets_documents(client):
    got = client.get(index="images", id="b/1")
    assert (got["_source"]["meta"], "descriptor" in got["_source"]) == ({"city": "Paris"}, False)
    assert client.exists(index="images", id="b/1")
    assert not client.exists(index="images", id="z")
    with pytest.raises(NotFoundError):
        client.get(index="images", id="z")
    docs = client.mget(index="images", ids=["c", "z"])["docs"]
    assert [one["found"] for one in docs] == [True, False]


def test_integers_of_any_size_come_back(client):
    assert client.get(index="images", id="a")["_source"]["meta"]["large"] == 2**70


def test_the_client_asks_several_things_at_once(client):
    searches = [{}, {"knn": KNN}, {"index": "other"}, {"query": {"match_all": {}}}]
    responses = client.msearch(index="images", searches=searches)["responses"]
    assert ids(responses[0]) == ["a", "b/1"]
    assert responses[1]["status"] == 404


def test_the_mapping_carries_the_galleries_settings(client):
    about = client.indices.get_mapping(index="images")["images"]["mappings"]["_meta"]["camsearch"]
    expected = {"format": 1, "fingerprint": "f" * 64, "dims": DIMS, "maps": "here"}
    assert about == expected


MISSING = {
    "[aggs]": lambda c: c.search(aggs={"x": {"terms": {"field": "meta.city"}}}),
    "[sort]": lambda c: c.search(sort=["width"]),
    "[highlight]": lambda c: c.search(highlight={"fields": {"uri": {}}}),
    "[explain]": lambda c: c.search(explain=True),
    "[collapse]": lambda c: c.search(collapse={"field": "uri"}),
    "'match'": lambda c: c.search(query={"match": {"uri": "x"}}),
    "'fuzzy'": lambda c: c.count(query={"bool": {"must": [{"fuzzy": {"uri": "x"}}]}}),
    "'case_insensitive'": lambda c: c.search(
        query={"term": {"uri": {"value": "x", "case_insensitive": True}}}
    ),
    "'format'": lambda c: c.search(query={"range": {"indexed_at": {"gte": "x", "format": "y"}}}),
    "[should]": lambda c: c.search(
        query={"bool": {"should": [{"match_all": {}}, {"ids": {"values": ["a"]}}]}}
    ),
    "several [knn]": lambda c: c.search(knn=[KNN, KNN]),
    "both [knn] and [query]": lambda c: c.search(knn=KNN, query={"match_all": {}}),
    "[inner_hits]": lambda c: c.search(knn=KNN | {"inner_hits": {}}),
    "[query_vector_builder]": lambda c: c.search(
        knn={"field": "descriptor", "query_vector_builder": {"text_embedding": {}}}
    ),
    "[width]": lambda c: c.search(knn=KNN | {"field": "width"}),
    "retriever [rrf]": lambda c: c.search(retriever={"rrf": {"retrievers": []}}),
    "[min_score] of [knn]": lambda c: c.search(retriever={"knn": KNN | {"min_score": 0.5}}),
    "[collapse] of the retriever": lambda c: c.search(
        retriever={"standard": {"collapse": {"field": "uri"}}}
    ),
    "format of [fields]": lambda c: c.search(fields=[{"field": "indexed_at", "format": "x"}]),
    "[q]": lambda c: c.search(q="width:640"),
    "[scroll]": lambda c: c.search(scroll="1m"),
    "[stored_fields]": lambda c: c.get(index="images", id="a", stored_fields="x"),
    "[format=json]": lambda c: c.options(headers={"accept": "text/plain"}).cat.indices(),
    "GET /_nodes": lambda c: c.nodes.info(),
    "POST /images/_pit": lambda c: c.open_point_in_time(index="images", keep_alive="1m"),
}


@pytest.mark.parametrize("named", MISSING)
def test_what_is_missing_is_named(client, named):
    with pytest.raises(ApiError) as caught:
        MISSING[named](client)
    error = caught.value.body["error"]
    assert (caught.value.status_code, caught.value.body["status"]) == (501, 501)
    assert error["root_cause"][0]["type"] == error["type"] == "unsupported_operation_exception"
    assert named in error["reason"]


WRITES = [
    lambda c: c.index(index="images", id="x", document={"a": 1}),
    lambda c: c.index(index="images", document={"a": 1}),
    lambda c: c.create(index="images", id="x", document={"a": 1}),
    lambda c: c.bulk(operations=[{"index": {}}, {"a": 1}], index="images"),
    lambda c: c.bulk(operations=[{"index": {}}, {"a": 1}]),
    lambda c: c.update(index="images", id="a", doc={"a": 1}),
    lambda c: c.delete(index="images", id="a"),
    lambda c: c.delete_by_query(index="images", query={"match_all": {}}),
    lambda c: c.indices.create(index="other"),
    lambda c: c.indices.delete(index="images"),
    lambda c: c.indices.put_mapping(index="images", properties={}),
]


@pytest.mark.parametrize("write", WRITES)
def test_writing_is_refused_with_what_writes(client, gallery, write):
    with pytest.raises(ApiError) as caught:
        write(client)
    assert caught.value.status_code == 501
    assert "use `camsearch index`" in caught.value.body["error"]["reason"]
    assert gallery.count() == 3
