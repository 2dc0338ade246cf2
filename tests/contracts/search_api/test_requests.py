"""The other requests: documents by their ids, many searches, and what a client asks of a cluster."""

from __future__ import annotations

import json

import pytest

from tests.contracts.conftest import FINGERPRINT
from tests.contracts.search_api.conftest import ABOUT_A, NDJSON, found, knn
from tests.support.documents import DIMS

A = ("a", 1.0)


def test_a_document_comes_by_its_id(ask):
    status, answer = ask("GET", "/{index}/_doc/a")
    mine = {key: value for key, value in answer.items() if key not in {"_seq_no", "_primary_term"}}
    expected = {"_index": "images", "_id": "a", "_version": 3, "found": True, "_source": ABOUT_A}
    assert (status, mine) == (200, expected)
    assert ask("GET", "/{index}/_doc/e%2F%C3%A9%20%3F")[1]["_id"] == "e/é ?"
    missing = {"_index": "images", "_id": "zz", "found": False}
    assert ask("GET", "/{index}/_doc/zz") == (404, missing)


def test_several_documents_come_by_their_ids(ask):
    status, answer = ask("POST", "/{index}/_mget", {"ids": ["b", "zz", "b"]})
    assert status == 200
    assert [(one["_id"], one["found"]) for one in answer["docs"]] == [
        ("b", True),
        ("zz", False),
        ("b", True),
    ]
    docs = [
        {"_index": "images", "_id": "b"},
        {"_index": "nothing", "_id": "a"},
        {"_index": "images", "_id": "c", "_source": ["meta.*"]},
        {"_index": "images", "_id": "a", "_source": False},
    ]
    answer = ask("POST", "/_mget?_source=width", {"docs": docs})[1]
    shown = [one.get("_source") for one in answer["docs"]]
    assert shown == [{"width": 640}, None, {"meta": {"city": "Rome"}}, None]
    assert answer["docs"][1]["error"]["type"] == "index_not_found_exception"


def test_several_searches_are_answered_in_order(ask):
    lines = [{}, {"knn": knn(k=1)}, {"index": "nothing"}, {}, {"index": "images"}, {"size": 0}]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    status, answer = ask("POST", "/{index}/_msearch", body, NDJSON)
    assert (status, set(answer)) == (200, {"took", "responses"})
    assert [one["status"] for one in answer["responses"]] == [200, 404, 200]
    first, error, last = answer["responses"]
    assert found(first) == [A]
    assert error["error"]["type"] == "index_not_found_exception"
    assert last["hits"]["total"]["value"] == 5


@pytest.mark.parametrize("names", ["{index}", "{index}*", "nothing*,{index}", "{index},-nothing*"])
def test_an_expression_means_the_index(ask, names):
    assert ask("GET", f"/{names}/_count")[1]["count"] == 5


def test_an_expression_may_mean_nothing(ask):
    for path in ("/nothing*/_search", "/nothing/_search?ignore_unavailable=true"):
        status, answer = ask("POST", path, {})
        assert (status, answer["hits"]["hits"]) == (200, [])
        assert answer["hits"]["total"] == {"value": 0, "relation": "eq"}
        assert answer["_shards"]["total"] == 0
    assert ask("GET", "/nothing*/_mapping") == (200, {})


def test_the_mapping_says_which_method_made_the_vectors(ask):
    mappings = ask("GET", "/{index}/_mapping")[1]["images"]["mappings"]
    about = {"format": 1, "fingerprint": FINGERPRINT, "dims": DIMS}
    assert mappings["_meta"]["camsearch"] == about
    assert mappings["properties"]["descriptor"]["dims"] == DIMS
    assert ask("GET", "/{index}")[1]["images"]["mappings"] == mappings


def test_it_says_what_it_is(ask):
    status, answer = ask("GET", "/")
    assert (status, answer["tagline"]) == (200, "You Know, for Search")
    assert answer["version"]["number"].startswith(("8.", "9."))
    assert ask("GET", "/_cluster/health/{index}")[1]["status"] == "green"
    refreshed = {"_shards": {"total": 1, "successful": 1, "failed": 0}}
    assert ask("POST", "/{index}/_refresh") == (200, refreshed)
