"""Razavian et al.: patches of several sizes, max-pooled, and each sought in each image.

Source:
    Razavian et al. 2016, "Visual Instance Retrieval with Deep Convolutional Networks". Theirs
    passes every patch through the network; here a patch is cut from the maps, so that all
    systems see the same features, and pooled to one cell.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.arrays import Region
from evaluation.baselines.maps import LayerMaps
from evaluation.searching import FIRST_STAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evaluation.baselines.dense import Bench, Rankings

__all__ = ["PATCHES", "patch_maxima", "patch_regions", "search_spatially"]

# Orders of patches: 1 + 4 + 9 + 16 of an image of the gallery, 1 + 4 + 9 of a query. One more
# of each would nearly double the memory and more than double the time.
_ORDERS, _ASKED_ORDERS = 4, 3
PATCHES = sum(order**2 for order in range(1, _ORDERS + 1))
_ASKED_PATCHES = sum(order**2 for order in range(1, _ASKED_ORDERS + 1))

# Similarities of a query's patches and those of this many images are at hand at a time.
_IMAGES = 256


def patch_maxima(layer: LayerMaps) -> Float[Tensor, "B V K"]:
    """The maximum of each channel in each patch, the orders one after the other."""
    return layer.highest(patch_regions(layer.height, layer.width))


def patch_regions(height: int, width: int) -> list[Region]:
    """The patches of a map: of order h, h x h of 2 / (h + 1) of each side, half overlapping.

    Convention:
        On a map of a few cells some patches are the same; they stay, so that each image has
        `PATCHES` of them.
    """
    regions = []
    for order in range(1, _ORDERS + 1):
        downs, acrosses = _stretches(height, order), _stretches(width, order)
        regions += [Region(x0, y0, x1, y1) for y0, y1 in downs for x0, x1 in acrosses]
    return regions


def _stretches(cells: int, order: int) -> list[tuple[int, int]]:
    """Start and end of each of the patches along one side, whole cells, never empty."""
    step = cells / (order + 1)
    starts = [min(round(i * step), cells - 1) for i in range(order)]
    return [(start, max(start + 1, round((i + 2) * step))) for i, start in enumerate(starts)]


def search_spatially(bench: Bench) -> Iterator[Rankings]:
    """By the mean, over a query's patches, of the distance to the nearest patch of an image.

    Source:
        Razavian et al. 2016, spatial search; they publish no expansion.
    """
    started = time.perf_counter()
    asked = bench.queries[:, :_ASKED_PATCHES]
    alive = (asked != 0).any(dim=2)
    distances = [
        _distances(asked, bench.gallery[at : at + _IMAGES])
        for at in range(0, len(bench.gallery), _IMAGES)
    ]
    weights = alive / alive.sum(dim=1, keepdim=True).clamp_min(1)
    means = torch.einsum("qvg,qv->qg", torch.cat(distances, dim=2), weights)
    yield bench.ranked_after(FIRST_STAGES[0].name, started, -means)


def _distances(
    asked: Float[Tensor, "Q v D"], images: Float[Tensor, "g V D"]
) -> Float[Tensor, "Q v g"]:
    """Euclidean, from each patch asked for to the nearest of each image."""
    cosines = asked.flatten(0, 1) @ images.flatten(0, 1).T
    nearest = cosines.unflatten(1, images.shape[:2]).amax(dim=2)
    distances: Tensor = (2 - 2 * nearest).clamp_min(0).sqrt().unflatten(0, asked.shape[:2])
    return distances
