"""Each baseline's pooling against loops over cells and channels, and by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from descriptors.arrays import FeatureMaps
from evaluation.baselines.maps import LayerMaps
from evaluation.baselines.pooling import crow, gem, mac, patch_maxima, spoc, sum_pooled
from evaluation.baselines.r_mac import r_mac
from tests.unit.evaluation.baselines.made_maps import layer_of, made, unit

EVERY = (sum_pooled, spoc, crow, gem, mac, r_mac, patch_maxima)


def vector(pool, values):
    return pool(layer_of(values))[0, 0].numpy()


class TestEvery:
    @pytest.mark.parametrize("pool", EVERY)
    def test_unit_rows_of_as_many_numbers_as_channels(self, pool):
        vectors = pool(layer_of(made()))
        assert vectors.shape[0] == 1
        assert vectors.shape[2] == 5
        torch.testing.assert_close(vectors.norm(dim=2), torch.ones(vectors.shape[:2]))

    @pytest.mark.parametrize("pool", EVERY)
    def test_nothing_active_gives_zero(self, pool):
        assert (pool(layer_of(np.zeros((3, 4, 4)))) == 0).all()

    @pytest.mark.parametrize("pool", EVERY)
    def test_scale_and_levels_are_one_number(self, pool):
        plain, scaled = pool(layer_of(made())), pool(layer_of(made(), scale=0.25))
        torch.testing.assert_close(plain, scaled)

    @pytest.mark.parametrize("pool", EVERY)
    def test_kept_8_bit_maps_go_by_the_same_lines(self, pool):
        levels = (made() * 60).astype(np.uint8)
        maps = FeatureMaps(torch.from_numpy(levels)[None], torch.full((1, 5), 0.1), stride=16)
        torch.testing.assert_close(pool(LayerMaps(maps)), pool(layer_of(levels * 0.1)))

    @pytest.mark.parametrize("pool", EVERY)
    def test_images_of_a_batch_do_not_touch(self, pool):
        one, other = layer_of(made(seed=1)), layer_of(made(seed=2))
        both = layer_of(np.stack([made(seed=1), made(seed=2)]))
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


class TestMac:
    def test_against_loops(self):
        values = made()
        highest = np.array([max(channel.ravel()) for channel in values])
        np.testing.assert_allclose(vector(mac, values), unit(highest), rtol=1e-5)
