"""Which hits a search finds, with their scores and counts."""

from __future__ import annotations

import json

import pytest

from tests.contracts.search_api.conftest import X, found, knn

A, B, C, D, E = (("a", 1.0), ("b", 0.8535534), ("c", 0.5), ("d", 0.0), ("e/é ?", 0.5))
PARIS = {"term": {"meta.city": "Paris"}}
NEAREST = {
    "all": ({"knn": knn()}, [A, B, C, E, D], 5),
    "k": ({"knn": knn(k=2)}, [A, B], 2),
    "k is size": ({"knn": {"field": "descriptor", "query_vector": X}, "size": 2}, [A, B], 2),
    "one in a list": ({"knn": [knn(k=1)]}, [A], 1),
    "base64": ({"knn": knn(query_vector="P4AAAAAAAAAAAAAAAAAAAA==", k=1)}, [A], 1),
    "page": ({"knn": knn(k=3), "from": 1, "size": 1}, [B], 3),
    "page beyond": ({"knn": knn(k=2), "from": 5}, [], 2),
    "no hits shown": ({"knn": knn(k=3), "size": 0}, [], 3),
    "filter": ({"knn": knn(filter=PARIS)}, [A, B], 2),
    "filters": (
        {"knn": knn(filter=[PARIS, {"ids": {"values": ["b", "c"]}}])},
        [B],
        1,
    ),
    "similarity": ({"knn": knn(similarity=0.5)}, [A, B], 2),
    "similarity reached": ({"knn": knn(similarity=0)}, [A, B, C, E], 4),
    "boost": ({"knn": knn(k=2, boost=2)}, [("a", 2.0), ("b", 1.7071068)], 2),
    "min_score": ({"knn": knn(), "min_score": 0.6}, [A, B], 2),
    "min_score reached": ({"knn": knn(), "min_score": 0.5}, [A, B, C, E], 4),
    "post_filter": ({"knn": knn(k=3), "post_filter": {"ids": {"values": ["b", "d"]}}}, [B], 1),
    "knn query": ({"query": {"knn": knn(k=2)}}, [A, B], 2),
    "knn query with a filter": ({"query": {"knn": knn(filter=PARIS)}}, [A, B], 2),
    "retriever": ({"retriever": {"knn": knn(k=3)}, "size": 2}, [A, B], 3),
    "retriever with min_score": ({"retriever": {"knn": knn()}, "min_score": 0.9}, [A], 1),
}


