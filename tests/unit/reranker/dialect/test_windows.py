"""Windows in searches: how they are asked for, and what is asked of Elasticsearch."""

import numpy as np
import pytest

from descriptors.arrays import Box
from es_mappings.windows import parts_of
from galleries.errors import NoWindows
from reranker.dialect.searches import Rerank
from reranker.dialect.windows import best_boxes, best_cosines, window_levels, windows_body
from reranker.errors import DialectError
from reranker.search.windows import WindowSearcher, on_one_copy
from tests.unit.reranker.dialect.bodies_of import clause, parsed, reranked


@pytest.mark.parametrize(
    ("rerank", "expected"),
    [
        (True, Rerank(100)),
        ({}, Rerank(100)),
        ({"by": "windows"}, Rerank(100, "windows")),
        ({"by": "maps"}, Rerank(100, "maps")),
        ({"by": "images", "classes": 2}, Rerank(100, "images", 2)),
        ({"refine": True}, Rerank(100, "windows", refine=True)),
        ({"by": "maps", "refine": False}, Rerank(100, "maps")),
        ({"classes": 2}, Rerank(100, "maps", 2)),
        ({"regions": True}, Rerank(100, "maps")),
        ({"regions": False}, Rerank(100, "images")),
    ],
    ids=str,
)
def test_what_is_compared(rerank, expected):
    assert parsed(reranked(rerank=rerank)).rerank == expected


@pytest.mark.parametrize(
    ("rerank", "said"),
    [
        ({"by": "magic"}, r'must be "windows", "maps" or "images"'),
        ({"by": "windows", "regions": True}, "exclude each other"),
        ({"by": "windows", "classes": 3}, "does not apply to windows"),
        ({"refine": True, "classes": 3}, "does not apply to windows"),
        ({"refine": True, "by": "maps"}, "fits the boxes of windows"),
        ({"refine": "yes"}, "must be true or false"),
    ],
    ids=str,
)
def test_what_is_refused(rerank, said):
    with pytest.raises(DialectError, match=said):
        parsed(reranked(rerank=rerank))


def test_a_vector_of_bytes_is_the_direction_with_127_for_its_largest_number():
    assert window_levels(np.array([0.5, -1, 0.25], np.float32)) == [64, -127, 32]


def test_ids_are_divided_where_candidates_would_be_fewer_than_windows():
    ids = [str(i) for i in range(1000)]
    assert [len(part) for part in parts_of(ids, 14)] == [714, 286]


def test_a_restricted_search_its_cosines_and_its_boxes():
    body = windows_body(np.array([0, 1], np.float32), ["a", "b"], boxes=True, pit={"id": "x"})
    assert body["knn"] == {
        "field": "regions.vector",
        "query_vector": [0, 127],
        "k": 200,
        "num_candidates": 200,
        "filter": {"ids": {"values": ["a", "b"]}},
        "inner_hits": {"size": 1, "_source": ["regions.box"]},
    }
    assert (body["_source"], body["pit"]) == (False, {"id": "x"})
    scored = [{"_index": "i", "_id": "a", "_score": 0.75}, {"_index": "j", "_id": "a", "_score": 0}]
    assert best_cosines({"hits": {"hits": scored}}) == {("i", "a"): 0.5, ("j", "a"): -1}
    inner = {"regions": {"hits": {"hits": [{"_source": {"box": [1, 2, 3, 4]}}]}}}
    hits = [{"_index": "i", "_id": "a", "inner_hits": inner}, {"_index": "i", "_id": "b"}]
    assert best_boxes({"hits": {"hits": hits}}) == {("i", "a"): Box(1, 2, 3, 4)}


def test_one_copy_answers_searches_of_several_stages():
    assert on_one_copy("routing=a", parsed(reranked())).startswith("routing=a&preference=")
    assert on_one_copy("preference=me", parsed(reranked())) == "preference=me"
    assert on_one_copy("", parsed({"knn": clause()})) == ""
    windows = {"knn": clause(field="regions.vector")}
    assert on_one_copy("", parsed(windows)).startswith("preference=")
    assert on_one_copy("", parsed(windows | {"pit": {"id": "x"}})) == ""


def test_windows_are_the_default_where_there_are_any():
    search = parsed(reranked())
    assert WindowSearcher(None, 14).reranks(search)
    assert not WindowSearcher(None, 0).reranks(search)
    assert not WindowSearcher(None, 14).reranks(parsed(reranked(rerank={"by": "maps"})))


@pytest.mark.parametrize(
    "body", [reranked(rerank={"by": "windows"}), {"knn": clause(field="regions.vector")}], ids=str
)
def test_windows_of_a_method_without_any_are_refused(body):
    with pytest.raises(NoWindows, match="no windows"):
        WindowSearcher(None, 0).reranks(parsed(body))


def test_a_builder_for_windows_may_say_so():
    def asked(field, **said):
        builder = {"camsearch": {"image": {"id": "a"}, **said}}
        return parsed({"knn": {"field": field, "k": 1, "query_vector_builder": builder}})

    assert asked("regions.vector", windows=True).in_windows
    assert asked("descriptor", windows=False) == asked("descriptor")
    for field, windows in [("descriptor", True), ("regions.vector", False), ("descriptor", 1)]:
        with pytest.raises(DialectError, match="windows"):
            asked(field, windows=windows)
