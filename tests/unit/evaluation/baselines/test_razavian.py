"""Razavian et al.: where patches lie, and the spatial search against loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from descriptors.arrays import Region
from evaluation.baselines.pooling import PATCHES, patch_maxima, patch_regions, search_spatially
from tests.unit.evaluation.baselines.benches import bench_of
from tests.unit.evaluation.baselines.made_maps import layer_of, made, maxima, unit


class TestPatchRegions:
    def test_by_hand(self):
        regions = patch_regions(6, 12)
        assert len(regions) == PATCHES == 30
        assert regions[0] == Region(0, 0, 12, 6)
        # Order 2: a third of each side from one to the next, two thirds wide.
        assert regions[1:5] == [
            Region(0, 0, 8, 4),
            Region(4, 0, 12, 4),
            Region(0, 2, 8, 6),
            Region(4, 2, 12, 6),
        ]
        assert {(r.x0, r.x1) for r in regions[5:14]} == {(0, 6), (3, 9), (6, 12)}

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 3), (1, 9), (22, 32)])
    def test_they_lie_inside_are_not_empty_and_of_one_number(self, height, width):
        regions = patch_regions(height, width)
        assert len(regions) == PATCHES
        for r in regions:
            assert 0 <= r.x0 < r.x1 <= width
            assert 0 <= r.y0 < r.y1 <= height


class TestPatchMaxima:
    def test_against_loops(self):
        values = made(5, 7, 9)
        found = patch_maxima(layer_of(values))[0].numpy()
        for row, region in zip(found, patch_regions(7, 9), strict=True):
            np.testing.assert_allclose(row, unit(maxima(values, *region)), rtol=1e-5)


class TestSearchSpatially:
    def test_against_loops(self):
        random = np.random.default_rng(3)
        gallery = random.standard_normal((6, PATCHES, 4)).astype(np.float32)
        gallery /= np.linalg.norm(gallery, axis=2, keepdims=True)
        queries = np.roll(gallery[:2], 1, axis=2)
        # The last patch of the query's third order shows nothing: it does not count.
        queries[0, 13] = 0
        expected = []
        for query in queries:
            patches = [patch for patch in query[:14] if patch.any()]
            means = []
            for image in gallery:
                nearest = [
                    min(np.linalg.norm(patch - other) for other in image) for patch in patches
                ]
                means.append(sum(nearest) / len(nearest))
            expected.append(np.argsort(means, kind="stable").tolist())
        [found] = search_spatially(bench_of(gallery, queries))
        assert found.stage == "first"
        assert found.rows.tolist() == expected

    def test_what_is_left_out_stands_last(self):
        gallery = torch.nn.functional.normalize(torch.rand(4, PATCHES, 3), dim=2).numpy()
        [found] = search_spatially(bench_of(gallery, gallery[:2], leave_out=(0, None)))
        assert found.rows[0, -1] == 0
        assert found.rows[1, 0] == 1
