"""The baselines' pooling of a feature map, and the spatial search of Razavian et al.

Every function takes one layer of B images and returns ``B V K``: unit vectors, zero where there
is no activation; V is 1 except for Razavian et al. The remaining steps are in
`evaluation.baselines.dense`.

Convention:
    For a query with a box the maps are cut to it first, so that only the cells inside
    are pooled; "the image" below is then the cut.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from descriptors.aggregation import channel_weights, region_windows
from descriptors.arrays import Region
from evaluation.baselines.maps import LayerMaps
from evaluation.searching import FIRST_STAGES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evaluation.baselines.dense import Bench, Rankings

__all__ = [
    "PATCHES",
    "crow",
    "gem",
    "mac",
    "patch_maxima",
    "patch_regions",
    "search_spatially",
    "spoc",
    "sum_pooled",
]


def sum_pooled(layer: LayerMaps) -> Float[Tensor, "B 1 K"]:
    """Sum pooling: every cell and every channel has the same weight.

    Without a whitening this is "raw" (Jimenez et al. 2017, table 1). With one it is both
    their "raw + PCA" and the "uCroW" of Kalantidis et al. 2016 ("Cross-dimensional
    Weighting for Aggregated Deep Convolutional Features"). The published figures of the two
    differ only by the network's layer and the image size, which are the same for all systems here.
    """
    return _unit(layer.cells.sum(dim=2) * layer.scale)


def spoc(layer: LayerMaps) -> Float[Tensor, "B 1 K"]:
    """SPoC: sum pooling under a Gaussian at the centre of the image.

    Source:
        Babenko and Lempitsky 2015, "Aggregating Deep Convolutional Features for Image
        Retrieval", section 3. Their sigma is min(H, W) / 6; we use min(H, W) / 3 as in
        docs/method.md section 10, which is better for SPoC on our images (mAP .876 against .836).
    """
    whole = torch.tensor([[[0, 0, layer.width, layer.height]]], device=layer.cells.device)
    prior = region_windows(whole, layer.height, layer.width, centring=True)[0, 0]
    return _unit(layer.cells @ prior.flatten() * layer.scale)


def crow(layer: LayerMaps) -> Float[Tensor, "B 1 K"]:
    """CroW: cells are weighted by their activation, channels by their rarity.

    The weight of a cell is the sum of its channels, divided by the l2 norm over all cells
    (a = 2), to the power 1/b, b = 2.

    Source:
        Kalantidis et al. 2016, "Cross-dimensional Weighting for Aggregated Deep
        Convolutional Features", sections 3.2 and 3.3.
    """
    summed = torch.bmm(layer.scale[:, None], layer.cells)
    weights = functional.normalize(summed, dim=2).sqrt()
    sums = torch.bmm(layer.cells, weights.transpose(1, 2))[:, :, 0] * layer.scale
    # Without booleans in between, which take far longer.
    positive = torch.gt(layer.cells, 0, out=torch.empty_like(layer.cells))
    return _unit(sums * channel_weights(positive.mean(dim=2)))


def gem(layer: LayerMaps) -> Float[Tensor, "B 1 K"]:
    """GeM: the generalised mean over the cells, between mean (p = 1) and maximum; p = 3.

    Source:
        Radenovic et al. 2018, "Fine-tuning CNN Image Retrieval with No Human Annotation",
        section 3.2.
    """
    cubes = (layer.cells * layer.cells * layer.cells).mean(dim=2)
    return _unit(cubes ** (1 / 3) * layer.scale)


def mac(layer: LayerMaps) -> Float[Tensor, "B 1 K"]:
    """MAC: the maximum of each channel.

    Source:
        Tolias et al. 2016, "Particular Object Retrieval with Integral Max-Pooling of CNN
        Activations", section 3.1; Razavian et al. 2016 pool the same way.
    """
    return _unit(layer.cells.amax(dim=2) * layer.scale)


def _unit(vectors: Float[Tensor, "B K"]) -> Float[Tensor, "B 1 K"]:
    return functional.normalize(vectors, dim=1)[:, None]


# Orders of patches: 1 + 4 + 9 + 16 for a gallery image, 1 + 4 + 9 for a query. One more of each
# would nearly double the memory and more than double the time.
_ORDERS, _ASKED_ORDERS = 4, 3
PATCHES = sum(order**2 for order in range(1, _ORDERS + 1))
_ASKED_PATCHES = sum(order**2 for order in range(1, _ASKED_ORDERS + 1))

# Images compared at a time.
_IMAGES = 256


def patch_maxima(layer: LayerMaps) -> Float[Tensor, "B V K"]:
    """The maximum of each channel in each patch, order by order.

    Source:
        Razavian et al. 2016, "Visual Instance Retrieval with Deep Convolutional Networks". Theirs
        passes every patch through the network; here patches are cut from the maps, so that all
        systems see the same features.
    """
    return layer.highest(patch_regions(layer.height, layer.width))


def patch_regions(height: int, width: int) -> list[Region]:
    """The patches of a map: for order h, h x h of 2 / (h + 1) of each side, half overlapping.

    Convention:
        On a map of a few cells some patches are equal; they stay, so that each image has
        `PATCHES` of them.
    """
    regions = []
    for order in range(1, _ORDERS + 1):
        downs, acrosses = _stretches(height, order), _stretches(width, order)
        regions += [Region(x0, y0, x1, y1) for y0, y1 in downs for x0, x1 in acrosses]
    return regions


def _stretches(cells: int, order: int) -> list[tuple[int, int]]:
    """Start and end of each patch along one side in whole cells, never empty."""
    step = cells / (order + 1)
    starts = [min(round(i * step), cells - 1) for i in range(order)]
    return [(start, max(start + 1, round((i + 2) * step))) for i, start in enumerate(starts)]


def search_spatially(bench: Bench) -> Iterator[Rankings]:
    """Rank by the mean, over a query's patches, of the distance to the nearest patch of an image.

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
    """Euclidean, from each patch of a query to the nearest of each image."""
    cosines = asked.flatten(0, 1) @ images.flatten(0, 1).T
    nearest = cosines.unflatten(1, images.shape[:2]).amax(dim=2)
    distances: Tensor = (2 - 2 * nearest).clamp_min(0).sqrt().unflatten(0, asked.shape[:2])
    return distances
