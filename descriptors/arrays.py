"""The data that travels through the method, and one alphabet of axes.

Axes: ``h w`` pixels · ``H W`` cells · ``K`` feature channels · ``J`` evidence
channels · ``C`` classes of the network · ``N`` classes in play · ``D``
dimensions · ``M`` regions · ``B`` images of a batch.

Convention:
    A `Box` counts pixels of the upright image at its full size, a `Region` cells of a feature
    map; both are half-open, `region_of_box` and `box_of_region` lead from one to the other.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor
from torch.nn import functional

from descriptors.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "Box",
    "Cells",
    "Described",
    "Encoded",
    "FeatureMaps",
    "Grid",
    "QueryDescription",
    "Region",
]
__all__ += ["Size", "box_of_region", "region_of_box"]


class Size(NamedTuple):
    """In pixels of an image or cells of a map."""

    width: int
    height: int


@dataclass(frozen=True)
class Box:
    """A rectangle in pixels of the upright image: ``x0 <= x < x1``, ``y0 <= y < y1``."""

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        if not all(math.isfinite(v) for v in self.as_list()):
            raise RequestError(f"The box {self.as_list()} has a coordinate that is no number.")
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise RequestError(
                f"The box {self.as_list()} is empty: give x0,y0,x1,y1 with x0 < x1 and y0 < y1."
            )

    def as_list(self) -> list[float]:
        """``[x0, y0, x1, y1]``."""
        return [self.x0, self.y0, self.x1, self.y1]

    def inside(self, size: Size) -> Box:
        """The part of the box that lies in an image of this size.

        Raises:
            RequestError: if no part of it does.
        """
        if self.x0 >= size.width or self.y0 >= size.height or self.x1 <= 0 or self.y1 <= 0:
            raise RequestError(
                f"The box {self.as_list()} lies outside the image, which is "
                f"{size.width} x {size.height} pixels (upright)."
            )
        return Box(
            max(self.x0, 0), max(self.y0, 0), min(self.x1, size.width), min(self.y1, size.height)
        )


class Region(NamedTuple):
    """A rectangle in cells of a feature map: ``x0 <= x < x1``, ``y0 <= y < y1``; never empty."""

    x0: int
    y0: int
    x1: int
    y1: int


class Cells(NamedTuple):
    """The cells of a feature map, and the pixels of the working size from one to the next."""

    stride: int
    height: int
    width: int


class Grid(NamedTuple):
    """The cells of a feature map over an image.

    Attributes:
        width, height: whole cells of the map.
        across, down: cells that the image really spans: working side / stride.
    """

    width: int
    height: int
    across: float
    down: float


def region_of_box(box: Box, image: Size, grid: Grid) -> Region:
    """The cells of a feature map that a box of the image covers.

    Args:
        box: pixels of the upright image.
        image: size of the upright image in pixels.
        grid: cells of the feature map.

    Returns:
        The region, at least one cell, no edge of it a whole cell away from the box's.

    Convention:
        Both ends are rounded down, as the published code does (pixel // stride).

    Source:
        paper section 4.2; docs/method.md section 4.
    """
    x0 = min(max(math.floor(box.x0 * grid.across / image.width), 0), grid.width - 1)
    y0 = min(max(math.floor(box.y0 * grid.down / image.height), 0), grid.height - 1)
    x1 = min(max(math.floor(box.x1 * grid.across / image.width), x0 + 1), grid.width)
    y1 = min(max(math.floor(box.y1 * grid.down / image.height), y0 + 1), grid.height)
    return Region(x0, y0, x1, y1)


def box_of_region(region: Region, image: Size, grid: Grid) -> Box:
    """The pixels of the upright image that a region of a feature map covers."""
    across, down = image.width / grid.across, image.height / grid.down
    return Box(
        region.x0 * across,
        region.y0 * down,
        min(region.x1 * across, image.width),
        min(region.y1 * down, image.height),
    )


@dataclass(frozen=True)
class FeatureMaps:
    """Maps of one layer for a batch of images of one shape: value = level x scale.

    Attributes:
        levels: non-negative activations, or their 8-bit levels.
        scale: what one level is worth, a number an image and channel.
        stride: pixels of the working size from one cell to the next.
        averaged_from: the cells that these were averaged from, where they were; see `averaged`.

    Convention:
        Fresh maps have scale 1. Kept maps are 8 bit and are summed as such where the machine
        is good at it, or become floating point, still as levels, before the first sum
        (`Encoder.ready`); every step that sums over cells multiplies by the scale after the sum,
        so all go by the same lines.
    """

    levels: Float[Tensor, "B K H W"] | UInt8[Tensor, "B K H W"]
    scale: Float[Tensor, "B K"]
    stride: int
    averaged_from: Cells | None = None

    @property
    def cells(self) -> Cells:
        """The cells of the levels."""
        return Cells(self.stride, *self.levels.shape[2:])

    @property
    def whole_numbers(self) -> bool:
        """Whether the levels are bytes."""
        return self.levels.dtype == torch.uint8

    def values(self) -> Float[Tensor, "B K H W"]:
        """The activations themselves, float32."""
        return self.levels.float() * self.scale[:, :, None, None]

    def cut(self, region: Region) -> FeatureMaps:
        """The cells of one region (of every image of the batch)."""
        levels = self.levels[:, :, region.y0 : region.y1, region.x0 : region.x1]
        return replace(self, levels=levels, averaged_from=None)

    def averaged(self, stride: int) -> FeatureMaps:
        """The same on a grid as coarse as this stride, each cell the mean of those it covers.

        Args:
            stride: a multiple of the maps' own; maps that are as coarse already stay as they are.
        """
        factor = stride // self.stride
        if factor <= 1:
            return self
        fine, pool = self.levels.float(), functional.avg_pool2d
        levels = pool(fine, factor, ceil_mode=True, count_include_pad=False)
        return FeatureMaps(
            levels, self.scale, self.stride * factor, self.averaged_from or self.cells
        )

    def __getitem__(self, rows: slice) -> FeatureMaps:
        return replace(self, levels=self.levels[rows], scale=self.scale[rows])


@dataclass(frozen=True)
class Encoded:
    """What one forward pass gives for a batch of images of one shape.

    Attributes:
        features: the maps of each layer in use, in the order of the settings.
        evidence: the last maps before global average pooling.
        scores: one number a class; their order is the order of the classes.
        working: size of the images as the network saw them, in pixels.
    """

    features: tuple[FeatureMaps, ...]
    evidence: FeatureMaps
    scores: Float[Tensor, "B C"]
    working: Size

    def __len__(self) -> int:
        return len(self.scores)

    def __getitem__(self, rows: slice) -> Encoded:
        return replace(self._each(lambda maps: maps[rows]), scores=self.scores[rows])

    def _each(self, change: Callable[[FeatureMaps], FeatureMaps]) -> Encoded:
        """All maps changed; evidence that is a feature layer stays one and the same object."""
        distinct = {id(maps): maps for maps in (*self.features, self.evidence)}
        changed = {key: change(maps) for key, maps in distinct.items()}
        features = tuple(changed[id(maps)] for maps in self.features)
        return replace(self, features=features, evidence=changed[id(self.evidence)])

    def floating(self, dtype: torch.dtype) -> Encoded:
        """The same with levels of 8 bit turned into floating point of this type."""
        return (
            self
            if self.evidence.levels.is_floating_point()
            else self._each(lambda maps: replace(maps, levels=maps.levels.to(dtype)))
        )

    def averaged(self) -> Encoded:
        """The same with maps that are finer than the evidence averaged down to its grid."""
        return self._each(lambda maps: maps.averaged(self.evidence.stride))

    def grid(self, cells: Cells) -> Grid:
        """The cells of one of the layers over the images of this batch."""
        across, down = (side / cells.stride for side in self.working)
        return Grid(cells.width, cells.height, across, down)

    @property
    def finest(self) -> Cells:
        """Those of the layer with the smallest stride, as the network made it.

        Convention:
            Regions are proposed on this grid also where the maps are averaged, so boxes stay exact.
        """
        return min(maps.averaged_from or maps.cells for maps in self.features)


@dataclass(frozen=True)
class Described:
    """Descriptors of a batch of images, with the classes they were made of.

    Attributes:
        descriptors: unit rows; an all-zero row where an image had no activation.
        classes: the best classes of each image, best first.
        probabilities: softmax probability of each of these classes.
        encoded: the maps they were made from.
    """

    descriptors: Float[Tensor, "B D"]
    classes: Int[Tensor, "B N"]
    probabilities: Float[Tensor, "B N"]
    encoded: Encoded


@dataclass(frozen=True)
class QueryDescription:
    """A query image, with or without a box, ready for both searches.

    Attributes:
        descriptor: for the first search.
        region_descriptor: made with the classes of the re-ranking.
        classes: the query's best classes, best first; the re-ranking uses the first ones.
        image: size of the upright image.
        box: the box that was asked for, or None.
    """

    descriptor: Float[Tensor, " D"]
    region_descriptor: Float[Tensor, " D"]
    classes: Int[Tensor, " N"]
    image: Size
    box: Box | None
