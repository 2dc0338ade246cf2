"""Average precision, by hand and against an independent implementation."""

from __future__ import annotations

import ir_measures
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ir_measures import AP

from descriptors.errors import RequestError
from evaluation.scores import positive_ranks, trapezoidal_average_precision


class TestPositiveRanks:
    def test_ranks_count_from_zero(self):
        assert positive_ranks(["a", "x", "b"], {"a", "b"}) == [0, 2]

    def test_junk_leaves_no_gap(self):
        assert positive_ranks(["j", "a", "j2", "x", "b"], {"a", "b"}, {"j", "j2"}) == [0, 2]

    def test_a_positive_that_was_not_found_has_no_rank(self):
        assert positive_ranks(["x", "a"], {"a", "b"}) == [1]

    def test_an_answer_twice_is_refused(self):
        with pytest.raises(RequestError, match="twice"):
            positive_ranks(["a", "a"], {"a"})

    def test_positive_and_junk_at_once_is_refused(self):
        with pytest.raises(RequestError, match="both positive and junk"):
            positive_ranks(["a"], {"a"}, {"a"})


class TestTrapezoidalAveragePrecision:
    def test_hits_at_first_and_third_place(self):
        # At rank 0: before 1, after 1/1. At rank 2: before 1/2, after 2/3.
        expected = (1 + (1 / 2 + 2 / 3) / 2) / 2
        assert trapezoidal_average_precision([0, 2], 2) == pytest.approx(expected)

    def test_only_hit_at_second_place(self):
        # Before the hit the precision is 0 of 1, after it 1 of 2.
        assert trapezoidal_average_precision([1], 1) == pytest.approx(0.25)

    def test_no_positive_is_refused(self):
        with pytest.raises(RequestError, match="without a positive"):
            trapezoidal_average_precision([], 0)

    def test_more_hits_than_positives_are_refused(self):
        with pytest.raises(RequestError, match="2 positives were found of 1"):
            trapezoidal_average_precision([0, 1], 1)


# A ranking of whole collections: each image is right, wrong or junk.
rankings = st.lists(st.sampled_from(["positive", "wrong", "junk"]), min_size=1, max_size=60).filter(
    lambda kinds: "positive" in kinds
)


class TestOfficialEvaluators:
    """Against the evaluators' definitions, written again step by step."""

    @given(rankings, st.integers(0, 3))
    def test_oxford(self, kinds, never_found):
        ranking, positives, junk = _named(kinds)
        positives |= {f"never found {i}" for i in range(never_found)}
        ranks = positive_ranks(ranking, positives, junk)
        expected = _oxford(positives, junk, ranking)
        assert trapezoidal_average_precision(ranks, len(positives)) == pytest.approx(expected)

    @given(rankings)
    def test_revisited(self, kinds):
        ranking, positives, junk = _named(kinds)
        ranks = positive_ranks(ranking, positives, junk)
        expected = _revisited(ranking, positives, junk)
        assert trapezoidal_average_precision(ranks, len(positives)) == pytest.approx(expected)

    @given(rankings)
    def test_holidays(self, kinds):
        """The query is in its own ranking, and ignored; it is our only junk."""
        ranking, positives, junk = _named([kind.replace("junk", "wrong") for kind in kinds])
        assert not junk
        with_query = [*ranking[:1], "query", *ranking[1:]]
        ranks = positive_ranks(with_query, positives, {"query"})
        expected = _holidays(with_query, positives, "query")
        assert trapezoidal_average_precision(ranks, len(positives)) == pytest.approx(expected)


class TestLaws:
    @given(rankings)
    def test_between_0_and_the_standard_one(self, kinds):
        """The precision before a hit is never above that after it."""
        ranking, positives, junk = _named(kinds)
        kept = [name for name in ranking if name not in junk]
        qrels = [ir_measures.Qrel("q", name, 1) for name in positives]
        run = [ir_measures.ScoredDoc("q", name, -float(i)) for i, name in enumerate(kept)]
        standard = ir_measures.calc_aggregate([AP], qrels, run)[AP]
        area = trapezoidal_average_precision(positive_ranks(ranking, positives), len(positives))
        clean = trapezoidal_average_precision(
            positive_ranks(ranking, positives, junk), len(positives)
        )
        assert 0 < area <= clean <= standard + 1e-12 <= 1 + 2e-12

    @given(rankings)
    def test_1_only_where_all_positives_come_first(self, kinds):
        ranking, positives, junk = _named(kinds)
        ranks = positive_ranks(ranking, positives, junk)
        perfect = ranks == list(range(len(positives)))
        assert (trapezoidal_average_precision(ranks, len(positives)) == pytest.approx(1)) == perfect

    @given(rankings, st.randoms(use_true_random=False))
    def test_where_the_junk_stands_does_not_matter(self, kinds, random):
        ranking, positives, junk = _named(kinds)
        kept = [name for name in ranking if name not in junk]
        for name in sorted(junk):
            kept.insert(random.randint(0, len(kept)), name)
        assert positive_ranks(kept, positives, junk) == positive_ranks(ranking, positives, junk)

    @given(rankings, st.data())
    def test_a_positive_that_moves_up_does_no_harm(self, kinds, data):
        ranking, positives, _ = _named([kind.replace("junk", "wrong") for kind in kinds])
        at = data.draw(st.sampled_from([i for i, n in enumerate(ranking) if n in positives]))
        to = data.draw(st.integers(0, at))
        better = [n for n in ranking if n != ranking[at]]
        better.insert(to, ranking[at])
        before, after = (
            trapezoidal_average_precision(positive_ranks(r, positives), len(positives))
            for r in (ranking, better)
        )
        assert after >= before - 1e-12


def _named(kinds):
    """A ranking of names, and which of them are positive and junk."""
    ranking = [f"{kind} {i}" for i, kind in enumerate(kinds)]
    positives = {name for name in ranking if name.startswith("positive")}
    return ranking, positives, {name for name in ranking if name.startswith("junk")}


def _oxford(positives, junk, ranking):
    """Oxford's: answer by answer, recall and precision kept from one to the next."""
    old_recall, old_precision, area, found, seen = 0.0, 1.0, 0.0, 0, 0
    for answer in ranking:
        if answer in junk:
            continue
        seen += 1
        if answer in positives:
            found += 1
        recall, precision = found / len(positives), found / seen
        area += (recall - old_recall) * (old_precision + precision) / 2
        old_recall, old_precision = recall, precision
    return area


def _revisited(ranking, positives, junk):
    """The revisited benchmark's: places of positives, each lowered by the junk before it."""
    places, lowered = [], 0
    for place, answer in enumerate(ranking):
        if answer in junk:
            lowered += 1
        elif answer in positives:
            places.append(place - lowered)
    area = 0.0
    for number, place in enumerate(places):
        before = 1.0 if place == 0 else number / place
        area += (before + (number + 1) / (place + 1)) / len(positives) / 2
    return area


def _holidays(ranking, positives, query):
    """Holidays': ranks of the true ones, less one after the query."""
    shift, ranks = 0, []
    for rank, answer in enumerate(ranking):
        if answer == query:
            shift = -1
        elif answer in positives:
            ranks.append(rank + shift)
    area = 0.0
    for true_so_far, rank in enumerate(ranks):
        left = 1.0 if rank == 0 else true_so_far / rank
        right = (true_so_far + 1) / (rank + 1)
        area += (left + right) / len(positives) / 2
    return area
