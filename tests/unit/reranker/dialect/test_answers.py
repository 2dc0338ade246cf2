"""The answer, from Elasticsearch's and our order."""

import pytest

from descriptors.arrays import Box
from reranker.dialect.answers import RankedHit, answer_of, read_hits
from tests.unit.reranker.dialect.bodies_of import parsed, reranked


def raw(name, score, **more):
    return {"_index": "images", "_id": name, "_score": score} | more


def response(*hits, total=None, **more):
    total = {"value": len(hits), "relation": "eq"} if total is None else total
    hits = {"total": total, "max_score": 0.9, "hits": list(hits)}
    return {"took": 3, "timed_out": True, "_shards": {"total": 1}, "hits": hits} | more


A, B, C = raw("a", 0.9), raw("b", 0.8), raw("c", 0.7)
FIRST = response(A, B, C)
ORDERED = [
    RankedHit(B, 0.9, Box(1, 2, 3, 4), 0.8, 2),
    RankedHit(A, 0.5, None, 0.9, 1),
    RankedHit(C),
]


def answered(search, first=FIRST, ordered=ORDERED):
    return answer_of(search, first, ordered, 17)


def scores(answer):
    return [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]]


def test_the_hits_come_in_our_order_with_what_we_know_of_them():
    answer = answered(parsed(reranked()))
    assert answer["hits"]["hits"] == [
        raw(
            "b",
            0.95,
            fields={
                "camsearch.box": [1, 2, 3, 4],
                "camsearch.first_score": [0.8],
                "camsearch.first_rank": [2],
            },
        ),
        raw("a", 0.75, fields={"camsearch.first_score": [0.9], "camsearch.first_rank": [1]}),
        raw("c", 0.7),
    ]
    assert answer["hits"]["max_score"] == 0.95
    assert answer["took"] == 17


def test_the_rest_of_the_answer_stays_as_it_was():
    aggregations = {"a": {"buckets": []}}
    answer = answered(parsed(reranked()), FIRST | {"aggregations": aggregations})
    kept = {"timed_out": True, "_shards": {"total": 1}, "aggregations": aggregations}
    assert {key: answer[key] for key in kept} == kept
    assert answer["hits"]["total"] == {"value": 3, "relation": "eq"}


def test_no_hits_are_answered_where_none_are_asked_for():
    answer = answered(parsed(reranked(body={"size": 0})), ordered=[])
    assert (answer["hits"]["hits"], answer["hits"]["max_score"]) == ([], None)
    assert answer["hits"]["total"]["value"] == 3


@pytest.mark.parametrize(("cosine", "score"), [(1.0000002, 1), (-1.0000002, 0), (0, 0.5)])
def test_scores_stay_between_nought_and_one(cosine, score):
    assert RankedHit(A, cosine).score == score


def test_fields_that_we_added_are_taken_out_again():
    fields = {"digest": ["d"], "width": [3], "height": [4], "uri": ["u"], "mine": [1]}
    hit = raw("a", 1, fields=fields)
    [rendered] = answered(parsed(reranked(body={"fields": ["width"]})), ordered=[RankedHit(hit)])[
        "hits"
    ]["hits"]
    assert rendered["fields"] == {"width": [3], "mine": [1]}
    [found] = read_hits(response(hit))
    assert (found.digest, found.uri, found.width, found.height) == ("d", "u", 3, 4)
    assert (found.index, found.id, found.score, found.rank, found.raw) == ("images", "a", 1, 1, hit)
    assert fields.keys() == {"digest", "width", "height", "uri", "mine"}


def test_a_hit_with_nothing_but_our_fields_has_none():
    [rendered] = answered(
        parsed(reranked()), ordered=[RankedHit(raw("a", 1, fields={"uri": ["u"]}))]
    )["hits"]["hits"]
    assert "fields" not in rendered


def test_a_hit_may_lack_the_fields_of_its_maps():
    hits = [raw("a", None, fields={"width": ["3"], "digest": [], "uri": "u"}), {"_index": "x"}]
    [found] = read_hits(response(*hits))
    assert (found.score, found.digest, found.uri, found.width, found.height) == (None,) * 5
    assert read_hits({}) == []


def test_vectors_are_not_answered_unless_the_source_is_asked_for():
    hit = RankedHit(raw("a", 1, _source={"descriptor": [1], "uri": "u"}))
    [hidden] = answered(parsed(reranked()), ordered=[hit])["hits"]["hits"]
    [shown] = answered(parsed(reranked(body={"_source": True})), ordered=[hit])["hits"]["hits"]
    [also] = answered(parsed(reranked(), "_source_includes=*"), ordered=[hit])["hits"]["hits"]
    assert hidden["_source"] == {"uri": "u"}
    assert shown["_source"] == also["_source"] == {"descriptor": [1], "uri": "u"}
    assert "descriptor" in hit.raw["_source"]


@pytest.mark.parametrize(
    ("least", "names", "value", "relation"),
    [(0.7, "bac", 3, "eq"), (0.75, "ba", 2, "eq"), (0.9, "b", 1, "eq"), (0.99, "", 0, "eq")],
)
def test_min_score_is_of_the_final_scores(least, names, value, relation):
    answer = answered(parsed(reranked(body={"min_score": least})))
    assert [name for name, _ in scores(answer)] == list(names)
    assert answer["hits"]["total"] == {"value": value, "relation": relation}


@pytest.mark.parametrize(("least", "value", "relation"), [(0.6, 3, "gte"), (0.75, 2, "eq")])
def test_min_score_counts_what_is_known(least, value, relation):
    first = response(A, B, C, total={"value": 50, "relation": "eq"})
    total = answered(parsed(reranked(body={"min_score": least})), first)["hits"]["total"]
    assert total == {"value": value, "relation": relation}


def test_what_lies_behind_a_window_may_still_reach_min_score():
    first = response(A, B, total={"value": 50, "relation": "eq"})
    answer = answered(parsed(reranked(body={"min_score": 0.8})), first, ORDERED[:2])
    assert answer["hits"]["total"] == {"value": 1, "relation": "gte"}


def test_the_total_is_never_less_than_the_hits():
    search = parsed(reranked())
    assert answered(search, response(A))["hits"]["total"] == {"value": 3, "relation": "eq"}
    assert answered(search, response(A, total=1))["hits"]["total"] == 3
    assert answered(search, response(A, total=-1))["hits"]["total"] == -1
    untold = response(A)
    del untold["hits"]["total"]
    assert "total" not in answered(search, untold)["hits"]
    many = response(A, total={"value": 10_000, "relation": "gte"})
    assert answered(search, many)["hits"]["total"] == {"value": 10_000, "relation": "gte"}
