"""CAM regions: shape, values by hand, a bad input."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from descriptors.arrays import Region
from descriptors.regions import on_coarser_grid, propose_regions, stack_regions
from tests.support.checking import REFUSED


def heat(*rows: str) -> torch.Tensor:
    """A heat map drawn with digits: tenths of the maximum, ``9`` being 0.9 and ``X`` the maximum."""
    values = [[1.0 if c == "X" else int(c) / 10 for c in row] for row in rows]
    return torch.tensor(values)[None]


class TestProposeRegions:
    @pytest.mark.parametrize(
        ("drawn", "thresholds", "expected"),
        [
            pytest.param(
                heat("444000", "444000", "444000", "000000", "00006X", "000066"),
                (0.2, 0.5),
                [Region(0, 0, 3, 3), Region(4, 4, 6, 6)],
                id="the-largest-above-each-threshold",
            ),
            pytest.param(
                heat("X000", "0X00", "00X0", "0000"),
                (0.1,),
                [Region(0, 0, 3, 3)],
                id="cells-that-touch-at-a-corner-are-connected",
            ),
            pytest.param(
                heat("X00000", "0X0000", "00X000", "000066", "000066"),
                (0.1,),
                [Region(4, 3, 6, 5)],
                id="most-cells-not-the-largest-box",
            ),
            pytest.param(
                heat("00X", "000", "X00"), (0.1,), [Region(2, 0, 3, 1)], id="first-in-reading-order"
            ),
            pytest.param(heat("X50"), (0.5,), [Region(0, 0, 1, 1)], id="not-at-the-threshold"),
            pytest.param(heat("01X"), (0.0,), [Region(1, 0, 3, 1)], id="all-above-nothing"),
            pytest.param(
                heat("X5", "55"), (0.1, 0.2), [Region(0, 0, 2, 2)], id="equal-boxes-count-once"
            ),
            pytest.param(torch.zeros(1, 3, 4), (0.0, 0.1), [], id="nothing-active"),
        ],
    )
    def test_by_hand(
        self, drawn: torch.Tensor, thresholds: tuple[float, ...], expected: list[Region]
    ) -> None:
        assert propose_regions(drawn, thresholds, 1) == [expected]

    def test_a_side_that_is_too_short_leaves_the_box_out(self) -> None:
        drawn = heat("0000", "0XX0", "0000", "0000")
        assert propose_regions(drawn, (0.1,), 1) == [[Region(1, 1, 3, 2)]]
        assert propose_regions(drawn, (0.1,), 2) == [[]]

    def test_images_and_thresholds_do_not_leak_into_each_other(self) -> None:
        """One image alone has the regions it has in a batch."""
        random = np.random.default_rng(0)
        batch = torch.from_numpy(random.random((5, 7, 9), dtype=np.float32)) ** 3
        batch[2] = 0
        thresholds = (0.01, 0.1, 0.2, 0.3, 0.4)
        alone = [propose_regions(batch[i : i + 1], thresholds, 2)[0] for i in range(5)]
        assert propose_regions(batch, thresholds, 2) == alone


class TestStackRegions:
    def test_by_hand_shorter_lists_repeat_their_last(self) -> None:
        stacked = stack_regions(
            [[Region(0, 1, 2, 3)], [], [Region(1, 1, 2, 2), Region(0, 0, 9, 9)]]
        )
        assert stacked.tolist() == [
            [[0, 1, 2, 3], [0, 1, 2, 3]],
            [[0, 0, 0, 0], [0, 0, 0, 0]],
            [[1, 1, 2, 2], [0, 0, 9, 9]],
        ]

    def test_no_region_at_all(self) -> None:
        assert stack_regions([[], []]).tolist() == [[[0, 0, 0, 0]]] * 2
        assert stack_regions([]).shape == (0, 1, 4)


class TestOnCoarserGrid:
    def test_by_hand_every_cell_touched(self) -> None:
        regions = torch.tensor([[[0, 0, 1, 1], [1, 3, 4, 5], [2, 2, 4, 4]]])
        coarse = on_coarser_grid(regions, 2, 3, 3)
        assert coarse.tolist() == [[[0, 0, 1, 1], [0, 1, 2, 3], [1, 1, 2, 2]]]

    def test_the_whole_stays_the_whole(self) -> None:
        for side in range(1, 12):
            whole = torch.tensor([[[0, 0, side, side]]])
            coarse_side = -(-side // 2)
            coarse = on_coarser_grid(whole, 2, coarse_side, coarse_side)
            assert coarse.tolist() == [[[0, 0, coarse_side, coarse_side]]]

    def test_ratio_one_changes_nothing(self) -> None:
        regions = torch.tensor([[[1, 2, 3, 4]]])
        assert on_coarser_grid(regions, 1, 9, 9) is regions


def test_shapes_that_do_not_fit_are_refused() -> None:
    for call in (
        lambda: propose_regions(torch.rand(6, 8), (0.1,), 1),
        lambda: stack_regions([[(0, 0, 1, 1)]]),
        lambda: on_coarser_grid(torch.tensor([[0, 0, 1, 1]]), 2, 3, 3),
    ):
        with pytest.raises(REFUSED):
            call()
