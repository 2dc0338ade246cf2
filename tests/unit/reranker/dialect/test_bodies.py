"""What Elasticsearch is asked."""

import copy

import numpy as np
import orjson
import pytest

from reranker.dialect.searches import first_body, forwarded_query
from reranker.dialect.second_search import again_body
from tests.unit.reranker.dialect.bodies_of import clause, parsed, reranked

BODY = {
    "min_score": 0.4,
    "from": 5,
    "size": 10,
    "aggs": {"a": {"terms": {"field": "b"}}},
    "profile": True,
}


def first(search, *vectors):
    return orjson.loads(first_body(search, dict(zip(search.images, vectors, strict=True))))


def plain(vector, **more):
    return {"field": "descriptor", "k": 5, "num_candidates": 9, "query_vector": vector} | more


def test_a_vector_may_be_an_array_and_is_written_as_short_as_it_can():
    search = parsed({"knn": clause()})
    vector = np.float32([0.1, -1])
    assert b'"query_vector":[0.1,-1.0]' in first_body(search, {search.images[0]: vector})


def test_a_re_ranked_search_asks_for_the_window_from_its_start():
    search = parsed(reranked(rank_window_size=40, body=BODY | {"fields": ["uri"]}))
    expected = {
        "retriever": {"knn": plain([1])},
        "size": 40,
        "aggs": BODY["aggs"],
        "profile": True,
        "fields": ["uri", "digest", "width", "height"],
    }
    assert first(search, [1]) == expected


@pytest.mark.parametrize(
    ("ours", "page", "size"),
    [
        ({"rank_window_size": 40}, {"from": 5, "size": 10}, 40),
        ({"rank_window_size": 10}, {"from": 5, "size": 10}, 15),
        ({"rerank": False, "expand": {"hits": 20}}, {"size": 3}, 100),
        ({"rank_window_size": 120, "expand": {"hits": 20}}, {}, 120),
        ({"rank_window_size": 40}, {"size": 0, "from": 3}, 0),
    ],
)
def test_as_many_hits_are_asked_for_as_any_stage_needs(ours, page, size):
    assert first(parsed(reranked(body=page, **ours)), [1])["size"] == size


def test_an_expansion_asks_a_retriever_for_no_more_than_its_own_window():
    """`rrf` refuses a search whose size is more than its `rank_window_size`."""
    rrf = {"rrf": {"retrievers": [{"knn": clause()}], "rank_window_size": 20}}
    body = reranked(rrf, {"size": 10}, rank_window_size=20, expand={"hits": 5})
    assert first(parsed(body), [1])["size"] == 20
    standard = {"standard": {"query": {"knn": clause()}}}
    body = reranked(standard, {"size": 10}, rank_window_size=20, expand={"hits": 5})
    assert first(parsed(body), [1])["size"] == 100


def test_fields_that_elasticsearch_will_refuse_are_left_to_it():
    assert first(parsed(reranked(body={"fields": "width"})), [1])["fields"] == "width"


def test_the_second_search_leaves_out_what_is_answered():
    search = parsed(reranked(expand={}, body=BODY | {"suggest": {}, "highlight": {"fields": {}}}))
    again = orjson.loads(again_body(search, {search.image: [3]}))
    once = first(search, [1])
    assert again["retriever"]["knn"]["query_vector"] == [3]
    for key in ("aggs", "profile", "suggest", "retriever"):
        del once[key]
    assert once == {key: value for key, value in again.items() if key != "retriever"}


def test_a_search_is_not_changed_by_writing_it():
    search = parsed(reranked({"rrf": {"retrievers": [{"knn": clause()}, {"knn": clause()}]}}, BODY))
    before = copy.deepcopy(search.body)
    first_body(search, {search.images[0]: [1]})
    again_body(search, {search.images[0]: [2]})
    assert search.body == before


def test_the_query_string_keeps_what_is_not_ours():
    query = "size=3&routing=a%2Fb;from=1&pre%74ty&preference=_local&filter_path=took&human"
    assert forwarded_query(parsed({"knn": clause()}, query)) == query
    assert forwarded_query(parsed(reranked(), query)) == "routing=a%2Fb&preference=_local&human"
