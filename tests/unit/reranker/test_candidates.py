"""The order of hits, by numbers worked out by hand."""

from __future__ import annotations

import pytest
import torch

from descriptors.arrays import Box
from descriptors.settings import RegionSettings
from reranker.candidates import (
    UNCOMPARED,
    Candidate,
    expanded,
    reranked,
    searched_again,
    without_vector,
)
from reranker.matching import Match

X, Y = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
BOX = Box(1, 2, 3, 4)
PLAIN = RegionSettings().model_copy(update={"expand_neighbours": 0})


def first(**scores):
    return [Candidate(key, score) for key, score in scores.items()]


def match(score, descriptor=X, whole=None):
    return Match(score, BOX, descriptor, (), whole)


def shown(candidates):
    return {c.key: c.score for c in candidates}


class TestReranked:
    def test_best_regions_decide(self):
        matches = {"a": match(0.2), "b": match(0.4), "c": match(0.1)}
        found = reranked(first(a=0.9, b=0.8, c=0.7), matches)
        assert list(shown(found).items()) == [("b", 0.4), ("a", 0.2), ("c", 0.1)]
        assert [c.match for c in found] == [matches[c.key] for c in found]

    def test_a_hit_without_a_match_is_sorted_by_its_first_score(self):
        found = reranked(first(a=0.9, b=0.6, c=0.4), {"a": match(0.5), "b": None})
        assert list(shown(found).items()) == [("b", 0.6), ("a", 0.5), ("c", 0.4)]

    def test_what_does_not_compare_stands_last_in_its_order(self):
        found = reranked(first(a=UNCOMPARED, b=UNCOMPARED, c=UNCOMPARED), {"c": match(-0.5)})
        assert list(shown(found)) == ["c", "a", "b"]

    def test_equal_hits_keep_their_order(self):
        found = reranked(first(b=0.9, a=0.8), {"a": match(0.5), "b": match(0.5)})
        assert list(shown(found)) == ["b", "a"]

    def test_nothing(self):
        assert reranked([], {}) == []


class TestExpanded:
    @pytest.mark.parametrize(
        ("changed", "vector"),
        [
            ({}, Y),
            ({"expand_neighbours": 0}, None),
            ({"expand_with_regions": True}, X),
            ({"expand_with_regions": True, "expand_neighbours": 0}, X),
        ],
    )
    def test_what_a_matched_hit_expands_the_query_with(self, changed, vector):
        """X its best region, Y the whole image; None what is indexed."""
        settings = RegionSettings().model_copy(update=changed)
        ranked = reranked(first(a=0.9, b=0.8), {"a": match(0.9, X, Y)})
        assert ranked[0].match.expanding(settings) is vector
        assert without_vector(ranked, 2, settings) == (["a", "b"] if vector is None else ["b"])

    @pytest.mark.parametrize(("alpha", "weight"), [(0.0, 1.0), (2.0, 0.36)])
    def test_the_first_hits_join_the_query(self, alpha, weight):
        ranked, found = first(a=0.9, b=0.8, c=0.7), {"b": torch.tensor([0.6, 0.8]), "c": Y}
        query = expanded(X, ranked, found, hits=2, alpha=alpha, settings=PLAIN)
        by_hand = X + weight * found["b"]
        torch.testing.assert_close(query, by_hand / by_hand.norm())

    def test_without_any_of_them_there_is_no_query(self):
        assert expanded(X, first(a=0.9), {}, hits=1, alpha=0, settings=PLAIN) is None


class TestSearchedAgain:
    def ranked(self):
        """a by the region X, b by the region Y, c not matched."""
        return reranked(first(a=0.8, b=0.6, c=0.4), {"a": match(0.5, X), "b": match(0.6, Y)})

    def test_the_second_search_decides(self):
        found = searched_again(self.ranked(), {"c": 0.8, "a": 0.6, "n": 0.4}, None)
        assert list(shown(found).items()) == [("c", 0.8), ("a", 0.6), ("n", 0.4)]
        assert [c.match is None for c in found] == [True, False, True]

    def test_a_region_counts_where_it_is_better(self):
        # Cosines with X: a's region 1, b's 0.
        found = searched_again(self.ranked(), {"c": 0.6, "b": 0.4, "a": 0.2}, X)
        assert list(shown(found).items()) == [("a", 1.0), ("c", 0.6), ("b", 0.4)]

    def test_a_matched_hit_that_was_not_found_stays_by_its_region(self):
        found = searched_again(self.ranked(), {"c": 0.6}, X)
        assert list(shown(found).items()) == [("a", 1.0), ("c", 0.6), ("b", 0.0)]

    def test_without_matches_there_is_nothing_to_remember(self):
        assert shown(searched_again(first(a=0.8), {"b": 0.6}, X)) == {"b": 0.6}

    def test_what_does_not_compare_keeps_the_order_of_the_search(self):
        found = searched_again(self.ranked(), dict.fromkeys("ca", UNCOMPARED), None)
        assert list(shown(found)) == ["c", "a"]
