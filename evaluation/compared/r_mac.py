"""R-MAC: maxima over a grid of regions; how its regions lie."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from descriptors.arrays import Region
from evaluation.compared.layer_maps import LayerMaps

__all__ = ["r_mac", "r_mac_regions"]

_SCALES, _OVERLAP, _MOST = 3, 0.4, 7


def r_mac(layer: LayerMaps) -> Float[Tensor, "B V K"]:
    """R-MAC: the maximum of each channel in each of the regions of three scales.

    Source:
        Tolias et al. 2016, "Particular Object Retrieval with Integral Max-Pooling of CNN
        Activations", section 3.2; each region is whitened by itself, then they are summed.
    """
    return layer.highest(r_mac_regions(layer.height, layer.width))


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
    for scale in range(1, _SCALES + 1):
        side = max(1, 2 * shorter // (scale + 1))
        downs = _starts(height, side, scale + (more if height > width else 0))
        acrosses = _starts(width, side, scale + (more if width > height else 0))
        regions += [Region(x, y, x + side, y + side) for y in downs for x in acrosses]
    return regions


def _regions_along(shorter: int, longer: int) -> int:
    """How many squares along the longer side overlap by as near to 40 % as can be."""

    def misses(count: int) -> float:
        step = (longer - shorter) / (count - 1)
        return abs(1 - step / shorter - _OVERLAP)

    return min(range(2, _MOST + 1), key=misses)


def _starts(cells: int, side: int, count: int) -> list[int]:
    """Where `count` stretches of `side` cells begin, from one end to the other, each once."""
    if count == 1:
        return [(cells - side) // 2]
    return sorted({i * (cells - side) // (count - 1) for i in range(count)})
