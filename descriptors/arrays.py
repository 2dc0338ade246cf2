"""Data types of the method, and the letters of its axes.

Axes: ``h w`` pixels · ``H W`` cells · ``K`` feature channels · ``J`` evidence
channels · ``C`` classes of the network · ``N`` classes in use · ``D``
dimensions · ``M`` regions · ``B`` images of a batch.

Convention:
    A `Box` is in pixels of the upright image at full size, a `Region` in cells of a feature
    map. Both are half-open; `region_of_box` and `box_of_region` convert between them.
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
            raise RequestError(f"The box {self.as_list()} has a coordinate that is not finite.")
        if self.x1 <= self.x0 or self.y1 <= self.y0:
            raise RequestError(
                f"The box {self.as_list()} is empty: give x0,y0,x1,y1 with x0 < x1 and y0 < y1."
            )

    def as_list(self) -> list[float]:
        """``[x0, y0, x1, y1]``."""
        return [self.x0, self.y0, self.x1, self.y1]

    def inside(self, size: Size) -> Box:
        """The part of the box within an image of this size.

        Raises:
            RequestError: the box lies outside the image.
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
    """The shape of a feature map, and its stride in pixels of the working size."""

    stride: int
    height: int
    width: int


class Grid(NamedTuple):
    """The cells of a feature map over an image.

    Attributes:
        width, height: of the map, in whole cells.
        across, down: exact number of cells that the image spans: working side / stride.
    """

    width: int
    height: int
    across: float
    down: float


def region_of_box(box: Box, image: Size, grid: Grid) -> Region:
    """The cells of a feature map that a box covers, at least one.

    Args:
        box: in pixels of the upright image.
        image: size of the upright image in pixels.
        grid: of the feature map.

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
        scale: value of one level, per image and channel.
        stride: pixels of the working size per cell.
        averaged_from: the cells before `averaged`, if it was applied.

    Convention:
        Fresh maps have scale 1. Kept maps are 8 bit; `Encoder.ready` converts their levels to
        floating point where the machine does not sum bytes faster. Every step that sums over
        cells multiplies by the scale after the sum, so that both kinds share one path.
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
        """The activations in float32."""
        return self.levels.float() * self.scale[:, :, None, None]

    def cut(self, region: Region) -> FeatureMaps:
        """The maps cut to one region."""
        levels = self.levels[:, :, region.y0 : region.y1, region.x0 : region.x1]
        return replace(self, levels=levels, averaged_from=None)

    def averaged(self, stride: int) -> FeatureMaps:
        """The maps averaged down to a grid of this stride.

        Args:
            stride: a multiple of the maps' own; maps at least as coarse are returned unchanged.
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
    """The result of a forward pass for a batch of images of one shape.

    Attributes:
        features: the maps of each layer, in the order of the settings.
        evidence: the last maps before global average pooling.
        scores: one per class.
        working: working size of the images, in pixels.
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
        """Change all maps; evidence that is a feature layer stays the same object."""
        distinct = {id(maps): maps for maps in (*self.features, self.evidence)}
        changed = {key: change(maps) for key, maps in distinct.items()}
        features = tuple(changed[id(maps)] for maps in self.features)
        return replace(self, features=features, evidence=changed[id(self.evidence)])

    def floating(self, dtype: torch.dtype) -> Encoded:
        """A copy with 8-bit levels converted to this floating point type."""
        if self.evidence.levels.is_floating_point():
            return self
        return self._each(lambda maps: replace(maps, levels=maps.levels.to(dtype)))

    def averaged(self) -> Encoded:
        """A copy with maps that are finer than the evidence averaged down to its grid."""
        return self._each(lambda maps: maps.averaged(self.evidence.stride))

    def grid(self, cells: Cells) -> Grid:
        """The grid of a layer over the images of this batch."""
        across, down = (side / cells.stride for side in self.working)
        return Grid(cells.width, cells.height, across, down)

    @property
    def finest(self) -> Cells:
        """The cells of the layer with the smallest stride, before averaging.

        Convention:
            Regions are proposed on this grid even if the maps are averaged, so boxes stay exact.
        """
        return min(maps.averaged_from or maps.cells for maps in self.features)


@dataclass(frozen=True)
class Described:
    """Descriptors of a batch of images, with the classes they were made of.

    Attributes:
        descriptors: unit rows; zero for an image without activation.
        classes: the best classes of each image, best first.
        probabilities: softmax probability of each of these classes.
        encoded: the maps.
        windows: unit or zero rows, the whole image first; None if the settings have no windows.
    """

    descriptors: Float[Tensor, "B D"]
    classes: Int[Tensor, "B N"]
    probabilities: Float[Tensor, "B N"]
    encoded: Encoded
    windows: Float[Tensor, "B M D"] | None = None


@dataclass(frozen=True)
class QueryDescription:
    """A query image, ready for both searches.

    Attributes:
        descriptor: for the first search.
        region_descriptor: made with the classes of the re-ranking.
        classes: best first; the re-ranking uses the first ones.
        image: size of the upright image.
        box: of the request, or None.
        examples: number of images that `descriptor` is made of; the rest is of the first one.
    """

    descriptor: Float[Tensor, " D"]
    region_descriptor: Float[Tensor, " D"]
    classes: Int[Tensor, " N"]
    image: Size
    box: Box | None
    examples: int = 1
