"""CAM regions: propose regions of a hit by the query's classes, and choose the best."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Tensor

from descriptors.arrays import Box, Encoded, FeatureMaps, Region, Size, region_of_box
from descriptors.cams import heat_map, resize_maps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from descriptors.settings import RegionSettings

__all__ = ["RegionMatch", "best_match", "boxes_on_grid", "boxes_on_layers", "on_coarser_grid"]
__all__ += ["on_layers", "propose_regions"]
__all__ += ["query_heat", "regions_to_try", "stack_regions"]

# Cells are connected along edges and corners, within one plane of the stack.
_TOUCHING = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])


@dataclass(frozen=True)
class RegionMatch:
    """The region of an image that is most similar to the query.

    Attributes:
        region: in cells of the image's finest layer.
        score: cosine with the query's descriptor.
        descriptor: of this region, a unit vector.
        tried: every region with its score, in order of threshold.
        whole: descriptor of the whole image with the query's classes; None if not tried.
    """

    region: Region
    score: float
    descriptor: Float[Tensor, " D"]
    tried: Sequence[tuple[Region, float]]
    whole: Float[Tensor, " D"] | None = None


def query_heat(
    encoded: Encoded, maps: Float[Tensor, "B N H1 W1"], settings: RegionSettings
) -> Float[Tensor, "B H W"]:
    """The mean CAM of the query's best classes, on the finest layer's grid."""
    _, height, width = encoded.finest
    best = maps[:, : settings.heat_map_classes]
    return heat_map(resize_maps(best, height, width), settings.heat_map_classes)


def regions_to_try(
    encoded: Encoded, maps: Float[Tensor, "B N H1 W1"], settings: RegionSettings
) -> list[list[Region]]:
    """The regions to try in each hit, on the finest layer's grid.

    Args:
        encoded: maps of the hits.
        maps: their CAMs for the query's classes, best first.
        settings: thresholds, minimum side, and whether to try the whole image.
    """
    _, height, width = encoded.finest
    proposals: list[list[Region]] = [[] for _ in range(len(encoded))]
    if settings.thresholds:
        heat = query_heat(encoded, maps, settings)
        least = math.ceil(settings.min_side / encoded.finest.stride)
        proposals = propose_regions(heat, settings.thresholds, least)
    if settings.whole_image:
        whole = Region(0, 0, width, height)
        proposals = [[*regions, whole] for regions in proposals]
    return [_distinct(regions, encoded) for regions in proposals]


def _distinct(regions: list[Region], encoded: Encoded) -> list[Region]:
    """Drop regions that cover the same cells as an earlier one on averaged maps."""
    distinct: dict[Region, Region] = {}
    for covered, region in zip(_covered(regions, encoded), regions, strict=True):
        distinct.setdefault(covered, region)
    return list(distinct.values())


def _covered(regions: list[Region], encoded: Encoded) -> list[Region]:
    """The cells that regions touch on the finest maps after averaging."""
    ratio = min(maps.stride for maps in encoded.features) // encoded.finest.stride
    return [
        Region(x0 // ratio, y0 // ratio, -(-x1 // ratio), -(-y1 // ratio))
        for x0, y0, x1, y1 in regions
    ]


def propose_regions(
    heat: Float[Tensor, "B H W"], thresholds: tuple[float, ...], min_side: int
) -> list[list[Region]]:
    """Bounding boxes of the largest component of each heat map above each threshold.

    Args:
        heat: non-negative heat maps.
        thresholds: shares of each map's maximum.
        min_side: boxes with a side of fewer cells are left out.

    Returns:
        For each map its distinct boxes in order of the thresholds; empty for an all-zero map
        or if every box is too small.

    Convention:
        Cells that touch at a corner are connected (as in OpenCV's contours). Of two
        components of equal size the first in reading order is used. A cell must be
        strictly above the threshold.

    Source:
        paper section 5.1; docs/method.md section 6, step 2: five thresholds and the largest
        component, as in the paper; its published code has four and the largest contour.
    """
    batch, height, width = heat.shape
    values = heat.cpu().numpy()
    cuts = values.max(axis=(1, 2))[:, None] * np.asarray(thresholds, dtype=values.dtype)
    above = values[:, None] > cuts[:, :, None, None]
    planes = above.reshape(-1, height, width)
    labels, _ = ndimage.label(planes, structure=_TOUCHING)
    boxes = _largest_boxes(labels)
    proposals: list[list[Region]] = []
    for i in range(batch):
        found = boxes[i * len(thresholds) : (i + 1) * len(thresholds)]
        fitting = [r for r in found if r and min(r.x1 - r.x0, r.y1 - r.y0) >= min_side]
        proposals.append(list(dict.fromkeys(fitting)))
    return proposals


def _largest_boxes(labels: Int[np.ndarray, "P H W"]) -> list[Region | None]:
    """The bounding box of the largest label in each plane; None for a plane without labels.

    Labels increase in reading order, so those of one plane are consecutive.
    """
    sizes = np.bincount(labels.ravel())
    ends = np.maximum.accumulate(labels.max(axis=(1, 2))).tolist()
    largest = np.zeros(len(ends), dtype=labels.dtype)
    start = 1
    for plane, end in enumerate(ends):
        if end >= start:
            largest[plane] = start + int(sizes[start : end + 1].argmax())
            start = end + 1
    inside = (labels == largest[:, None, None]) & (largest > 0)[:, None, None]
    rows, columns = inside.any(axis=2), inside.any(axis=1)
    edges = (*_ends_of(columns), *_ends_of(rows))
    boxes = zip(*(edge.tolist() for edge in edges), strict=True)
    return [
        Region(x0, y0, x1, y1) if found else None
        for found, (x0, x1, y0, y1) in zip(largest.tolist(), boxes, strict=True)
    ]


def _ends_of(
    marks: Bool[np.ndarray, "P N"],
) -> tuple[Int[np.ndarray, " P"], Int[np.ndarray, " P"]]:
    """For each row the first mark, and the position after the last one."""
    return marks.argmax(axis=1), marks.shape[1] - marks[:, ::-1].argmax(axis=1)


def best_match(
    regions: list[Region], scores: list[float], descriptors: Float[Tensor, "M D"], encoded: Encoded
) -> RegionMatch:
    """The best of an image's regions, and the whole image if it is among them.

    Convention:
        On averaged maps a region can cover all cells without reaching the edge of the finest grid.
    """
    tried = list(zip(regions, scores, strict=True))
    best = max(range(len(tried)), key=lambda i: tried[i][1])
    _, height, width = encoded.finest
    whole, *covered = _covered([Region(0, 0, width, height), *regions], encoded)
    of_whole = descriptors[covered.index(whole)] if whole in covered else None
    return RegionMatch(*tried[best], descriptors[best], tried, of_whole)


def stack_regions(
    proposals: list[list[Region]], device: torch.device | None = None, least: int = 1
) -> Int[Tensor, "B M 4"]:
    """Lists of regions as one array; shorter lists are padded with their last region.

    Args:
        proposals: one list per image.
        device: of the array.
        least: minimum number of columns M.

    Convention:
        Results of padding must be ignored. An empty list becomes zero-sized regions, whose
        vectors are zero.
    """
    most = max(least, *(len(regions) for regions in proposals)) if proposals else least
    empty = Region(0, 0, 0, 0)
    rows = [
        regions + [regions[-1] if regions else empty] * (most - len(regions))
        for regions in proposals
    ]
    return torch.tensor(rows, dtype=torch.int64, device=device).reshape(len(rows), most, 4)


def on_coarser_grid(
    regions: Int[Tensor, "B M 4"], ratio: int, height: int, width: int
) -> Int[Tensor, "B M 4"]:
    """Regions of the finest layer on the grid of a layer with a stride `ratio` times as long.

    Convention:
        A region includes every cell that it touches, so the whole image stays whole.
    """
    if ratio == 1:
        return regions
    starts = regions[..., :2] // ratio
    ends = (regions[..., 2:] + ratio - 1) // ratio
    limits = torch.tensor([width, height], device=regions.device)
    return torch.cat([starts, torch.minimum(ends, limits)], dim=-1)


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


def boxes_on_layers(
    boxes: Sequence[Box], image: Size, encoded: Encoded
) -> tuple[Int[Tensor, "1 M 4"], ...]:
    """Boxes on the grid of every layer, the same for each image of a batch.

    Args:
        boxes: in pixels of an upright image of this size.
        image: size of the image.
        encoded: its maps.
    """
    return tuple(boxes_on_grid(boxes, image, encoded, maps)[None] for maps in encoded.features)


def boxes_on_grid(
    boxes: Sequence[Box], image: Size, encoded: Encoded, maps: FeatureMaps
) -> Int[Tensor, "M 4"]:
    """As `boxes_on_layers`, on the grid of one layer."""
    grid = encoded.grid(maps.cells)
    regions = [region_of_box(box, image, grid) for box in boxes]
    return torch.tensor(regions, device=maps.levels.device)
