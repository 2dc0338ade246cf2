"""What learned classes look like: the parts of images that show each class most clearly."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor
from torch.nn import functional

if TYPE_CHECKING:
    from descriptors.arrays import Encoded
    from descriptors.encoder import Encoder
    from descriptors.whitening import Whitening

__all__ = ["PATCHES", "ClassPatches", "contact_sheet"]

# Patches of a class, their side in pixels, and the side of the square they show, in cells.
PATCHES, _SIDE, _CELLS = 4, 48, 3


class ClassPatches:
    """The best patches of each class in a stream of images, at most one of an image."""

    def __init__(self, encoder: Encoder) -> None:
        """Args: encoder has the classes."""
        self._encoder = encoder
        shape = (len(encoder.weight), PATCHES)
        self._scores = torch.full(shape, -torch.inf)
        self.patches = torch.zeros(*shape, _SIDE, _SIDE, 3, dtype=torch.uint8)

    @torch.inference_mode()
    def add(self, pixels: UInt8[Tensor, "B 3 h w"], encoded: Encoded) -> None:
        """Add a batch of images at working size, with their maps."""
        values = encoded.evidence.values().flatten(2)
        best, cells = (self._encoder.weight @ values).max(dim=2)
        worst = self._scores.amin(dim=1)
        for row, number in (best.cpu() > worst).nonzero().tolist():
            score, place = float(best[row, number]), int(self._scores[number].argmin())
            if score > self._scores[number, place]:
                self._scores[number, place] = score
                at = divmod(int(cells[row, number]), encoded.evidence.cells.width)
                patch = _patch(pixels[row], at, encoded.evidence.stride)
                self.patches[number, place] = patch

    def sorted(self) -> UInt8[Tensor, "C P h w 3"]:
        """RGB patches of each class, best first; black where there were too few images."""
        order = self._scores.argsort(dim=1, descending=True)
        return self.patches[torch.arange(len(order))[:, None], order]


def _patch(
    pixels: UInt8[Tensor, "3 h w"], cell: tuple[int, int], stride: int
) -> UInt8[Tensor, "side side 3"]:
    """The square around a cell (row, column), moved into the image."""
    height, width = pixels.shape[1:]
    side = min(_CELLS * stride, height, width)
    starts = (
        min(max(int((at + 0.5) * stride - side / 2), 0), most - side)
        for at, most in zip(cell, (height, width), strict=True)
    )
    y, x = starts
    part = pixels[None, :, y : y + side, x : x + side].float()
    small = functional.interpolate(part, (_SIDE, _SIDE), mode="area")
    return small[0].round().to(torch.uint8).permute(1, 2, 0)


def contact_sheet(whitening: Whitening, number: int) -> Image.Image | None:
    """The patches of a learned class side by side; None if it has none."""
    classes = whitening.classes
    if classes is None or classes.patches is None:
        return None
    return Image.fromarray(np.concatenate(list(classes.patches[number].cpu().numpy()), axis=1))
