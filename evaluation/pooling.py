"""The compared global descriptors: how each pools a feature map to vectors.

Every function takes the maps of one layer (`FeatureMaps`, B pictures) and gives ``B V K``:
V unit vectors a picture, zero where there is no activation. What follows is the same for
all: each vector is whitened and l2-normalised, a picture's vectors are summed, l2 again.
Only R-MAC has more than one vector a picture.

Convention:
    For a query with a box the maps are cut to it first, so that only the cells inside
    are pooled, and "the picture" below is the cut.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from descriptors.aggregation import active_share
from descriptors.arrays import FeatureMaps, Region
from descriptors.crow import centring_prior, channel_weights

__all__ = ["crow", "gem", "r_mac", "r_mac_regions", "spoc", "sum_pooled"]

_GEM_POWER = 3
_RMAC_SCALES, _RMAC_OVERLAP, _RMAC_MOST = 3, 0.4, 7


def sum_pooled(maps: FeatureMaps) -> Float[Tensor, "B 1 K"]:
    """Sum pooling: every cell and every channel counts alike.

    Without a whitening this is "raw" (Jimenez et al. 2017, table 1). With one it is both
    their "raw + PCA" and the "uCroW" of Kalantidis et al. 2016 ("Cross-dimensional
    Weighting for Aggregated Deep Convolutional Features"), CroW with uniform weights: both
    are sum, l2, PCA-whitening, l2. The published figures of the two differ only by the
    network's layer and the picture size, which are the same for all systems here.
    """
    return _unit(maps.levels.float().sum(dim=(2, 3)) * maps.scale)


def spoc(maps: FeatureMaps) -> Float[Tensor, "B 1 K"]:
    """SPoC: sum pooling under a Gaussian at the centre of the picture.

    Source:
        Babenko and Lempitsky 2015, "Aggregating Deep Convolutional Features for Image
        Retrieval", section 3. Their sigma is min(H, W) / 6, a third of the way from the
        centre to the nearest border; min(H, W) / 3, METHOD section 10's, serves SPoC better
        on our photos (mAP .876 against .836), so that is what ours is compared with.
    """
    height, width = maps.levels.shape[2:]
    prior = centring_prior(height, width, maps.levels.device)
    return _unit(_weighted_sum(maps, prior.expand(maps.levels.shape[0], height, width)))


def crow(maps: FeatureMaps) -> Float[Tensor, "B 1 K"]:
    """CroW: cells weigh by their activation, channels by their rarity.

    The weight of a cell is the sum of its channels, divided by the l2 norm over all cells
    (a = 2), to the power 1/b, b = 2.

    Source:
        Kalantidis et al. 2016, "Cross-dimensional Weighting for Aggregated Deep
        Convolutional Features", sections 3.2 and 3.3.
    """
    summed = torch.einsum("bkhw,bk->bhw", maps.levels.float(), maps.scale)
    cells = functional.normalize(summed.flatten(1), dim=1).sqrt().view_as(summed)
    channels = channel_weights(active_share(maps, None))[:, 0]
    return _unit(_weighted_sum(maps, cells) * channels)


def gem(maps: FeatureMaps) -> Float[Tensor, "B 1 K"]:
    """GeM: the generalised mean over the cells, between mean (p = 1) and maximum; p = 3.

    Source:
        Radenovic et al. 2018, "Fine-tuning CNN Image Retrieval with No Human Annotation",
        section 3.2.
    """
    cubes = (maps.levels.float() ** _GEM_POWER).mean(dim=(2, 3))
    return _unit(cubes ** (1 / _GEM_POWER) * maps.scale)


def r_mac(maps: FeatureMaps) -> Float[Tensor, "B V K"]:
    """R-MAC: the maximum of each channel in each of the regions of three scales.

    Source:
        Tolias et al. 2016, "Particular Object Retrieval with Integral Max-Pooling of CNN
        Activations", section 3.2; each region is whitened by itself, then they are summed.
    """
    height, width = maps.levels.shape[2:]
    highest = [
        maps.levels[:, :, r.y0 : r.y1, r.x0 : r.x1].amax(dim=(2, 3)).float()
        for r in r_mac_regions(height, width)
    ]
    return functional.normalize(torch.stack(highest, dim=1) * maps.scale[:, None], dim=2)


def r_mac_regions(height: int, width: int) -> list[Region]:
    """The square regions of R-MAC on a map of this many cells.

    At scale l = 1, 2, 3 a region is 2 min(H, W) / (l + 1) cells wide (rounded down, at
    least 1); along the shorter side there are l of them, along the longer l + m - 1, evenly
    spread. m, at least 2 on a map that is not square, is such that neighbours at scale 1
    overlap by as near to 40 % as can be.

    Source:
        Tolias et al. 2016, section 3.2.
    """
    shorter, longer = min(height, width), max(height, width)
    more = 0 if shorter == longer else _regions_along(shorter, longer) - 1
    regions = []
    for scale in range(1, _RMAC_SCALES + 1):
        side = max(1, 2 * shorter // (scale + 1))
        downs = _starts(height, side, scale + (more if height > width else 0))
        acrosses = _starts(width, side, scale + (more if width > height else 0))
        regions += [Region(x, y, x + side, y + side) for y in downs for x in acrosses]
    return regions


def _regions_along(shorter: int, longer: int) -> int:
    """How many squares along the longer side overlap by as near to 40 % as can be."""

    def misses(count: int) -> float:
        step = (longer - shorter) / (count - 1)
        return abs(1 - step / shorter - _RMAC_OVERLAP)

    return min(range(2, _RMAC_MOST + 1), key=misses)


def _starts(cells: int, side: int, count: int) -> list[int]:
    """Where `count` stretches of `side` cells begin, from one end to the other, each once."""
    if count == 1:
        return [(cells - side) // 2]
    return sorted({i * (cells - side) // (count - 1) for i in range(count)})


def _weighted_sum(maps: FeatureMaps, cells: Float[Tensor, "B H W"]) -> Float[Tensor, "B K"]:
    return torch.einsum("bkhw,bhw->bk", maps.levels.float(), cells) * maps.scale


def _unit(vectors: Float[Tensor, "B K"]) -> Float[Tensor, "B 1 K"]:
    return functional.normalize(vectors, dim=1)[:, None]
