"""Where: boxes against true ones, worked out by hand, and the hits that are counted."""

from __future__ import annotations

from dataclasses import replace

import pytest

from descriptors.arrays import Box
from evaluation.tables import where_tables
from evaluation.trials import Judgement
from evaluation.where import Where, overlap, placed_hits
from tests.unit.evaluation.scores import made_query

TRUE = Box(0, 0, 10, 10)


@pytest.mark.parametrize(
    ("box", "expected"),
    [
        (TRUE, 1),
        (Box(0, 0, 10, 5), 0.5),
        (Box(5, 5, 15, 15), 25 / 175),
        (Box(10, 0, 20, 10), 0),
        (Box(30, 30, 40, 40), 0),
    ],
)
def test_overlap_is_intersection_over_union(box, expected):
    assert overlap(TRUE, box) == overlap(box, TRUE) == pytest.approx(expected)


class TestWhere:
    def test_shares_of_all_hits(self):
        half, third = Box(0, 0, 10, 5), Box(0, 0, 10, 3)
        large = Box(-10, -10, 20, 20)  # around the true one: its centre fits, its size does not
        found = Where.of([(box, [TRUE]) for box in (half, third, large, None)])
        assert found == Where(4, iou_30=0.5, iou_50=0.25, centre=0.75)

    def test_any_of_several_true_boxes_will_do(self):
        other = Box(50, 0, 60, 10)
        assert Where.of([(other, [TRUE, other])]) == Where(1, 1.0, 1.0, 1.0)

    def test_the_right_edge_of_a_box_is_outside(self):
        touching = Where.of([(Box(5, 0, 15, 10), [TRUE])])
        assert touching == Where(1, 1.0, 0.0, 0.0)

    def test_pooled_counts_hits_and_not_queries(self):
        parts = [Where(3, 1.0, 1.0, 0.0), Where(1, 0.0, 1.0, 1.0)]
        assert Where.pooled(parts) == Where(4, 0.75, 1.0, 0.25)

    def test_without_a_hit(self):
        assert Where.of([]) is None
        assert Where.pooled([]) is None


class TestPlacedHits:
    def test_right_answers_with_a_place_among_the_first_100_without_junk(self):
        judgement = Judgement(frozenset({"near", "last", "late", "unplaced"}), frozenset({"junk"}))
        query = replace(
            made_query(0, all=judgement), places=dict.fromkeys(("near", "last", "late"), (TRUE,))
        )
        wrong = [f"wrong {i}" for i in range(97)]
        ranking = [query.leave_out, "junk", "near", "unplaced", *wrong, "last", "late"]
        assert placed_hits(query, ranking) == ["near", "last"]


def test_no_table_without_true_boxes():
    assert where_tables([]) == []