@pytest.mark.parametrize("case", NEAREST)
def test_the_nearest_come_first(ask, case):
    body, expected, total = NEAREST[case]
    status, answer = ask("POST", "/{index}/_search", body | {"_source": False})
    assert (status, answer["timed_out"]) == (200, False)
    assert answer["_shards"] == {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
    # Of two with the same score either may be first.
    assert sorted(found(answer)) == sorted(expected)
    assert [score for _, score in found(answer)] == [score for _, score in expected]
    assert answer["hits"]["total"] == {"value": total, "relation": "eq"}
    assert set(answer) == {"took", "timed_out", "_shards", "hits"}
    best = body.get("knn", {}).get("boost", 1) if isinstance(body.get("knn"), dict) else 1
    expected_best = {"no hits shown": None, "filters": B[1], "post_filter": B[1]}.get(case, best)
    assert answer["hits"]["max_score"] == expected_best


IDS = ["a", "b", "c", "d", "e/é ?"]
MATCHING = {
    "all": (None, 1.0, IDS),
    "match_all": ({"match_all": {}}, 1.0, IDS),
    "match_all boosted": ({"match_all": {"boost": 2}}, 2.0, IDS),
    "ids": ({"ids": {"values": ["a", "nobody"]}}, 1.0, ["a"]),
    "terms": ({"terms": {"meta.city": ["Paris", "Oslo"], "boost": 3}}, 3.0, ["a", "b", "e/é ?"]),
    "range": ({"range": {"width": {"gte": 1, "boost": 2}}}, 2.0, IDS),
    "exists": ({"exists": {"field": "indexed_at"}}, 1.0, ["a", "b", "c", "e/é ?"]),
    "number": ({"term": {"meta.year": 1889}}, 1.0, ["a"]),
    "only a filter": ({"bool": {"filter": PARIS}}, 0.0, ["a", "b"]),
    "only must_not": ({"bool": {"must_not": PARIS}}, 0.0, ["c", "d", "e/é ?"]),
    "empty bool": ({"bool": {}}, 1.0, IDS),
    "empty bool boosted": ({"bool": {"boost": 2}}, 2.0, IDS),
    "must counts, filter does not": (
        {
            "bool": {
                "boost": 2,
                "must": [{"match_all": {}}, {"match_all": {"boost": 3}}],
                "filter": {"ids": {"values": ["a"]}},
            }
        },
        8.0,
        ["a"],
    ),
    "should that must": (
        {"bool": {"should": [{"ids": {"values": ["a"]}}]}},
        1.0,
        ["a"],
    ),
    "all should": (
        {
            "bool": {
                "should": [{"ids": {"values": ["a"]}}, {"match_all": {}}],
                "minimum_should_match": 2,
            }
        },
        2.0,
        ["a"],
    ),
}


@pytest.mark.parametrize("case", MATCHING)
def test_a_filter_alone_gives_all_hits_one_score(ask, case):
    query, score, ids = MATCHING[case]
    body = {"_source": False} if query is None else {"query": query, "_source": False}
    status, answer = ask("POST", "/{index}/_search", body)
    assert status == 200
    assert sorted(found(answer)) == [(id_, score) for id_ in ids]
    assert answer["hits"]["max_score"] == score
    assert answer["hits"]["total"] == {"value": len(ids), "relation": "eq"}
    count = ask("POST", "/{index}/_count", {} if query is None else {"query": query})
    assert count[1]["count"] == len(ids)


STANDARD = {
    "query": ({"query": {"match_all": {}}}, 1.0),
    "nothing": ({}, 1.0),
    "filter": ({"filter": PARIS}, 0.0),
    "both": ({"query": {"match_all": {}}, "filter": [PARIS]}, 1.0),
    "min_score reached": ({"query": {"match_all": {}}, "min_score": 0.5}, 1.0),
}


@pytest.mark.parametrize("case", STANDARD)
def test_a_standard_retriever_is_a_query(ask, case):
    retriever, score = STANDARD[case]
    ids = ["a", "b"] if "filter" in retriever else IDS
    body = {"retriever": {"standard": retriever}, "_source": False}
    assert sorted(found(ask("POST", "/{index}/_search", body)[1])) == [(i, score) for i in ids]


def test_a_min_score_above_leaves_nothing(ask):
    answer = ask("POST", "/{index}/_search", {"min_score": 1.5})[1]
    expected = {"total": {"value": 0, "relation": "eq"}, "max_score": None, "hits": []}
    assert answer["hits"] == expected


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (True, {"value": 5, "relation": "eq"}),
        (False, None),
        (5, {"value": 5, "relation": "eq"}),
        (2, {"value": 2, "relation": "gte"}),
    ],
)
def test_hits_are_counted_as_far_as_asked(ask, said, expected):
    in_body = ask("POST", "/{index}/_search", {"track_total_hits": said, "size": 1})[1]
    word = json.dumps(said)
    in_query = ask("GET", f"/{{index}}/_search?track_total_hits={word}&size=1")[1]
    assert (in_body["hits"].get("total"), in_query["hits"].get("total")) == (expected, expected)


def test_parameters_win_over_the_body(ask):
    answer = ask("POST", "/{index}/_search?from=1&size=1", {"knn": knn(), "size": 3})[1]
    assert found(answer) == [B]
