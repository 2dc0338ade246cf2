"""The maximum of each channel in many rectangles of a map, by four look-ups each."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Int, Shaped
from torch import Tensor

__all__ = ["RegionMaxima"]

# More than there are powers of two in a side.
_KINDS = 32


class RegionMaxima:
    """Maxima over blocks of 1, 2, 4, ... cells a side, from which any rectangle's follow.

    Four blocks whose sides are the largest powers of two that fit cover a rectangle; that they
    overlap does not matter to a maximum. Bytes stay bytes, so this costs little memory.

    Source:
        A sparse table in two dimensions; it stands for the integral max-pooling of Tolias et al.
        2016 (section 4.1), which needs four look-ups as well, for an approximation.
    """

    def __init__(self, levels: Shaped[Tensor, "B K H W"]) -> None:
        """Take the maps of one layer; blocks are made when a rectangle needs them."""
        self._blocks = {(0, 0): levels.permute(0, 2, 3, 1).contiguous()}

    def of(self, regions: Int[np.ndarray, "M 4"]) -> Shaped[Tensor, "B M K"]:
        """The maximum of each channel in each region (``x0 y0 x1 y1`` in cells, half-open)."""
        cells = self._blocks[0, 0]
        found = cells.new_empty((cells.shape[0], len(regions), cells.shape[3]))
        # frexp gives the exponent e of side < 2^e, exactly.
        _, exponents = np.frexp(regions[:, 2:] - regions[:, :2])
        # Numbers are told apart far faster than rows.
        kinds = exponents[:, 0] * _KINDS + exponents[:, 1]
        for kind in np.unique(kinds).tolist():
            rows = np.flatnonzero(kinds == kind)
            across, down = kind // _KINDS - 1, kind % _KINDS - 1
            at = torch.from_numpy(rows).to(cells.device)
            found.index_copy_(1, at, self._of_blocks(regions[rows], down, across))
        return found

    def _of_blocks(
        self, regions: Int[np.ndarray, "m 4"], down: int, across: int
    ) -> Shaped[Tensor, "B m K"]:
        blocks = self._made(down, across)
        x0, y0, x1, y1 = regions.T
        columns, rows = (x0, x1 - 2**across), (y0, y1 - 2**down)
        places = np.concatenate([y * blocks.shape[2] + x for y in rows for x in columns])
        corners = blocks.flatten(1, 2).index_select(1, torch.from_numpy(places).to(blocks.device))
        highest: Tensor = corners.unflatten(1, (4, -1)).amax(dim=1)
        return highest

    def _made(self, down: int, across: int) -> Shaped[Tensor, "B _ _ K"]:
        """Maxima over blocks of ``2^down`` rows and ``2^across`` columns, by their first cell."""
        if (down, across) not in self._blocks:
            if across:
                smaller, step = self._made(down, across - 1), 2 ** (across - 1)
                made = torch.maximum(smaller[:, :, :-step], smaller[:, :, step:])
            else:
                smaller, step = self._made(down - 1, 0), 2 ** (down - 1)
                made = torch.maximum(smaller[:, :-step], smaller[:, step:])
            self._blocks[down, across] = made
        return self._blocks[down, across]
