"""Cases as a real Elasticsearch 9.5 answered them."""

import pytest

from reranker.dialect.answers import filtered

SOURCE = {
    "n": 1,
    "e": {},
    "l": [],
    "x": None,
    "a": [{"b": 1}, {"c": 2}, {"b": 3}],
    "s": [1, 2],
    "m": [[{"b": 1}], [{"c": 1}], []],
    "a.b": 7,
    "d": {"a": {}, "b": [{}]},
    "k": {"b": None},
}


@pytest.mark.parametrize(
    "paths", ["", " , ", "*", "**", "***", "-", "-nothing", "-**.zzz", "-a.zzz"]
)
def test_all_stays(paths):
    assert filtered(SOURCE, paths) == SOURCE


@pytest.mark.parametrize(
    "paths",
    ["nothing", "a.", "a..b", "+a", "e.*", "l.*", "s.*", "a,-a", "-*", "-**", "**.n", "e.**"],
)
def test_nothing_stays(paths):
    assert filtered(SOURCE, paths) == {}


@pytest.mark.parametrize(
    ("paths", "kept"),
    [
        ("n,x", {"n": 1, "x": None}),
        (" n , x,", {"n": 1, "x": None}),
        ("a.b", {"a": [{"b": 1}, {"b": 3}]}),
        ("a.b,a", {"a": SOURCE["a"]}),
        ("a\\.b", {"a.b": 7}),
        ("a*", {"a": SOURCE["a"], "a.b": 7}),
        ("e,l,s", {"e": {}, "l": [], "s": [1, 2]}),
        ("m.b", {"m": [[{"b": 1}]]}),
        ("m.*", {"m": [[{"b": 1}], [{"c": 1}]]}),
        ("d", {"d": SOURCE["d"]}),
        ("d.*", {"d": SOURCE["d"]}),
        (
            "**.b",
            {"a": [{"b": 1}, {"b": 3}], "m": [[{"b": 1}]], "d": {"b": [{}]}, "k": {"b": None}},
        ),
        ("d,-**.b", {"d": {"a": {}}}),
        ("d,k,-**.b", {"d": {"a": {}}}),
        ("a,-a.b", {"a": [{"c": 2}]}),
        ("a,-a.b,-a.c", {}),
        ("k.**.b", {}),
    ],
)
def test_what_stays(paths, kept):
    assert filtered(SOURCE, paths) == kept


def test_what_loses_all_it_had_goes_and_what_was_empty_stays():
    kept = filtered(SOURCE, "-**.b")
    assert kept.keys() == SOURCE.keys() - {"k"}
    assert (kept["a"], kept["m"], kept["d"]) == ([{"c": 2}], [[{"c": 1}], []], {"a": {}})
    assert (kept["e"], kept["l"]) == ({}, [])


@pytest.mark.parametrize("depth", [1, 2, 5])
def test_two_stars_stand_for_one_name_or_more(depth):
    answer = inner = {}
    for _ in range(depth):
        inner["p"] = inner = {}
    inner["n"] = 1
    assert filtered(answer, "**.n") == answer
    assert filtered(answer, "-**.n") == {}
    assert filtered({"n": 1}, "**.n") == {}
