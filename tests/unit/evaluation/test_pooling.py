"""Each compared system's pooling against loops over cells and channels, and by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from descriptors.arrays import FeatureMaps, Region
from evaluation.pooling import crow, gem, r_mac, r_mac_regions, spoc, sum_pooled

if TYPE_CHECKING:
    from collections.abc import Callable

EVERY = (sum_pooled, spoc, crow, gem, r_mac)


def maps_of(values: np.ndarray, scale: float = 1.0) -> FeatureMaps:
    """One picture's maps, ``K H W``, whose values are `values` whatever the scale."""
    levels = torch.from_numpy(values.astype(np.float32) / scale)[None]
    return FeatureMaps(levels, torch.full((1, len(values)), scale), stride=16)


def made(channels: int = 5, height: int = 4, width: int = 7, seed: int = 0) -> np.ndarray:
    """Sparse maps as a network's: about half of the cells are 0, one channel is nowhere active."""
    random = np.random.default_rng(seed)
    values = random.standard_normal((channels, height, width)).clip(0)
    values[1] = 0
    return values


def unit(vector: np.ndarray) -> np.ndarray:
    return vector / np.linalg.norm(vector)


def vector(pool: Callable, values: np.ndarray) -> np.ndarray:
    return pool(maps_of(values))[0, 0].numpy()


class TestEvery:
    @pytest.mark.parametrize("pool", EVERY)
    def test_unit_rows_of_as_many_numbers_as_channels(self, pool: Callable):
        vectors = pool(maps_of(made()))
        assert vectors.shape[0] == 1
        assert vectors.shape[2] == 5
        torch.testing.assert_close(vectors.norm(dim=2), torch.ones(vectors.shape[:2]))

    @pytest.mark.parametrize("pool", EVERY)
    def test_nothing_active_gives_zero(self, pool: Callable):
        assert (pool(maps_of(np.zeros((3, 4, 4)))) == 0).all()

    @pytest.mark.parametrize("pool", EVERY)
    def test_one_cell(self, pool: Callable):
        vectors = pool(maps_of(np.array([2.0, 0.0, 1.0])[:, None, None]))
        assert vectors.isfinite().all()

    @pytest.mark.parametrize("pool", EVERY)
    def test_scale_and_levels_are_one_number(self, pool: Callable):
        plain, scaled = pool(maps_of(made())), pool(maps_of(made(), scale=0.25))
        torch.testing.assert_close(plain, scaled)

    @pytest.mark.parametrize("pool", EVERY)
    def test_kept_8_bit_maps_go_by_the_same_lines(self, pool: Callable):
        levels = (made() * 60).astype(np.uint8)
        kept = FeatureMaps(torch.from_numpy(levels)[None], torch.full((1, 5), 0.1), stride=16)
        torch.testing.assert_close(pool(kept), pool(maps_of(levels * 0.1)), atol=2e-3, rtol=2e-3)

    @pytest.mark.parametrize("pool", EVERY)
    def test_pictures_of_a_batch_do_not_touch(self, pool: Callable):
        one, other = maps_of(made(seed=1)), maps_of(made(seed=2))
        both = FeatureMaps(
            torch.cat([one.levels, other.levels]), torch.cat([one.scale, other.scale]), stride=16
        )
        torch.testing.assert_close(pool(both), torch.cat([pool(one), pool(other)]))


class TestSumPooled:
    def test_two_channels_by_hand(self):
        values = np.array([[[1.0, 2.0]], [[0.0, 4.0]]])
        np.testing.assert_allclose(vector(sum_pooled, values), [0.6, 0.8], rtol=1e-6)


class TestSpoc:
    def test_against_loops(self):
        values = made()
        _, height, width = values.shape
        sigma = min(height, width) / 3
        sums = np.zeros(len(values))
        for y in range(height):
            for x in range(width):
                squared = (y - (height - 1) / 2) ** 2 + (x - (width - 1) / 2) ** 2
                sums += values[:, y, x] * np.exp(-squared / (2 * sigma**2))
        np.testing.assert_allclose(vector(spoc, values), unit(sums), rtol=1e-5)


class TestCrow:
    def test_against_loops(self):
        values = made()
        summed = values.sum(axis=0)
        cells = np.sqrt(summed / np.sqrt((summed**2).sum()))
        shares = [(channel > 0).mean() for channel in values]
        expected = np.zeros(len(values))
        for k, share in enumerate(shares):
            if share > 0:
                expected[k] = np.log(sum(shares) / share) * (cells * values[k]).sum()
        np.testing.assert_allclose(vector(crow, values), unit(expected), rtol=1e-5)


class TestGem:
    def test_two_channels_by_hand(self):
        # Means of cubes: (27 + 37) / 2 = 32 and (0 + 64) / 2 = 32.
        values = np.array([[[3.0, 37 ** (1 / 3)]], [[0.0, 4.0]]])
        np.testing.assert_allclose(vector(gem, values), [0.5**0.5] * 2, rtol=1e-5)

    def test_against_loops(self):
        values = made()
        expected = unit(np.array([(channel**3).mean() ** (1 / 3) for channel in values]))
        np.testing.assert_allclose(vector(gem, values), expected, rtol=1e-5)


class TestRMacRegions:
    def test_square_map(self):
        # l regions a side of width 2 * 6 / (l + 1): 6, 4, 3.
        regions = r_mac_regions(6, 6)
        assert len(regions) == 1 + 4 + 9
        assert regions[0] == Region(0, 0, 6, 6)
        assert regions[1:5] == [
            Region(x, y, x + 4, y + 4) for y, x in ((0, 0), (0, 2), (2, 0), (2, 2))
        ]
        assert {(r.x0, r.y0) for r in regions[5:]} == {(x, y) for x in (0, 1, 3) for y in (0, 1, 3)}

    def test_wide_map_has_more_regions_along_its_width(self):
        # 6 x 9: two squares of 6 overlap by half, three by three quarters: two are nearer 40 %.
        regions = r_mac_regions(6, 9)
        assert regions[:2] == [Region(0, 0, 6, 6), Region(3, 0, 9, 6)]
        assert len(regions) == 1 * 2 + 2 * 3 + 3 * 4

    def test_long_map_needs_more_squares(self):
        # 4 x 12: two squares of 4 leave a gap, four overlap by a third, five by half.
        assert [r for r in r_mac_regions(4, 12) if r.y1 == 4 and r.x1 - r.x0 == 4] == [
            Region(x, 0, x + 4, 4) for x in (0, 2, 5, 8)
        ]

    def test_tall_is_wide_turned(self):
        turned = {Region(r.y0, r.x0, r.y1, r.x1) for r in r_mac_regions(9, 6)}
        assert turned == set(r_mac_regions(6, 9))

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 5), (2, 2), (3, 40), (22, 32)])
    def test_regions_lie_inside_and_are_not_empty(self, height: int, width: int):
        for r in r_mac_regions(height, width):
            assert 0 <= r.x0 < r.x1 <= width
            assert 0 <= r.y0 < r.y1 <= height


class TestRMac:
    def test_against_loops(self):
        values = made()
        regions = r_mac_regions(4, 7)
        found = r_mac(maps_of(values))[0].numpy()
        assert len(found) == len(regions)
        for row, r in zip(found, regions, strict=True):
            highest = np.zeros(len(values))
            for y in range(r.y0, r.y1):
                for x in range(r.x0, r.x1):
                    highest = np.maximum(highest, values[:, y, x])
            np.testing.assert_allclose(row, unit(highest), rtol=1e-5)
