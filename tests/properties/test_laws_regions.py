"""Laws of regions, boxes and of the vectors after them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st

from descriptors.aggregation import (
    active_share,
    aggregate,
    channel_weights,
    join_layers,
)
from descriptors.arrays import Box, Grid, Size, region_of_box
from descriptors.cams import heat_map
from descriptors.expansion import expand
from descriptors.regions import propose_regions
from descriptors.whitening import fit_layer
from tests.golden.reference import largest_component
from tests.properties.situations import (
    all_finite,
    fills,
    layer_of,
    maps,
    seeds,
)
from tests.support.tolerances import SAME_NUMBERS, UNIT

# The run-time check of annotations draws at random which list entries it looks at.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")


def _largest_cells(heat: torch.Tensor, threshold: float) -> set[tuple[int, int]]:
    values = heat.numpy()
    return set(largest_component(values > np.float32(threshold) * values.max()))


class TestRegions:
    THRESHOLDS = (0.0, 0.01, 0.1, 0.2, 0.3, 0.4, 0.6, 0.9)

    @given(seeds, fills, st.integers(1, 12), st.integers(1, 12))
    def test_lie_in_the_map_and_are_never_empty(
        self, seed: int, fill: str, width: int, height: int
    ) -> None:
        heat = maps(seed, (2, 1, height, width), fill)[:, 0]
        for regions in propose_regions(heat, self.THRESHOLDS, 1):
            assert len(set(regions)) == len(regions)
            for x0, y0, x1, y1 in regions:
                assert 0 <= x0 < x1 <= width
                assert 0 <= y0 < y1 <= height
            if fill in ("dense", "constant"):
                assert regions

    @given(seeds, st.integers(2, 12), st.integers(2, 12))
    def test_of_one_hill_a_higher_threshold_lies_inside_a_lower_one(
        self, seed: int, width: int, height: int
    ) -> None:
        """With one peak every component is a part of the one below it."""
        random = np.random.default_rng(seed)
        x, y = np.arange(width)[None, :], np.arange(height)[:, None]
        away = abs(x - random.integers(0, width)) + abs(y - random.integers(0, height))
        heat = torch.from_numpy(np.exp(-away / 3.0).astype(np.float32))[None]
        (regions,) = propose_regions(heat, self.THRESHOLDS, 1)
        for outer, inner in itertools.pairwise(regions):
            assert outer.x0 <= inner.x0
            assert outer.y0 <= inner.y0
            assert inner.x1 <= outer.x1
            assert inner.y1 <= outer.y1

    @given(seeds, fills)
    def test_of_one_component_a_higher_threshold_lies_inside_a_lower_one(
        self, seed: int, fill: str
    ) -> None:
        """For any map, wherever the largest component above stands on the largest below."""
        heat = maps(seed, (1, 1, 8, 9), fill)[:, 0] ** 2
        for lower, higher in itertools.pairwise(self.THRESHOLDS):
            (below,), (above,) = (propose_regions(heat, (t,), 1) for t in (lower, higher))
            low, high = (_largest_cells(heat[0], t) for t in (lower, higher))
            if high and high <= low:
                assert below[0].x0 <= above[0].x0
                assert below[0].y0 <= above[0].y0
                assert above[0].x1 <= below[0].x1
                assert above[0].y1 <= below[0].y1

    @given(seeds, fills, st.integers(1, 4))
    def test_scaling_the_heat_changes_no_region(self, seed: int, fill: str, power: int) -> None:
        heat = maps(seed, (1, 1, 8, 9), fill)[:, 0]
        scaled = heat * 2.0**-power  # a power of two, so that no rounding moves a threshold
        assert propose_regions(scaled, self.THRESHOLDS, 2) == propose_regions(
            heat, self.THRESHOLDS, 2
        )

    @given(seeds, fills)
    def test_the_mean_of_maps_is_a_map(self, seed: int, fill: str) -> None:
        heat = heat_map(maps(seed, (2, 5, 4, 4), fill), 2)
        assert all_finite(heat)
        assert heat.min() >= 0
        assert heat.max() <= 1


@st.composite
def boxes(draw: st.DrawFn) -> tuple[Box, Size, Grid]:
    """An image, the grid of its map, and a box in it with area."""
    width, height = draw(st.integers(16, 4000)), draw(st.integers(16, 4000))
    stride = draw(st.sampled_from([4, 8, 16, 32]))
    working = [draw(st.integers(stride, 1024)) for _ in (0, 1)]
    grid = Grid(*(math.ceil(w / stride) for w in working), *(w / stride for w in working))
    xs = sorted(draw(st.lists(st.floats(0, width), min_size=2, max_size=2, unique=True)))
    ys = sorted(draw(st.lists(st.floats(0, height), min_size=2, max_size=2, unique=True)))
    return Box(xs[0], ys[0], xs[1], ys[1]), Size(width, height), grid


class TestBoxes:
    @given(boxes())
    @example((Box(0, 0, 67, 48), Size(67, 48), Grid(9, 6, 67 / 8, 6.0)))
    @example((Box(66.999, 47.999, 67, 48), Size(67, 48), Grid(9, 6, 67 / 8, 6.0)))
    def test_become_regions_that_are_never_empty_and_move_no_edge_by_a_cell(
        self, situation: tuple[Box, Size, Grid]
    ) -> None:
        box, image, grid = situation
        region = region_of_box(box, image, grid)
        assert 0 <= region.x0 < region.x1 <= grid.width
        assert 0 <= region.y0 < region.y1 <= grid.height
        across, down = grid.across / image.width, grid.down / image.height
        exact = (box.x0 * across, box.y0 * down, box.x1 * across, box.y1 * down)
        for edge, at in zip(region, exact, strict=True):
            # A box thinner than rounding can tell stands at a border of cells: 1 and no more.
            assert abs(edge - at) < 1 + 1e-6

    @given(boxes())
    def test_lie_inside_after_being_cut_to_the_image(
        self, situation: tuple[Box, Size, Grid]
    ) -> None:
        box, image, _ = situation
        grown = Box(box.x0 - 5, box.y0 - 5, box.x1 + 5, box.y1 + 5).inside(image)
        assert 0 <= grown.x0 < grown.x1 <= image.width
        assert 0 <= grown.y0 < grown.y1 <= image.height
        assert box.inside(image) == box


class TestVectors:
    @given(seeds, st.integers(3, 12), st.integers(1, 3))
    def test_whitening_its_own_fit_data_gives_unit_covariance(
        self, seed: int, channels: int, orders: int
    ) -> None:
        """Before the l2; along axes up to thousands of times shorter than the longest."""
        random = np.random.default_rng(seed)
        spread = np.geomspace(1, 10.0**-orders, channels)
        turned = np.linalg.qr(random.standard_normal((channels, channels)))[0]
        rows = (random.standard_normal((200, channels)) * spread) @ turned + 0.5
        rows = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
        fitted = fit_layer(rows, channels - 1)
        centred = rows.astype(float) - fitted.mean.double().numpy()
        white = centred @ fitted.projection.double().numpy().T
        np.testing.assert_allclose(np.cov(white.T), np.eye(channels - 1), atol=2e-3)
        assert abs(white.mean(axis=0)).max() < 2e-3

    @given(seeds, st.integers(0, 5), st.sampled_from([0.0, 0.5, 1.0, 3.0]))
    def test_expansion_is_unit_and_with_nothing_the_identity(
        self, seed: int, count: int, alpha: float
    ) -> None:
        random = np.random.default_rng(seed)
        rows = torch.from_numpy(random.standard_normal((count + 1, 6)).astype(np.float32))
        rows = rows / rows.norm(dim=1, keepdim=True)
        expanded = expand(rows[0], rows[1:], alpha)
        assert abs(float(expanded.norm()) - 1) < UNIT
        if count == 0:
            SAME_NUMBERS.check(rows[0], expanded)

    @given(seed=seeds, count=st.integers(1, 6), zero=st.booleans())
    def test_sums_are_unit_or_zero_in_any_order(self, seed: int, count: int, *, zero: bool) -> None:
        random = np.random.default_rng(seed)
        rows = torch.from_numpy(random.standard_normal((2, count, 5)).astype(np.float32))
        rows = torch.zeros_like(rows) if zero else rows / rows.norm(dim=2, keepdim=True)
        total = aggregate(rows)
        SAME_NUMBERS.check(total, aggregate(rows.flip(1)))
        joined = join_layers([total, total])
        expected = 0.0 if zero else 1.0
        for lengths in (total.norm(dim=1), joined.norm(dim=1)):
            assert (lengths - expected).abs().max() < UNIT

    @given(seeds, fills)
    def test_channel_weights_are_finite_and_never_negative(self, seed: int, fill: str) -> None:
        layer = layer_of(seed, (2, 4, 3, 3), fill, 8)
        weights = channel_weights(active_share(layer, None))
        assert all_finite(weights)
        assert weights.min() >= 0
