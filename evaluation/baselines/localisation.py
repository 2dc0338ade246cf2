"""Where in a map a query is: the window whose maxima are most like the query's (AML).

Source:
    Tolias et al. 2016, section 4: approximate max-pooling localisation. Windows are sampled in
    steps of three cells, those whose aspect ratio differs from the query's by more than a factor
    of 1.1 are skipped, and the best is refined side by side. They approximate the maxima in a
    window; `RegionMaxima` computes them exactly with as many look-ups.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from evaluation.baselines.maps import LayerMaps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from descriptors.arrays import FeatureMaps

__all__ = ["Localiser", "distinct_windows", "sampled_windows", "window_of_layer"]

_STEP, _MAX_RATIO = 3, 1.1
# Cells that a side moves by at most, and most rounds over all four sides.
_MOVES, ROUNDS = 3, 5
# Digits of a cosine that do not depend on the size of a batch in float32.
_DIGITS = 5
# More than the side of a map.
_MAX_CELLS = 4096


@lru_cache(maxsize=64)
def sampled_windows(height: int, width: int) -> Int[np.ndarray, "M 4"]:
    """Every window whose sides are at multiples of three cells from the map's first corner."""
    step = min(_STEP, height, width)
    x0, y0, x1, y1 = np.meshgrid(
        np.arange(0, width, step),
        np.arange(0, height, step),
        np.arange(step, width + 1, step),
        np.arange(step, height + 1, step),
        indexing="ij",
    )
    windows = np.stack([x0.ravel(), y0.ravel(), x1.ravel(), y1.ravel()], axis=1)
    return windows[(x1 > x0).ravel() & (y1 > y0).ravel()]


def distinct_windows(
    windows: Int[np.ndarray, "M 4"],
) -> tuple[Int[np.ndarray, "m 4"], Int[np.ndarray, " M"]]:
    """The distinct windows, and the index among them of every window."""
    # unique is far faster on numbers than on rows.
    numbers = windows @ (_MAX_CELLS ** np.arange(4))
    _, first, rows = np.unique(numbers, return_index=True, return_inverse=True)
    return windows[first], rows


def window_of_layer(windows: Int[np.ndarray, "M 4"], ratio: float) -> Int[np.ndarray, "M 4"]:
    """The cells of a coarser layer that windows of the finest one touch; `ratio` of the strides."""
    scaled = windows / ratio
    return np.concatenate([np.floor(scaled[:, :2]), np.ceil(scaled[:, 2:])], axis=1).astype(
        np.int64
    )


@dataclass(frozen=True)
class Localiser:
    """Finds queries in the maps of one image."""

    layers: tuple[LayerMaps, ...]

    @classmethod
    def of(cls, features: Sequence[FeatureMaps]) -> Localiser:
        """From the layers of one image."""
        return cls(tuple(LayerMaps(maps) for maps in features))

    @property
    def finest(self) -> LayerMaps:
        """The layer whose cells are the unit of windows."""
        return min(self.layers, key=lambda layer: layer.maps.stride)

    def cut(self, windows: Int[np.ndarray, "M 4"], layer: LayerMaps) -> Int[np.ndarray, "M 4"]:
        """Windows in cells of one of the layers."""
        found = window_of_layer(windows, layer.maps.stride / self.finest.maps.stride)
        found[:, 2:] = found[:, 2:].clip(max=(layer.width, layer.height))
        found[:, :2] = np.minimum(found[:, :2], found[:, 2:] - 1)
        return found

    def vectors(self, windows: Int[np.ndarray, "M 4"]) -> Float[Tensor, "M K"]:
        """MAC of each window: each layer l2, side by side, l2."""
        parts = [layer.highest(self.cut(windows, layer))[0] for layer in self.layers]
        return functional.normalize(torch.cat(parts, dim=1), dim=1)

    def find(
        self, macs: Float[Tensor, "Q K"], ratios: Float[np.ndarray, " Q"]
    ) -> Int[np.ndarray, "Q 4"]:
        """The window most like each query.

        Args:
            macs: MAC of each query, see `vectors`.
            ratios: width / height of each query.
        """
        windows = sampled_windows(self.finest.height, self.finest.width)
        fits = _of_ratio(windows, ratios)
        tried = np.flatnonzero(fits.any(axis=0))
        similarities = self._similarities(macs, windows[tried])
        similarities[~fits[:, tried]] = -np.inf
        best = windows[tried][similarities.argmax(axis=1)]
        return self._refined(macs, best, similarities.max(axis=1))

    def _similarities(
        self, macs: Float[Tensor, "Q K"], windows: Int[np.ndarray, "M 4"]
    ) -> Float[np.ndarray, "Q M"]:
        """Cosines, rounded so that of windows with the same maxima the first is best."""
        cosines = macs @ self.vectors(windows).T
        rounded: Float[np.ndarray, "Q M"] = cosines.cpu().numpy().round(_DIGITS)
        return rounded

    def _refined(
        self,
        macs: Float[Tensor, "Q K"],
        windows: Int[np.ndarray, "Q 4"],
        highest: Float[np.ndarray, " Q"],
    ) -> Int[np.ndarray, "Q 4"]:
        """Coordinate descent: each side in turn moves to where the similarity is highest."""
        moving = np.arange(len(windows))
        for _ in range(ROUNDS):
            before = windows[moving].copy()
            for side in range(4):
                self._move(macs, windows, highest, moving, side)
            moving = moving[(windows[moving] != before).any(axis=1)]
            if not len(moving):
                break
        return windows

    def _move(
        self,
        macs: Float[Tensor, "Q K"],
        windows: Int[np.ndarray, "Q 4"],
        highest: Float[np.ndarray, " Q"],
        moving: Int[np.ndarray, " q"],
        side: int,
    ) -> None:
        """Move one side of some of the windows to where it is best, if that is better."""
        offsets = np.array([m for m in range(-_MOVES, _MOVES + 1) if m])
        moved = np.repeat(windows[moving], len(offsets), axis=0)
        moved[:, side] += np.tile(offsets, len(moving))
        queries = np.repeat(moving, len(offsets))
        inside = (moved[:, :2] >= 0).all(axis=1) & (moved[:, :2] < moved[:, 2:]).all(axis=1)
        inside &= (moved[:, 2:] <= (self.finest.width, self.finest.height)).all(axis=1)
        moved, queries = moved[inside], queries[inside]
        if not len(moved):
            return
        distinct, rows = distinct_windows(moved)
        found = self._similarities(macs[moving], distinct)[np.searchsorted(moving, queries), rows]
        # Ascending: the last of a query's is its best, and of equal ones the first.
        order = len(found) - 1 - np.argsort(found[::-1], kind="stable")
        best = dict(zip(queries[order].tolist(), order.tolist(), strict=True))
        for query, row in best.items():
            if found[row] > highest[query]:
                windows[query], highest[query] = moved[row], found[row]


def _of_ratio(
    windows: Int[np.ndarray, "M 4"], ratios: Float[np.ndarray, " Q"]
) -> np.ndarray[tuple[int, int], np.dtype[np.bool_]]:
    """Whether each window's aspect ratio is close to each query's; the closest always is."""
    sides = windows[:, 2:] - windows[:, :2]
    apart = np.abs(np.log(sides[:, 0] / sides[:, 1]) - np.log(ratios)[:, None])
    most = np.maximum(math.log(_MAX_RATIO), apart.min(axis=1, keepdims=True))
    fits: np.ndarray[tuple[int, int], np.dtype[np.bool_]] = apart <= most + 1e-9
    return fits
