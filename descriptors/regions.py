"""CAM regions: where in a hit the query's classes speak."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from scipy import ndimage
from torch import Tensor

from descriptors.arrays import Region

__all__ = ["on_coarser_grid", "propose_regions", "stack_regions"]

# Cells touch along edges and corners, within one plane of the stack only.
_TOUCHING = np.stack([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])


def propose_regions(
    heat: Float[Tensor, "B H W"], thresholds: tuple[float, ...], least_side: int
) -> list[list[Region]]:
    """Bounding boxes of the largest component of each heat map above each threshold.

    Args:
        heat: heat maps, non-negative.
        thresholds: shares of each map's maximum.
        least_side: boxes with a side of fewer cells are left out.

    Returns:
        A list a map, in order of the thresholds, equal boxes once; empty for an
        all-zero map or where every box is too small.

    Convention:
        Cells that touch at a corner are connected (as in OpenCV's contours). Of two
        components of one size the first in reading order counts. A cell counts if
        it is strictly above the threshold.

    Source:
        paper section 5.1; docs/method.md section 6, step 2: five thresholds and the largest
        component, as the paper says, where its published code has four and the largest contour.
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
        fitting = [r for r in found if r and min(r.x1 - r.x0, r.y1 - r.y0) >= least_side]
        proposals.append(list(dict.fromkeys(fitting)))
    return proposals


def _largest_boxes(labels: Int[np.ndarray, "P H W"]) -> list[Region | None]:
    """The bounding box of the largest label in each plane; None where there is none.

    Convention:
        Labels count up in reading order, so those of one plane stand together.
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
    """For each row the first mark, and the place after the last one."""
    return marks.argmax(axis=1), marks.shape[1] - marks[:, ::-1].argmax(axis=1)


def stack_regions(
    proposals: list[list[Region]], device: torch.device | None = None, least: int = 1
) -> Int[Tensor, "B M 4"]:
    """Lists of regions as one array; shorter lists are filled with their last region.

    Args:
        proposals: a list a picture.
        device: for the array.
        least: make room for this many regions at least.

    Convention:
        What fills a row is there for the shape only: whoever reads results counts the
        picture's own regions. An empty list becomes zero-sized regions, whose vectors are zero.
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
        Every cell that the region touches belongs to it, so that the whole picture
        stays the whole picture.
    """
    if ratio == 1:
        return regions
    starts = regions[..., :2] // ratio
    ends = (regions[..., 2:] + ratio - 1) // ratio
    limits = torch.tensor([width, height], device=regions.device)
    return torch.cat([starts, torch.minimum(ends, limits)], dim=-1)
