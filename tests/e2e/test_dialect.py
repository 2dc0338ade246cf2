"""Each part of the dialect, asked by the official Python client of a real Elasticsearch."""

from __future__ import annotations

import base64
import warnings

import pytest
from elasticsearch import ApiError, Elasticsearch, ElasticsearchWarning

from tests.e2e.photos import query_photo
from tests.support.clock import HANG_S

pytestmark = pytest.mark.services

PHOTO = {"data": base64.b64encode(query_photo()).decode()}
CATS = ["cat-1", "cat-2", "cat-3"]
KNN = {"field": "descriptor", "k": 15, "num_candidates": 50}


def built(image=PHOTO, **more):
    return KNN | {"query_vector_builder": {"camsearch": {"image": image, **more}}}


def ranked(image=PHOTO, box=None, **more):
    boxed = {} if box is None else {"box": box}
    return {"camsearch": {"retriever": {"knn": built(image, **boxed)}, **more}}


def ids(answer):
    return [hit["_id"] for hit in answer["hits"]["hits"]]


def scores(answer):
    return [hit["_score"] for hit in answer["hits"]["hits"]]


@pytest.fixture(scope="module")
def es(proxy):
    with Elasticsearch(proxy.url, max_retries=0, request_timeout=HANG_S) as client:
        yield client


@pytest.fixture(scope="module")
def direct(elasticsearch_url):
    with Elasticsearch(elasticsearch_url, max_retries=0) as client:
        yield client


@pytest.fixture
def search(es, gallery):
    return lambda **asked: es.search(index=gallery, **asked)


PLACES = {
    "knn": lambda clause: {"knn": clause},
    "list": lambda clause: {"knn": [clause, clause | {"boost": 0.5}]},
    "query": lambda clause: {"query": {"knn": clause}},
    "bool": lambda clause: {
        "query": {"bool": {"must": {"knn": clause}, "filter": {"exists": {"field": "width"}}}}
    },
    "retriever": lambda clause: {"retriever": {"knn": clause}},
    "standard": lambda clause: {"retriever": {"standard": {"query": {"knn": clause}}}},
    "filter": lambda clause: {"knn": clause | {"filter": {"term": {"meta.kind": "animal"}}}},
    "rescore": lambda clause: {
        "query": {"match_all": {}},
        "rescore": {"query": {"rescore_query": {"knn": clause}}},
    },
    "aggs": lambda clause: {
        "aggs": {"near": {"filter": {"knn": clause}}},
        "size": 1,
        "sort": "width",
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_a_builder_is_the_vector_it_makes(search, direct, gallery, place):
    vector = direct.search(
        index=gallery, query={"ids": {"values": ["cat-2"]}}, fields=["descriptor"]
    )["hits"]["hits"][0]["fields"]["descriptor"]
    # The maps that are kept have 8 bit, so the image's vector is not quite the indexed one.
    found = search(**PLACES[place](built({"id": "cat-2"})))
    expected = direct.search(index=gallery, **PLACES[place](KNN | {"query_vector": vector}))
    assert ids(found)[:3] == ids(expected)[:3]
    if scores(found)[0] is not None:
        assert scores(found) == pytest.approx(scores(expected), abs=0.02)
    if place != "aggs":
        assert ids(found)[0] == "cat-2" or place == "rescore"


def test_what_is_left_to_elasticsearch_means_what_it_means_there(search):
    found = search(
        retriever=ranked(),
        size=2,
        source=["meta.kind"],
        fields=["width", "descriptor"],
        aggs={"kinds": {"terms": {"field": "meta.kind"}}},
        post_filter={"term": {"meta.kind": "animal"}},
        highlight={"fields": {"uri": {}}},
        track_total_hits=True,
    )
    assert sorted(ids(found)) == sorted(CATS)[: len(ids(found))] or set(ids(found)) <= set(CATS)
    hit = found["hits"]["hits"][0]
    assert hit["_source"] == {"meta": {"kind": "animal"}}
    assert set(hit["fields"]) == {
        *("width", "descriptor"),
        *("camsearch.box", "camsearch.first_rank", "camsearch.first_score"),
    }
    assert {b["key"]: b["doc_count"] for b in found["aggregations"]["kinds"]["buckets"]}[
        "thing"
    ] == 6


def test_an_msearch_mixes_both(es, gallery):
    searches = [
        {},
        {"query": {"term": {"meta.kind": "plant"}}, "size": 1},
        {},
        {"retriever": ranked(), "size": 3},
        {"index": "not-there"},
        {"knn": built()},
        {},
        {"knn": built({"id": "rocket-1"}), "size": 1},
        {},
        {"retriever": ranked(rerank=3)},
    ]
    answers = es.msearch(index=gallery, searches=searches)["responses"]
    assert [one["status"] for one in answers] == [200, 200, 404, 200, 400]
    assert ids(answers[0])[0].startswith("flower")
    assert sorted(ids(answers[1])) == CATS
    assert answers[2]["error"]["type"] == "index_not_found_exception"
    assert ids(answers[3]) == ["rocket-1"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"sort": ["width"]}, r"\[sort\] cannot be used together"),
        ({"size": 9999, "from_": 10}, "Result window is too large"),
        (
            {"retriever": ranked({"url": "https://example.org/a.jpg"})},
            r"\[image.url\] is not allowed",
        ),
        (
            {"retriever": ranked({"data": base64.b64encode(b"none").decode()})},
            "not an image in a supported format",
        ),
    ],
)
def test_what_is_refused_comes_as_the_clients_own_error(search, more, said):
    with pytest.raises(ApiError, match=said) as caught:
        search(**{"retriever": ranked()} | more)
    assert (caught.value.status_code, caught.value.body["status"]) == (400, 400)
    assert caught.value.body["error"]["root_cause"][0]["reason"]


def test_what_was_late_comes_in_the_first_order_with_a_warning(search):
    first = ids(search(knn=built()))
    with pytest.warns(ElasticsearchWarning, match="timed out") as said:
        assert ids(search(retriever=ranked(expand={}), timeout="1nanos")) == first
    assert len(said) == 2  # of the re-ranking, and of the second search
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        search(retriever=ranked(expand={}))
