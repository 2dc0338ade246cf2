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
    def test_shape(self) -> None:
        proposals = propose_regions(torch.rand(3, 6, 8), (0.1, 0.5), 1)
        assert len(proposals) == 3
        assert all(1 <= len(regions) <= 2 for regions in proposals)

    def test_by_hand(self) -> None:
        """Two blobs above 0.2, the upper one larger; above 0.5 only the lower one's core."""
        drawn = heat(
            "444000",
            "444000",
            "444000",
            "000000",
            "00006X",
            "000066",
        )
        assert propose_regions(drawn, (0.2, 0.5), 1) == [[Region(0, 0, 3, 3), Region(4, 4, 6, 6)]]

    def test_cells_that_touch_at_a_corner_are_connected(self) -> None:
        drawn = heat("X000", "0X00", "00X0", "0000")
        assert propose_regions(drawn, (0.1,), 1) == [[Region(0, 0, 3, 3)]]

    def test_the_largest_is_the_one_of_most_cells_not_of_the_largest_box(self) -> None:
        drawn = heat("X00000", "0X0000", "00X000", "000066", "000066")
        # Touching at (2, 2)-(3, 4)? No: two columns apart.
        assert propose_regions(drawn, (0.1,), 1) == [[Region(4, 3, 6, 5)]]

    def test_of_two_alike_the_first_in_reading_order_counts(self) -> None:
        drawn = heat("00X", "000", "X00")
        assert propose_regions(drawn, (0.1,), 1) == [[Region(2, 0, 3, 1)]]

    def test_a_cell_at_the_threshold_is_not_above_it(self) -> None:
        drawn = torch.tensor([[[1.0, 0.5, 0.0]]])
        assert propose_regions(drawn, (0.5,), 1) == [[Region(0, 0, 1, 1)]]
        assert propose_regions(drawn, (0.49,), 1) == [[Region(0, 0, 2, 1)]]

    def test_threshold_zero_takes_all_that_is_above_nothing(self) -> None:
        assert propose_regions(torch.tensor([[[0.0, 1e-6, 1.0]]]), (0.0,), 1) == [
            [Region(1, 0, 3, 1)]
        ]

    def test_equal_boxes_count_once(self) -> None:
        assert propose_regions(heat("X5", "55"), (0.1, 0.2, 0.3), 1) == [[Region(0, 0, 2, 2)]]

    def test_a_side_that_is_too_short_leaves_the_box_out(self) -> None:
        drawn = heat("0000", "0XX0", "0000", "0000")
        assert propose_regions(drawn, (0.1,), 1) == [[Region(1, 1, 3, 2)]]
        assert propose_regions(drawn, (0.1,), 2) == [[]]

    def test_an_all_zero_map_has_no_region(self) -> None:
        assert propose_regions(torch.zeros(2, 3, 4), (0.0, 0.1), 1) == [[], []]

    def test_a_constant_map_is_one_region(self) -> None:
        assert propose_regions(torch.full((1, 3, 4), 0.3), (0.1, 0.4), 1) == [[Region(0, 0, 4, 3)]]

    def test_one_cell(self) -> None:
        assert propose_regions(torch.ones(1, 1, 1), (0.1,), 1) == [[Region(0, 0, 1, 1)]]

    def test_images_and_thresholds_do_not_leak_into_each_other(self) -> None:
        """One image alone has the regions it has in a batch."""
        random = np.random.default_rng(0)
        batch = torch.from_numpy(random.random((5, 7, 9), dtype=np.float32)) ** 3
        batch[2] = 0
        thresholds = (0.01, 0.1, 0.2, 0.3, 0.4)
        alone = [propose_regions(batch[i : i + 1], thresholds, 2)[0] for i in range(5)]
        assert propose_regions(batch, thresholds, 2) == alone

    def test_bad_input(self) -> None:
        with pytest.raises(REFUSED):
            propose_regions(torch.rand(6, 8), (0.1,), 1)


class TestStackRegions:
    def test_shape(self) -> None:
        stacked = stack_regions([[Region(0, 0, 1, 1)], [Region(0, 0, 2, 2), Region(1, 1, 2, 2)]])
        assert stacked.shape == (2, 2, 4)
        assert stacked.dtype == torch.int64

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

    def test_bad_input(self) -> None:
        with pytest.raises(REFUSED):
            stack_regions([[(0, 0, 1, 1)]])


class TestOnCoarserGrid:
    def test_shape(self) -> None:
        assert on_coarser_grid(torch.zeros(3, 5, 4, dtype=torch.int64), 2, 4, 4).shape == (3, 5, 4)

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

    def test_bad_input(self) -> None:
        with pytest.raises(REFUSED):
            on_coarser_grid(torch.tensor([[0, 0, 1, 1]]), 2, 3, 3)
