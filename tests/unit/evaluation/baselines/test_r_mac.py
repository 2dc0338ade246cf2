"""R-MAC's regions, and its pooling against loops."""

from __future__ import annotations

import numpy as np
import pytest

from descriptors.arrays import Region
from evaluation.baselines.r_mac import r_mac, r_mac_regions
from tests.unit.evaluation.baselines.made_maps import layer_of, made, maxima, unit


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
    def test_regions_lie_inside_and_are_not_empty(self, height, width):
        for r in r_mac_regions(height, width):
            assert 0 <= r.x0 < r.x1 <= width
            assert 0 <= r.y0 < r.y1 <= height


class TestRMac:
    def test_against_loops(self):
        values = made()
        regions = r_mac_regions(4, 7)
        found = r_mac(layer_of(values))[0].numpy()
        assert len(found) == len(regions)
        for row, region in zip(found, regions, strict=True):
            np.testing.assert_allclose(row, unit(maxima(values, *region)), rtol=1e-5)
