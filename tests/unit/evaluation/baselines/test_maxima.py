"""Maxima of rectangles by look-ups are those of the cells."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.baselines.maps import RegionMaxima
from tests.unit.evaluation.baselines.made_maps import made


def every_rectangle(height, width):
    return np.array(
        [
            (x0, y0, x1, y1)
            for x0 in range(width)
            for y0 in range(height)
            for x1 in range(x0 + 1, width + 1)
            for y1 in range(y0 + 1, height + 1)
        ]
    )


class TestRegionMaxima:
    def test_by_hand(self):
        levels = torch.tensor([[[[1, 5, 2], [7, 0, 3]]]], dtype=torch.uint8)
        found = RegionMaxima(levels).of(np.array([[0, 0, 3, 2], [1, 0, 3, 2], [1, 1, 2, 2]]))
        assert found.dtype == torch.uint8
        assert found[0, :, 0].tolist() == [7, 5, 0]

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 6), (5, 9), (8, 4)])
    def test_every_rectangle(self, height, width):
        levels = torch.from_numpy(np.stack([made(3, height, width, seed) for seed in (0, 1)]))
        regions = every_rectangle(height, width)
        found = RegionMaxima(levels).of(regions)
        assert found.shape == (2, len(regions), 3)
        for row, (x0, y0, x1, y1) in enumerate(regions):
            torch.testing.assert_close(found[:, row], levels[:, :, y0:y1, x0:x1].amax(dim=(2, 3)))

    def test_blocks_are_kept_from_one_question_to_the_next(self):
        maxima = RegionMaxima(torch.from_numpy(made(2, 8, 8))[None])
        whole = np.array([[0, 0, 8, 8]])
        torch.testing.assert_close(maxima.of(whole), maxima.of(whole))
