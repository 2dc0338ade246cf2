"""Average precision, by hand and against an independent implementation."""

from __future__ import annotations

import ir_measures
import numpy as np
import pytest
from ir_measures import AP

from descriptors.errors import RequestError
from evaluation.average_precision import (
    average_precision,
    positive_ranks,
    trapezoidal_average_precision,
)


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

    def test_positives_never_found_count_nothing(self):
        assert trapezoidal_average_precision([0], 4) == pytest.approx(0.25)

    def test_perfect_list_is_one_and_empty_list_zero(self):
        assert trapezoidal_average_precision([0, 1, 2], 3) == 1
        assert trapezoidal_average_precision([], 3) == 0

    def test_agrees_with_the_oxford_evaluator_step_by_step(self):
        random = np.random.default_rng(1)
        for _ in range(50):
            relevant = random.random(40) < 0.2
            missed = int(random.integers(1, 4))
            ranks = np.flatnonzero(relevant).tolist()
            expected = _oxford(relevant, len(ranks) + missed)
            found = trapezoidal_average_precision(ranks, len(ranks) + missed)
            assert found == pytest.approx(expected)

    def test_no_positive_is_refused(self):
        with pytest.raises(RequestError, match="without a positive"):
            trapezoidal_average_precision([], 0)

    def test_more_hits_than_positives_are_refused(self):
        with pytest.raises(RequestError, match="2 positives were found of 1"):
            trapezoidal_average_precision([0, 1], 1)


class TestAveragePrecision:
    def test_hits_at_first_and_third_place(self):
        assert average_precision([0, 2], 2) == pytest.approx((1 + 2 / 3) / 2)

    def test_agrees_with_ir_measures_on_random_rankings(self):
        random = np.random.default_rng(2)
        for number in range(20):
            names = [f"d{i}" for i in random.permutation(30)]
            positives = set(random.choice(names, 6, replace=False).tolist()) | {"never found"}
            qrels = [ir_measures.Qrel("q", name, 1) for name in positives]
            run = [ir_measures.ScoredDoc("q", n, 30.0 - i) for i, n in enumerate(names)]
            expected = ir_measures.calc_aggregate([AP], qrels, run)[AP]
            found = average_precision(positive_ranks(names, positives), len(positives))
            assert found == pytest.approx(expected), number

    def test_no_positive_is_refused(self):
        with pytest.raises(RequestError, match="without a positive"):
            average_precision([], 0)


def _oxford(relevant: np.ndarray, positives: int) -> float:
    """The evaluator's own loop: recall and precision kept from answer to answer."""
    old_recall, old_precision, area, found = 0.0, 1.0, 0.0, 0
    for seen, hit in enumerate(relevant.tolist(), start=1):
        found += hit
        recall, precision = found / positives, found / seen
        area += (recall - old_recall) * (old_precision + precision) / 2
        old_recall, old_precision = recall, precision
    return area
