"""One layer's maps in the forms that the compared systems pool from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from descriptors.arrays import FeatureMaps, Region
from evaluation.compared.maxima import RegionMaxima

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Pool = Callable[["LayerMaps"], Float[Tensor, "B V K"]]

__all__ = ["LayerMaps"]


@dataclass(frozen=True)
class LayerMaps:
    """The maps of one layer for some photos of one shape; each form is made once for all systems.

    Attributes:
        maps: as they are kept.
    """

    maps: FeatureMaps

    @property
    def height(self) -> int:
        """Rows of cells."""
        return self.maps.levels.shape[2]

    @property
    def width(self) -> int:
        """Columns of cells."""
        return self.maps.levels.shape[3]

    @property
    def scale(self) -> Float[Tensor, "B K"]:
        """What one level is worth."""
        return self.maps.scale

    @cached_property
    def cells(self) -> Float[Tensor, "B K P"]:
        """Levels as numbers, one row of cells after the other."""
        return self.maps.levels.flatten(2).float()

    @cached_property
    def maxima(self) -> RegionMaxima:
        """Of any rectangle."""
        return RegionMaxima(self.maps.levels)

    def highest(self, regions: Sequence[Region] | Int[np.ndarray, "M 4"]) -> Float[Tensor, "B M K"]:
        """The maximum of each channel in each region, l2-normalised a region."""
        levels = self.maxima.of(np.asarray(regions, dtype=np.int64).reshape(-1, 4))
        return functional.normalize(levels.float() * self.scale[:, None], dim=2)
