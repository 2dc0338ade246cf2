"""Regions of hits: where they are proposed, and which of them is most like the query."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from torch import Tensor

from descriptors.arrays import Encoded, Region, RegionMatch
from descriptors.cams import heat_map, resize_maps
from descriptors.regions import on_coarser_grid, propose_regions

if TYPE_CHECKING:
    from descriptors.settings import RegionSettings

__all__ = ["best_match", "on_layers", "query_heat", "regions_to_try", "whole_among"]


def query_heat(
    encoded: Encoded, maps: Float[Tensor, "B N H1 W1"], settings: RegionSettings
) -> Float[Tensor, "B H W"]:
    """The mean of the query's best classes' CAMs, on the finest layer's grid."""
    _, height, width = encoded.finest
    best = maps[:, : settings.heat_map_classes]
    return heat_map(resize_maps(best, height, width), settings.heat_map_classes)


def regions_to_try(
    encoded: Encoded, maps: Float[Tensor, "B N H1 W1"], settings: RegionSettings
) -> list[list[Region]]:
    """The regions to try in each hit, see `Method.propose_regions`."""
    _, height, width = encoded.finest
    proposals: list[list[Region]] = [[] for _ in range(len(encoded))]
    if settings.thresholds:
        heat = query_heat(encoded, maps, settings)
        least = math.ceil(settings.least_side / encoded.finest.stride)
        proposals = propose_regions(heat, settings.thresholds, least)
    if settings.whole_picture:
        whole = Region(0, 0, width, height)
        proposals = [[*regions, whole] for regions in proposals]
    return [_distinct(regions, encoded) for regions in proposals]


def _distinct(regions: list[Region], encoded: Encoded) -> list[Region]:
    """Regions without those that cover the same cells as one before, on maps that are coarser."""
    distinct: dict[Region, Region] = {}
    for covered, region in zip(_covered(regions, encoded), regions, strict=True):
        distinct.setdefault(covered, region)
    return list(distinct.values())


def _covered(regions: list[Region], encoded: Encoded) -> list[Region]:
    """The cells that regions touch on the finest maps there are, which may be averaged."""
    ratio = min(maps.stride for maps in encoded.features) // encoded.finest.stride
    return [
        Region(x0 // ratio, y0 // ratio, -(-x1 // ratio), -(-y1 // ratio))
        for x0, y0, x1, y1 in regions
    ]


def whole_among(regions: list[Region], encoded: Encoded) -> int | None:
    """Which of the regions to try covers the whole picture; None if there is none.

    Convention:
        On averaged maps a region may cover all cells though it ends a cell before the edge.
    """
    _, height, width = encoded.finest
    whole, *covered = _covered([Region(0, 0, width, height), *regions], encoded)
    return covered.index(whole) if whole in covered else None


def best_match(
    regions: list[Region], scores: list[float], descriptors: Float[Tensor, "M D"]
) -> RegionMatch:
    """The best of a picture's regions."""
    tried = list(zip(regions, scores, strict=True))
    best = max(range(len(tried)), key=lambda i: tried[i][1])
    region, score = tried[best]
    return RegionMatch(region, score, descriptors[best], tried)


def on_layers(encoded: Encoded, finest: Int[Tensor, "B M 4"]) -> tuple[Int[Tensor, "B M 4"], ...]:
    """Regions of the finest grid on the grid of every layer."""
    return tuple(
        on_coarser_grid(
            finest,
            maps.stride // encoded.finest.stride,
            maps.levels.shape[2],
            maps.levels.shape[3],
        )
        for maps in encoded.features
    )
