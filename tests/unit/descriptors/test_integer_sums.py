"""Sums over bytes against the same in double precision."""

import pytest
import torch

from descriptors.aggregation import active_share, region_sums, weighted_sums
from descriptors.arrays import FeatureMaps
from descriptors.integer_sums import sums_of_bytes

MAKE = torch.Generator().manual_seed(7)


def levels_of(*shape: int, active: float = 0.3) -> torch.Tensor:
    values = torch.randint(1, 256, shape, generator=MAKE)
    return (values * (torch.rand(shape, generator=MAKE) < active)).to(torch.uint8)


def inside_of(*shape: int) -> torch.Tensor:
    return torch.rand(shape, generator=MAKE) < 0.4


class TestRegionSums:
    @pytest.mark.parametrize(
        ("batch", "channels", "height", "width"), [(1, 1, 1, 1), (2, 7, 4, 5), (3, 40, 12, 16)]
    )
    def test_like_double_precision(self, batch, channels, height, width) -> None:
        levels, inside = (
            levels_of(batch, channels, height, width),
            inside_of(batch, 3, height, width),
        )
        weights = torch.rand((batch, 6, height * width), generator=MAKE)
        sums, counts = sums_of_bytes(levels, weights, inside)
        exact = torch.einsum("bkc,brc->brk", levels.flatten(2).double(), weights.double())
        # Each weight is off by half a 127th of the row's largest at most.
        most = levels.flatten(2).double().sum(2)[:, None] * (0.51 / 127)
        assert ((sums - exact).abs() <= most + 1e-4).all()
        active = torch.einsum("bkhw,bmhw->bmk", (levels > 0).float(), inside.float())
        assert torch.equal(counts, active)

    def test_nearer_than_bfloat16(self) -> None:
        levels, inside = levels_of(1, 50, 24, 32, active=0.2), inside_of(1, 1, 24, 32)
        weights = torch.rand((1, 8, 24 * 32), generator=MAKE)
        exact = torch.einsum("bkc,brc->brk", levels.flatten(2).double(), weights.double())
        sums, _ = sums_of_bytes(levels, weights, inside)
        other = torch.einsum("bkc,brc->brk", levels.flatten(2).bfloat16(), weights.bfloat16())
        assert (sums - exact).abs().mean() < (other - exact).abs().mean()

    def test_every_level_is_itself(self) -> None:
        whole = torch.ones(1, 1, 2, 2, dtype=torch.bool)
        for level in (0, 1, 127, 128, 255):
            levels = torch.full((1, 1, 2, 2), level, dtype=torch.uint8)
            sums, counts = sums_of_bytes(levels, torch.ones(1, 1, 4), whole)
            assert sums.item() == pytest.approx(4 * level)
            assert counts.item() == 4 * (level > 0)

    def test_no_weight_no_sum(self) -> None:
        levels = levels_of(1, 5, 3, 3)
        nowhere = torch.zeros(1, 2, 3, 3, dtype=torch.bool)
        sums, counts = sums_of_bytes(levels, torch.zeros(1, 2, 9), nowhere)
        assert not sums.any()
        assert not counts.any()


@pytest.mark.parametrize("regions", [True, False])
def test_bytes_and_floating_point_agree(regions: bool) -> None:
    maps = FeatureMaps(levels_of(2, 9, 6, 8), torch.rand((2, 9), generator=MAKE), 16)
    floating = FeatureMaps(maps.levels.float(), maps.scale, 16)
    inside = inside_of(2, 3, 6, 8) if regions else None
    cells = torch.rand((2, 3 if regions else 1, 4, 6, 8), generator=MAKE)
    sums, share = region_sums(maps, cells, inside)
    expected = weighted_sums(floating, cells)
    torch.testing.assert_close(sums, expected, rtol=0.02, atol=2.0)
    torch.testing.assert_close(share, active_share(floating, inside))
