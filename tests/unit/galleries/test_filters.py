"""Elasticsearch's grammar of filters."""

from __future__ import annotations

import math
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from descriptors.errors import RequestError
from galleries.filters import (
    MAX_DEPTH,
    And,
    Everything,
    Exists,
    Ids,
    Not,
    Or,
    Range,
    Term,
    Terms,
    parse_filter,
)

A, B, C = ({"term": {"f": value}} for value in "abc")
IS_A, IS_B, IS_C = (Term("f", value) for value in "abc")

WELL_FORMED = [
    ({"match_all": {"boost": 1.2}}, Everything()),
    ({"term": {"meta.city": "Paris"}}, Term("meta.city", "Paris")),
    ({"term": {"meta.city": {"value": "Paris"}}}, Term("meta.city", "Paris")),
    ({"terms": {"f": ["a", 1, 2.5, True]}}, Terms("f", ("a", 1, 2.5, True))),
    ({"range": {"f": {"gte": 1, "lt": 2.5}}}, Range("f", {"gte": 1, "lt": 2.5})),
    (
        {"range": {"f": {"gt": "2024", "lte": "2025", "boost": 1}}},
        Range("f", {"gt": "2024", "lte": "2025"}),
    ),
    ({"range": {"f": {"gte": 1, "lt": None}}}, Range("f", {"gte": 1})),
    ({"range": {"f": {}}}, Exists("f")),
    ({"exists": {"field": "f"}}, Exists("f")),
    ({"ids": {"values": ["a", "b"]}}, Ids(("a", "b"))),
    ([], Everything()),
    ([A], IS_A),
    ([A, B], And((IS_A, IS_B))),
    ({"bool": {}}, Everything()),
    ({"bool": {"must": None, "filter": A}}, IS_A),
    ({"bool": {"must": A, "filter": [B]}}, And((IS_A, IS_B))),
    ({"bool": {"must_not": [A, B]}}, And((Not(IS_A), Not(IS_B)))),
    ({"bool": {"should": [A, B]}}, Or((IS_A, IS_B))),
    ({"bool": {"should": []}}, Everything()),
    ({"bool": {"should": A, "must_not": B}}, And((Or((IS_A,)), Not(IS_B)))),
    ({"bool": {"should": [A, B], "filter": C}}, IS_C),
    ({"bool": {"should": [A, B], "minimum_should_match": 2}}, Or((IS_A, IS_B), 2)),
    ({"bool": {"should": [A, B], "minimum_should_match": 0}}, Everything()),
    ({"bool": {"must": A, "minimum_should_match": 1}}, And((IS_A, Or((), 1)))),
    ({"bool": {"must": {"bool": {"must_not": {"bool": {"should": [A]}}}}}}, Not(Or((IS_A,)))),
]

MALFORMED = [
    (None, "filter must be an object whose only key is a query, not null"),
    ({}, "filter must be an object whose only key is a query, not no key"),
    ({"term": {"f": 1}, "exists": {"field": "f"}}, "not the keys term, exists"),
    ({"match": {"f": "a"}}, "filter has an unknown query 'match': use one of bool, exists, ids, "),
    ([A, {"tern": {}}], r"filter\[1\] has an unknown query 'tern'"),
    ({"term": "f"}, "filter.term must be an object whose only key is a field, not a text"),
    ({"term": {"f": 1, "g": 2}}, "filter.term must be .* not the keys f, g"),
    ({"term": {"f": None}}, "filter.term.f must be a text, a number or a boolean, not null"),
    ({"term": {"f": ["a"]}}, "filter.term.f must be a text, .* not a list"),
    (
        {"term": {"f": {"valeu": 1}}},
        "filter.term.f has an unknown key 'valeu': expected an object with value",
    ),
    ({"term": {"f": {"value": "a", "case_insensitive": True}}}, "unknown key 'case_insensitive'"),
    ({"term": {"f": math.nan}}, "filter.term.f is nan: a filter needs a finite number"),
    ({"terms": {"f": "a"}}, "filter.terms.f must be a list of values, not a text"),
    ({"terms": {"f": ["a", None]}}, r"filter.terms.f\[1\] must be a text, .* not null"),
    (
        {"range": {"f": 3}},
        "filter.range.f must be an object with gt / gte / lt / lte, not a number",
    ),
    (
        {"range": {"f": {"gte": "a", "format": "yyyy"}}},
        "filter.range.f has an unknown key 'format'",
    ),
    ({"range": {"f": {"gt": True}}}, "filter.range.f.gt must be a number or a text, not a boolean"),
    ({"range": {"f": {"gt": -math.inf}}}, "filter.range.f.gt is -inf"),
    ({"exists": {"field": ["f"]}}, "filter.exists.field must be a field's name, not a list"),
    ({"ids": {"values": ["a", 1]}}, "filter.ids.values must be a list of ids"),
    ({"ids": ["a"]}, "filter.ids must be an object with values, not a list"),
    ({"bool": []}, "filter.bool must be an object with must / filter / .*, not a list"),
    (
        {"bool": {"musst": A}},
        "filter.bool has an unknown key 'musst': expected .* minimum_should_match",
    ),
    ({"bool": {"must": [A, None]}}, r"filter.bool.must\[1\] must be an object"),
    (
        {"bool": {"should": A, "minimum_should_match": "75%"}},
        "minimum_should_match is '75%': it must be an integer",
    ),
    ({"bool": {"should": A, "minimum_should_match": -1}}, "minimum_should_match is -1"),
    (
        {"bool": {"must": {"bool": {"must_not": [{"term": 1}]}}}},
        r"filter.bool.must.bool.must_not\[0\].term must",
    ),
]


def test_a_clients_words_become_a_tree():
    for body, expected in WELL_FORMED:
        assert parse_filter(body) == expected


def test_a_malformed_filter_is_refused_by_place_and_remedy():
    for body, complaint in MALFORMED:
        with pytest.raises(RequestError, match=complaint):
            parse_filter(body)


def nested(depth):
    body = A
    for _ in range(depth - 1):
        body = {"bool": {"must_not": [body]}}
    return body


def test_nesting_has_an_end():
    parse_filter(nested(MAX_DEPTH))
    for depth in (MAX_DEPTH + 1, 500):
        with pytest.raises(RequestError, match=f"more than {MAX_DEPTH} deep: flatten it"):
            parse_filter(nested(depth))


ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inside: (
        st.lists(inside, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["bool", "must", "should", "term", "terms", "range", "value", "gte", "ids", "f"]
            ),
            inside,
            max_size=3,
        )
    ),
)


@given(ANY_JSON)
def test_whatever_a_client_sends_is_read_or_refused(body):
    with suppress(RequestError):
        parse_filter(body)
