"""What is shown of a hit: `_source` and `fields`."""

from __future__ import annotations

from typing import Any

import pytest

from tests.contracts.search_api.conftest import ABOUT_A, VECTOR


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in ABOUT_A.items() if key not in keys}


SOURCES = {
    "true": (True, ABOUT_A),
    "empty list": ([], ABOUT_A),
    "path": ("width", {"width": 640}),
    "vector by its name": ("descriptor", VECTOR),
    "vector by a pattern": (["des*"], VECTOR),
    "everything by a pattern": (["*"], ABOUT_A | VECTOR),
    "with vectors": ({"exclude_vectors": False}, ABOUT_A | VECTOR),
    "without vectors but named": (
        {"exclude_vectors": True, "includes": ["descriptor", "width"]},
        VECTOR | {"width": 640},
    ),
    "object": (["classes"], {"classes": ABOUT_A["classes"]}),
    "below a list": (["classes.n*"], {"classes": [{"name": "tower"}, {"name": "pole"}]}),
    "star within": (["m*.city"], {"meta": {"city": "Paris"}}),
    "empty values": (
        ["meta.e", "meta.note", "meta.by.k"],
        {"meta": {"e": [], "note": None, "by": [{"k": {}}]}},
    ),
    "excludes": ({"excludes": ["meta", "nothing"]}, without("meta")),
    "exclude": ({"exclude": "meta"}, without("meta")),
    "excludes below": (
        {"includes": ["meta", "classes"], "excludes": ["meta.*", "classes.name"]},
        {"meta": {}, "classes": [{"score": 0.5}, {"score": 0.25}]},
    ),
}


@pytest.mark.parametrize("case", SOURCES)
def test_source_is_shown_as_asked(ask, case):
    said, expected = SOURCES[case]
    body = {"query": {"ids": {"values": ["a"]}}, "_source": said}
    assert ask("POST", "/{index}/_search", body)[1]["hits"]["hits"][0]["_source"] == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ABOUT_A),
        ("_source=width,meta.city", {"width": 640, "meta": {"city": "Paris"}}),
        ("_source_includes=width,meta.*&_source_excludes=meta.[a-z]*,meta.by,meta.e", None),
        ("_source=true&_source_includes=width,descriptor", VECTOR | {"width": 640}),
        ("_source_exclude_vectors=false", ABOUT_A | VECTOR),
        ("_source=false", None),
    ],
)
def test_source_is_asked_for_beside_the_path_too(ask, query, expected):
    if "[a-z]" in query:  # a bracket is a character like any other
        meta = {key: ABOUT_A["meta"][key] for key in ("city", "year", "open", "tags", "note")}
        expected = {"width": 640, "meta": meta}
    answer = ask("GET", f"/{{index}}/_doc/a?{query}".rstrip("?"))[1]
    assert answer.get("_source") == expected
    body = {"query": {"ids": {"values": ["a"]}}, "_source": ["uri"]}
    hit = ask("POST", f"/{{index}}/_search?{query}".rstrip("?"), body)[1]["hits"]["hits"][0]
    assert hit.get("_source") == (expected if query else {"uri": "/photos/a"})


FIELDS = {
    "meta.by.n": ["E", "P"],
    "meta.tags": ["x", "y"],
    "meta.year": [1889.0],
    "meta.open": [True],
    "meta.city": ["Paris"],
}
CLASSES = {"classes.name": ["tower", "pole"], "classes.score": [0.5, 0.25]}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["descriptor"], VECTOR),
        (["desc*", "clas*"], VECTOR | CLASSES),
        ([{"field": "meta.*"}], FIELDS),
        (["meta"], None),
        (["classes", "nothing"], None),
        (["*.n", "*city"], {"meta.by.n": ["E", "P"], "meta.city": ["Paris"]}),
        (["indexed_at"], {"indexed_at": ["2024-05-06T07:08:09.000Z"]}),
        (["_id", "_version", "_i*"], {"_id": ["a"], "_version": [3]}),
        ([{"field": "width", "include_unmapped": True}], {"width": [640]}),
        (
            ["*"],
            FIELDS
            | CLASSES
            | VECTOR
            | {key: [ABOUT_A[key]] for key in ("uri", "revision", "digest", "width", "height")}
            | {"id": ["a"], "source_tag": ["t"], "indexed_at": ["2024-05-06T07:08:09.000Z"]},
        ),
    ],
)
def test_fields_are_shown_as_asked(ask, said, expected):
    body = {"query": {"ids": {"values": ["a"]}}, "_source": False, "fields": said}
    assert ask("POST", "/{index}/_search", body)[1]["hits"]["hits"][0].get("fields") == expected


FILTERED = {
    "a path": ("hits.hits._id", {"hits": {"hits": [{"_id": "a"}]}}),
    "several": (
        "timed_out,hits.total.value",
        {"timed_out": False, "hits": {"total": {"value": 1}}},
    ),
    "a pattern": ("hits.hits._so*.w*", {"hits": {"hits": [{"_source": {"width": 640}}]}}),
    "what is left out": (
        "hits.hits,-hits.hits._s*,-hits.**._index",
        {"hits": {"hits": [{"_id": "a"}]}},
    ),
    "nothing": ("none.of.it", {}),
}


@pytest.mark.parametrize("case", FILTERED)
def test_filter_path_leaves_the_parts_that_are_named(ask, case):
    paths, expected = FILTERED[case]
    body = {"query": {"ids": {"values": ["a"]}}}
    assert ask("POST", f"/{{index}}/_search?filter_path={paths}", body) == (200, expected)


def test_filter_path_is_for_every_answer_but_errors(ask):
    assert ask("GET", "/{index}/_count?filter_path=count")[1].keys() == {"count"}
    assert ask("GET", "/{index}/_doc/a?filter_path=found")[1] == {"found": True}
    status, error = ask("GET", "/none/_search?filter_path=took")
    assert (status, error["status"]) == (404, 404)
