"""Several searches in one request."""

import orjson
import pytest

from reranker.dialect.msearch import merge_msearch, parse_msearch
from reranker.dialect.searches import Rerank
from reranker.dialect.values import parameters_of
from reranker.errors import DialectError
from reranker.http.error_answers import error_answer
from tests.unit.reranker.dialect.bodies_of import LIMITS, clause, reranked

PLAIN = b'{"index": "other"}\r\n{"query":  {"match": {"t": "camsearch"}}}\r\n'


def lines(*parts):
    return b"".join(
        part if isinstance(part, bytes) else orjson.dumps(part) + b"\n" for part in parts
    )


def asked(*parts, query="", index=""):
    return parse_msearch(lines(*parts), query, LIMITS, index)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\n",
        PLAIN,
        PLAIN * 3,
        b"camsearch",
        b"camsearch\n" * 3,
        b"\xff camsearch\n\n",
        b'{}\n"camsearch"\n',
    ],
)
def test_what_does_not_name_us_is_not_ours(body):
    assert parse_msearch(body, "size=1", LIMITS) is None


def test_searches_that_do_not_name_us_keep_their_bytes():
    several = asked(PLAIN, {}, {"knn": clause()}, PLAIN, b"\n", reranked(), b"\n")
    assert [item.is_ours for item in several.items] == [False, True, False, True]
    assert several.others == PLAIN + PLAIN
    assert several.items[3].search.rerank == Rerank(100)


def test_one_search_that_is_wrong_does_not_stop_the_others():
    several = asked(
        {},
        reranked(rank_window_size=0),
        {},
        reranked(),
        {"nope": 1},
        reranked(),
        b"[\n",
        reranked(),
    )
    assert [item.error is None for item in several.items] == [False, True, False, False]
    assert "rank_window_size" in several.items[0].error.reason
    assert "key [nope]" in several.items[2].error.reason
    assert several.others == b""


@pytest.mark.parametrize(
    ("header", "path"),
    [
        ({}, "/of%20path/_search"),
        ({"index": "a"}, "/a/_search"),
        ({"index": ["a", "b-*", "c/d"]}, "/a,b-*,c%2Fd/_search"),
        ({"indices": "a,b"}, "/a,b/_search"),
    ],
)
def test_the_header_says_where(header, path):
    assert asked(header, reranked(), index="of path").items[0].path == path
    assert asked({}, reranked()).items[0].path == "/_search"


def test_the_header_wins_over_the_query_string():
    header = {
        "routing": "r&",
        "preference": "p",
        "ignore_unavailable": True,
        "expand_wildcards": ["open", "closed"],
        "request_cache": None,
    }
    query = "routing=q&typed_keys&max_concurrent_searches=3&filter_path=took&rest_total_hits_as_int=true"
    several = asked(header, {"knn": clause()}, query=query)
    assert parameters_of(several.items[0].search.query) == {
        "rest_total_hits_as_int": "true",
        "routing": "r&",
        "typed_keys": "",
        "expand_wildcards": "open,closed",
        "ignore_unavailable": "true",
        "preference": "p",
    }
    assert (
        several.query
        == "routing=q&typed_keys&max_concurrent_searches=3&rest_total_hits_as_int=true"
    )


@pytest.mark.parametrize(
    ("body", "query", "named"),
    [
        (lines({}, reranked())[:-1], "", "newline"),
        (lines({}, reranked()), "size=3", r"\[size\]"),
        (lines({}, reranked()), "format=yaml", r"\[format\]"),
        (lines({}, {"knn": clause({"id": "a"})}) * 33, "", "33 image searches"),
    ],
)
def test_what_is_wrong_with_all_is_refused(body, query, named):
    with pytest.raises(DialectError, match=named):
        parse_msearch(body, query, LIMITS)


def test_answers_are_put_together():
    several = asked({}, reranked(), {}, reranked())
    answers = [{"took": 1, "hits": {}}, error_answer(400, "t", "r")]
    assert orjson.loads(merge_msearch(several, answers, 9)) == {
        "took": 9,
        "responses": [{"took": 1, "hits": {}, "status": 200}, answers[1]],
    }
    filtered = asked({}, reranked(), query="filter_path=responses.status&pretty")
    merged = merge_msearch(filtered, answers, 9)
    assert merged.endswith(b"}\n")
    assert orjson.loads(merged) == {"responses": [{"status": 200}, {"status": 400}]}


@pytest.mark.parametrize("header", [b"[]\n", b"5\n", b"{\n"])
def test_a_header_must_be_an_object(header):
    assert "header" in asked(header, reranked()).items[0].error.reason
