"""From maps to one descriptor: class vectors, their sum, the layers side by side."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from descriptors.arrays import FeatureMaps

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["active_share", "aggregate", "class_vectors", "join_layers", "region_windows"]


def region_windows(
    regions: Int[Tensor, "B M 4"], height: int, width: int, *, centring: bool
) -> Float[Tensor, "B M H W"]:
    """What each cell counts in each region: 0 outside; inside 1, or the centring prior.

    Args:
        regions: ``x0 y0 x1 y1`` in cells, half-open.
        height, width: cells of the maps.
        centring: with SPoC's prior, a Gaussian at the centre of the region,
            sigma = min(H, W) / 3 of the region, 1 at the centre.

    Convention:
        Multiplying by a window is the same as cutting the maps to the region first.

    Source:
        METHOD section 4 (cut) and 10 (prior; Babenko and Lempitsky 2015).
    """
    edges = regions.to(torch.float32)
    y = torch.arange(height, device=regions.device, dtype=torch.float32)
    x = torch.arange(width, device=regions.device, dtype=torch.float32)
    x0, y0, x1, y1 = (edges[..., i, None] for i in range(4))
    rows = ((y >= y0) & (y < y1)).float()
    columns = ((x >= x0) & (x < x1)).float()
    if centring:
        variance = (torch.minimum(x1 - x0, y1 - y0) / 3) ** 2
        rows = rows * torch.exp(-((y - (y0 + y1 - 1) / 2) ** 2) / (2 * variance))
        columns = columns * torch.exp(-((x - (x0 + x1 - 1) / 2) ** 2) / (2 * variance))
    return rows[..., :, None] * columns[..., None, :]


def active_share(
    maps: FeatureMaps, inside: Bool[Tensor, "B M H W"] | None
) -> Float[Tensor, "B M K"]:
    """Q_k: in each region the share of cells in which channel k is above 0.

    Args:
        maps: of one layer.
        inside: the cells of each region, or None for one region that is the whole picture.

    Source:
        METHOD section 2.
    """
    if inside is None:
        cells = maps.levels.shape[2] * maps.levels.shape[3]
        return (maps.levels.count_nonzero(dim=(2, 3)) / cells).unsqueeze(1)
    # Written as numbers at once: a detour by booleans takes ten times as long.
    positive = torch.gt(maps.levels, 0, out=torch.empty_like(maps.levels)).flatten(2)
    counts = torch.bmm(inside.flatten(2).to(positive.dtype), positive.transpose(1, 2)).float()
    return counts / inside.sum(dim=(2, 3)).clamp_min(1).unsqueeze(2)


def class_vectors(
    maps: FeatureMaps,
    cells: Float[Tensor, "B M N H W"],
    channels: Float[Tensor, "B M K"],
    power: float = 1.0,
) -> Float[Tensor, "B M N K"]:
    """One vector a region and class: features summed under the class's cell weights.

    Args:
        maps: of one layer.
        cells: weight of each cell, a map a region and class.
        channels: CroW weights of the channels within each region.
        power: element-wise exponent between two l2 normalisations; 1 is off.

    Returns:
        Unit rows, or zero rows where the sum is zero.

    Source:
        paper section 3.2; METHOD section 2; the power normalisation is section 10's.
    """
    regions, classes = cells.shape[1:3]
    levels = maps.levels.flatten(2)
    weights = cells.flatten(3).flatten(1, 2).to(levels.dtype)
    sums = torch.bmm(weights, levels.transpose(1, 2)).float()
    sums = sums.reshape(-1, regions, classes, levels.shape[1])
    vectors = sums * (channels * maps.scale[:, None, :]).unsqueeze(2)
    if power != 1:
        # An l2 before the power would be undone by the l2 after it.
        vectors = vectors.clamp_min_(0)
        vectors = vectors.sqrt_() if power == 0.5 else vectors.pow_(power)  # noqa: PLR2004
    return functional.normalize(vectors, dim=-1)


def aggregate(
    whitened: Float[Tensor, "*B N D"], weights: Float[Tensor, "*B N"] | None = None
) -> Float[Tensor, "*B D"]:
    """The sum of a picture's whitened class vectors, l2-normalised; zero if all of them are.

    Args:
        whitened: unit or zero rows, one a class.
        weights: one a class; None for all alike.

    Source:
        paper section 3.3; METHOD section 3.
    """
    if weights is not None:
        whitened = whitened * weights.unsqueeze(-1)
    return functional.normalize(whitened.sum(dim=-2), dim=-1)


def join_layers(descriptors: Sequence[Float[Tensor, "*B _"]]) -> Float[Tensor, "*B D"]:
    """The descriptors of several layers side by side, unit again.

    Source:
        METHOD section 10.
    """
    return functional.normalize(torch.cat(list(descriptors), dim=-1), dim=-1)
