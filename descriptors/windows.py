"""Windows: a fixed pyramid of overlapping parts of every image, each described like a query box.

An image is as similar to a query as the most similar of its windows, the whole image being one of
them, so a small thing is found at the first search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from descriptors.aggregation import region_windows
from descriptors.arrays import Box, Encoded, Size
from descriptors.regions import boxes_on_grid

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PYRAMIDS", "pooled_windows", "window_boxes", "window_scores"]

# Levels of the pyramid for each number of windows, the whole image included: n x n windows with
# this share of the image's sides.
_LEVELS = ((2, 0.7), (3, 0.5), (4, 0.35), (6, 0.24), (8, 0.16))
PYRAMIDS = {
    1 + sum(n * n for n, _ in _LEVELS[:depth]): _LEVELS[:depth] for depth in range(len(_LEVELS) + 1)
}


def window_boxes(count: int, image: Size) -> list[Box]:
    """The windows of an image in pixels, the whole image first.

    Args:
        count: a key of `PYRAMIDS`.
        image: size of the upright image in pixels.
    """
    boxes = [Box(0, 0, *image)]
    for n, side in PYRAMIDS[count]:
        width, height = side * image.width, side * image.height
        starts = [i * (1 - side) / (n - 1) for i in range(n)]
        boxes += [
            Box(
                x * image.width,
                y * image.height,
                min(x * image.width + width, image.width),
                min(y * image.height + height, image.height),
            )
            for y in starts
            for x in starts
        ]
    return boxes


def pooled_windows(boxes: Sequence[Box], encoded: Encoded) -> Float[Tensor, "B M J"]:
    """The mean of the evidence within windows.

    Args:
        boxes: of the windows, in pixels of the working size.
        encoded: maps of a batch.
    """
    evidence = encoded.evidence
    regions = boxes_on_grid(boxes, encoded.working, encoded, evidence)
    height, width = evidence.levels.shape[2:]
    inside = region_windows(regions[None], height, width, centring=False)[0].flatten(1)
    shares = (inside / inside.sum(dim=1, keepdim=True)).expand(len(encoded), -1, -1)
    pooled = torch.bmm(shares, evidence.levels.float().flatten(2).transpose(1, 2))
    return pooled * evidence.scale[:, None]


def window_scores(
    boxes: Sequence[Box], encoded: Encoded, weight: Float[Tensor, "C J"], bias: Float[Tensor, " C"]
) -> Float[Tensor, "B M C"]:
    """The class scores of windows, from the evidence within them; see `class_scores`.

    Args:
        boxes, encoded: see `pooled_windows`.
        weight, bias: of the classifier.
    """
    return functional.linear(pooled_windows(boxes, encoded), weight, bias)
