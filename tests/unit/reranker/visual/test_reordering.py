"""Hits put in order, by numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from descriptors.arrays import Box
from descriptors.settings import RegionSettings
from reranker.dialect.answers import read_hits
from reranker.matching import Match
from reranker.visual.reordering import first_order, merged, reordered

X, Y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
BOX = Box(1, 2, 3, 4)
DEFAULT = RegionSettings()


def hits(seen="first", **scores):
    """Hits of Elasticsearch with these scores; of the index j where an id says so, as j_a."""
    rows = [
        {"_index": "j" if "j_" in i else "i", "_id": i[-1], "_score": score, "seen": seen}
        for i, score in scores.items()
    ]
    return read_hits({"hits": {"hits": rows}})


def match(score, descriptor=X):
    return Match(score, BOX, descriptor, ())


def ids(placed):
    return [one.key[1] for one in placed]


def scores(placed):
    return [one.hit.score for one in placed]


class TestFirstOrder:
    def test_it_is_elasticsearchs(self):
        placed = first_order(hits(b=0.9, a=0.95, c=0.1))
        assert ids(placed) == ["b", "a", "c"]
        assert [one.hit.first_rank for one in placed] == [1, 2, 3]
        assert [one.hit.first_score for one in placed] == scores(placed) == [0.9, 0.95, 0.1]
        assert [one.key for one in placed] == [("i", "b"), ("i", "a"), ("i", "c")]
        assert all(one.hit.box is one.descriptor is None for one in placed)


class TestReordered:
    @pytest.mark.parametrize(
        ("changed", "expected"),
        [
            ({}, Y),
            ({"expand_neighbours": 0}, None),
            ({"expand_with_regions": True}, X),
            ({"expand_with_regions": True, "expand_neighbours": 0}, X),
        ],
    )
    def test_what_a_matched_hit_expands_the_query_with(self, changed, expected):
        """X its best region, Y the whole picture; None what is indexed."""
        settings = DEFAULT.model_copy(update=changed)
        found = Match(0.9, BOX, X, (), Y)
        placed = first_order(hits(a=0.9, b=0.8))
        (one, other) = reordered(placed, 2, {("i", "a"): found}, settings)
        assert one.expanding is expected
        assert other.expanding is None

    def test_the_window_is_sorted_and_the_rest_stays(self):
        placed = first_order(hits(a=0.9, b=0.8, c=0.7, d=0.6))
        matches = {("i", "a"): match(0.2), ("i", "b"): match(0.4), ("i", "c"): match(0.1)}
        found = reordered(placed, 3, matches, DEFAULT)
        assert ids(found) == ["b", "a", "c", "d"]
        assert scores(found) == [0.7, 0.6, 0.55, 0.6]
        assert [one.hit.box for one in found] == [BOX, BOX, BOX, None]
        assert [one.hit.first_rank for one in found] == [2, 1, 3, 4]
        assert [one.descriptor is None for one in found] == [False, False, False, True]

    def test_a_match_beyond_the_window_does_not_count(self):
        found = reordered(first_order(hits(a=0.9, b=0.8)), 1, {("i", "b"): match(1.0)}, DEFAULT)
        assert ids(found) == ["a", "b"]
        assert scores(found) == [0.9, 0.8]

    def test_a_hit_without_a_match_is_sorted_by_its_first_score(self):
        found = reordered(
            first_order(hits(a=0.9, b=0.8, c=0.7)), 3, {("i", "a"): match(0.5)}, DEFAULT
        )
        assert ids(found) == ["b", "a", "c"]
        assert scores(found) == [0.8, 0.75, 0.7]

    def test_a_score_of_text_does_not_compare_with_a_cosine(self):
        found = reordered(
            first_order(hits(a=12.3, b=8.0, c=0.7)),
            2,
            {("i", "b"): match(0.5)},
            DEFAULT,
            cosines=False,
        )
        assert ids(found) == ["b", "a", "c"]
        assert scores(found) == [0.75, 12.3, 0.7]

    def test_equal_hits_keep_their_order(self):
        found = reordered(
            first_order(hits(b=0.9, a=0.8)),
            2,
            {("i", i): match(0.5) for i in ("a", "b")},
            DEFAULT,
        )
        assert ids(found) == ["b", "a"]

    def test_the_same_id_in_two_indices_is_two_hits(self):
        placed = first_order(hits(a=0.9, j_a=0.8))
        found = reordered(placed, 2, {("j", "a"): match(0.9)}, DEFAULT)
        assert [one.key for one in found] == [("j", "a"), ("i", "a")]
        assert [one.hit.box for one in found] == [BOX, None]

    def test_nothing(self):
        assert reordered([], 5, {}, DEFAULT) == []


class TestMerged:
    def ranked(self):
        """a by the region X, b by the region Y, c not matched."""
        placed = first_order(hits(a=0.9, b=0.8, c=0.7))
        return reordered(placed, 2, {("i", "a"): match(0.5, X), ("i", "b"): match(0.6, Y)}, DEFAULT)

    def test_the_second_search_decides(self):
        found = merged(self.ranked(), hits(seen="again", c=0.9, a=0.8, n=0.7), None, cosines=True)
        assert ids(found) == ["c", "a", "n"]
        assert scores(found) == pytest.approx([0.9, 0.8, 0.7])
        assert [one.hit.first_rank for one in found] == [3, 1, None]
        assert [one.hit.first_score for one in found] == [0.7, 0.9, None]
        assert [one.hit.box for one in found] == [None, BOX, None]
        assert {one.hit.raw["seen"] for one in found} == {"again"}

    def test_a_region_counts_where_it_is_better(self):
        # Cosines with X: a's region 1, b's 0. Pictures: a 0.2, b 0.4, c 0.6.
        again = hits(seen="again", c=0.8, b=0.7, a=0.6)
        found = merged(self.ranked(), again, X, cosines=True)
        assert ids(found) == ["a", "c", "b"]
        assert scores(found) == pytest.approx([1.0, 0.8, 0.7])

    def test_a_re_ranked_hit_that_the_second_search_did_not_find_stays_by_its_region(self):
        found = merged(self.ranked(), hits(seen="again", c=0.8), X, cosines=True)
        assert ids(found) == ["a", "c", "b"]
        assert scores(found) == pytest.approx([1.0, 0.8, 0.5])
        assert [one.hit.raw["seen"] for one in found] == ["first", "again", "first"]

    def test_without_re_ranked_hits_there_is_nothing_to_remember(self):
        found = merged(first_order(hits(a=0.9)), hits(b=0.8), X, cosines=True)
        assert ids(found) == ["b"]

    def test_scores_that_are_no_cosines_stay_as_they_are(self):
        found = merged(self.ranked(), hits(seen="again", c=17.0, a=3.0), X, cosines=False)
        assert ids(found) == ["c", "a"]
        assert scores(found) == [17.0, 3.0]
        assert [one.hit.box for one in found] == [None, BOX]

    def test_the_same_id_in_two_indices_is_two_hits(self):
        placed = first_order(hits(a=0.9, j_a=0.8))
        ranked = reordered(placed, 2, {("j", "a"): match(0.9)}, DEFAULT)
        again = hits(j_a=0.7, a=0.6)
        found = merged(ranked, again, X, cosines=True)
        assert [(one.key, one.hit.first_rank) for one in found] == [
            (("j", "a"), 2),
            (("i", "a"), 1),
        ]
        assert scores(found) == pytest.approx([1.0, 0.6])

    def test_a_cosine_that_rounding_made_too_large_is_a_score_of_one(self):
        found = merged(self.ranked(), [], X * 1.0001, cosines=True)
        assert scores(found)[0] == 1.0
