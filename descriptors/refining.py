"""Fit a window to the object in it.

A window is coarse. Its sides move as long as the cosine with the query grows; the result may be
only the most similar part of a large object, which the region of the query's CAMs fits better.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from descriptors.arrays import Box, Size, box_of_region
from descriptors.cams import activation_maps
from descriptors.regions import boxes_on_layers

if TYPE_CHECKING:
    from descriptors.arrays import Encoded, QueryDescription
    from descriptors.method import Method
    from descriptors.settings import RegionSettings

__all__ = ["refine_box"]

# Minimum side of a box in cells of the finest layer, first step as a share of a side, and rounds.
# Several starts fit small things slightly better but take several times as long (docs/adr/0016).
_MIN_CELLS, _FIRST_STEP, _ROUNDS = 4, 0.25, 6

# The region of the CAMs is preferred unless the other box is more similar by this cosine. Between .05
# and .1 both small and large things are fitted better than by either alone (docs/adr/0016).
_PREFERRED = 0.08

# How the sides of a box move, in steps: one side, all inwards, the whole box, and opposite sides.
_MOVES = (
    *((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)),
    *((-1, 0, 0, 0), (0, -1, 0, 0), (0, 0, -1, 0), (0, 0, 0, -1)),
    *((1, 0, 1, 0), (-1, 0, -1, 0), (0, 1, 0, 1), (0, -1, 0, -1)),
    *((1, 0, -1, 0), (0, 1, 0, -1), (1, 1, -1, -1)),
)


@torch.inference_mode()
def refine_box(
    method: Method,
    query: QueryDescription,
    encoded: Encoded,
    size: Size,
    box: Box,
    regions: RegionSettings,
) -> Box:
    """The box that fits the query's object in a hit.

    Args:
        method: made the query and the maps.
        query: every box is described with its classes.
        encoded: maps of the hit, as a batch of one.
        size: of the upright hit, in pixels.
        box: to start from, such as the hit's most similar window.
        regions: how the query's CAMs propose regions.

    Returns:
        The best region of the query's CAMs, or a box at most six steps from `box` that is at
        least as similar as `box`, if it is clearly more similar than the region.

    Source:
        docs/method.md section 11.
    """
    encoded = method.encoder.ready(encoded)
    classes = query.classes[None]
    maps = activation_maps(encoded.evidence, method.encoder.weight, classes)

    def cosines(boxes: list[Box]) -> list[float]:
        regions = boxes_on_layers(boxes, size, encoded)
        rows = method.describe_classes(encoded, classes, regions, maps)[0]
        found: list[float] = (rows @ query.region_descriptor).tolist()
        return found

    min_side = _MIN_CELLS * encoded.finest.stride * max(size) / max(encoded.working)
    [best], step = cosines([box]), _FIRST_STEP
    for _ in range(_ROUNDS):
        nearby = _nearby(box, step, size, min_side)
        found = cosines(nearby) if nearby else [best]
        if max(found) > best:
            best, box = max(found), nearby[found.index(max(found))]
        else:
            step /= 2
    [match] = method.match_regions(query, encoded, regions)
    if match is None:
        return box
    region = box_of_region(match.region, size, encoded.grid(encoded.finest))
    return region if cosines([region])[0] > best - _PREFERRED else box


def _nearby(box: Box, step: float, image: Size, min_side: float) -> list[Box]:
    """Boxes that differ from a box by one move of its sides.

    Args:
        box: in pixels of the upright image.
        step: of a side, as a share of the box's width or height.
        image: size of the image; boxes are cut to it.
        min_side: boxes with a shorter side, in pixels, are left out.
    """
    width, height = step * (box.x1 - box.x0), step * (box.y1 - box.y0)
    found = []
    for left, top, right, bottom in _MOVES:
        x0, y0 = max(box.x0 + left * width, 0), max(box.y0 + top * height, 0)
        x1 = min(box.x1 + right * width, image.width)
        y1 = min(box.y1 + bottom * height, image.height)
        if min(x1 - x0, y1 - y0) >= min_side:
            found.append(Box(x0, y0, x1, y1))
    return found
