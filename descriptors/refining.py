"""Fit a window to the object in it: a local search for the box that is most similar to the query.

A window is coarse. Its sides move as long as the cosine with the query grows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from descriptors.arrays import Box, Size
from descriptors.cams import activation_maps
from descriptors.regions import boxes_on_layers

if TYPE_CHECKING:
    from descriptors.arrays import Encoded, QueryDescription
    from descriptors.method import Method

__all__ = ["refine_box"]

# Minimum side of a box in cells of the finest layer, first step as a share of a side, and rounds.
# Several starts fit small things slightly better but take several times as long (docs/adr/0016).
_MIN_CELLS, _FIRST_STEP, _ROUNDS = 4, 0.25, 6

# How the sides of a box move, in steps: one side, all inwards, the whole box, and opposite sides.
_MOVES = (
    *((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1)),
    *((-1, 0, 0, 0), (0, -1, 0, 0), (0, 0, -1, 0), (0, 0, 0, -1)),
    *((1, 0, 1, 0), (-1, 0, -1, 0), (0, 1, 0, 1), (0, -1, 0, -1)),
    *((1, 0, -1, 0), (0, 1, 0, -1), (1, 1, -1, -1)),
)


@torch.inference_mode()
def refine_box(
    method: Method, query: QueryDescription, encoded: Encoded, size: Size, box: Box
) -> Box:
    """The box near a window that is most similar to the query.

    Args:
        method: made the query and the maps.
        query: every box is described with its classes.
        encoded: maps of the hit, as a batch of one.
        size: of the upright hit, in pixels.
        box: to start from, such as the hit's most similar window.

    Returns:
        A box at least as similar as `box`; at most six steps away.

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
    return box


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
