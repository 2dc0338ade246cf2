"""Plots of an evaluation: the curve's values, and drawings that are whole."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from evaluation.plots import (
    difference_plot,
    precision_at_recall,
    recall_plot,
    sweep_plot,
)
from evaluation.significance import compare
from evaluation.trials import Judgement
from tests.unit.evaluation.scores import made_query, made_scores
from tests.unit.evaluation.test_ablation import made_variant


def _score(ranks, positives):
    (plain,) = made_scores([1.0], 1)
    judgement = Judgement(frozenset(map(str, range(positives))))
    return replace(plain, query=made_query(0, all=judgement), ranks=ranks)


def _whole(drawing):
    assert ET.fromstring(drawing).tag.endswith("svg")  # noqa: S314 - ours
    return drawing


class TestPrecisionAtRecall:
    def test_worked_out_by_hand(self):
        # Hits at ranks 1 and 4 of two right answers: precision 1 up to half, then 2/4.
        curve = precision_at_recall([_score((0, 3), 2)])
        assert curve[:51] == pytest.approx([1.0] * 51)
        assert curve[51:] == pytest.approx([0.5] * 50)

    def test_a_later_better_precision_counts(self):
        # 1/3, then 2/4: at any recall no less than the .5 that comes later.
        assert precision_at_recall([_score((2, 3), 2)]) == pytest.approx([0.5] * 101)

    def test_what_is_never_found_has_no_precision(self):
        curve = precision_at_recall([_score((0,), 2)])
        assert curve[50] == pytest.approx(1.0)
        assert curve[51:] == pytest.approx([0.0] * 50)

    def test_the_mean_of_queries(self):
        curve = precision_at_recall([_score((0,), 1), _score((), 1)])
        assert curve == pytest.approx([0.5] * 101)


class TestDrawings:
    def test_names_stand_as_text(self):
        scores = made_scores([0.5, 1.0], 2)
        assert ">A &amp; B<" in _whole(recall_plot({"A & B": scores}))

    def test_differences(self):
        one, other = made_scores([0.5, 1.0], 2), made_scores([0.6, 0.2], 2)
        _, queries = compare([one], [other])
        assert "OfA less SPoC" in _whole(difference_plot(queries, "OfA", "SPoC"))

    def test_a_sweep(self):
        variants = [made_variant("4", (0.01, 0.02), 0.1), made_variant("16", (0.0, 0.0), 1.0)]
        assert "n_classes" in _whole(sweep_plot("n_classes", variants))

    def test_a_sweep_of_nothing_measured(self):
        assert sweep_plot("dims", [made_variant("4", (0.0,), 1.0, mean=None)]) == ""

    def test_the_same_figures_give_the_same_bytes(self):
        scores = made_scores([0.5, 1.0], 2)
        assert recall_plot({"OfA": scores}) == recall_plot({"OfA": scores})
