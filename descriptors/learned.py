"""Classes learned from images instead of labels: rows of a linear layer over the evidence."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor
from torch.nn import functional

from descriptors.errors import RequestError

if TYPE_CHECKING:
    from descriptors.arrays import Encoded

__all__ = ["DEFAULT_COUNT", "ClassFit", "LearnedClasses"]

# Classes that are learned unless another number is asked for.
DEFAULT_COUNT = 64
# Cells drawn from an image, and images that are clustered: 1,280 channels take 320 MB.
_CELLS, _IMAGES = 60, 2_000
# Axes in which cells are clustered, and what is added to each eigenvalue, as a share of their mean.
_AXES, _FLOOR = 256, 0.1
_MIN_IMAGES = 2


@dataclass(frozen=True)
class LearnedClasses:
    """A linear layer that takes the place of the network's classifier.

    Attributes:
        weight: one row per class, over the channels of the evidence.
        bias: one per class.
        patches: RGB parts of images that show each class, best first; None if not collected.
        names: given by the user, one per class; none for ``learned 0``, ``learned 1``, ...
    """

    weight: Float[Tensor, "C J"]
    bias: Float[Tensor, " C"]
    patches: UInt8[Tensor, "C P h w 3"] | None = None
    names: tuple[str, ...] = ()

    def __len__(self) -> int:
        """The number of classes."""
        return len(self.bias)

    @property
    def shown_names(self) -> tuple[str, ...]:
        """One name per class, for display and in documents."""
        return self.names or tuple(f"learned {number}" for number in range(len(self)))

    def to(self, device: torch.device) -> LearnedClasses:
        """A copy whose layer is on another device."""
        return replace(self, weight=self.weight.to(device), bias=self.bias.to(device))


class ClassFit:
    """Collects cells of the evidence from a stream of images, then clusters them.

    Source:
        docs/method.md section 12.
    """

    def __init__(self, count: int, seed: int = 0, most: int = _IMAGES) -> None:
        """Start empty.

        Args:
            count: number of classes.
            seed: of the sample and of the clustering; the same images in the same order give the
                same classes.
            most: images whose cells are kept, which bounds the memory.
        """
        self._count, self._seed, self._most = count, seed, most
        self._random = np.random.default_rng(seed)
        # Of each kept image some cells, and the mean of all.
        self.kept: list[tuple[Float[Tensor, "cells J"], Float[Tensor, " J"]]] = []
        self.images = 0

    @torch.inference_mode()
    def add(self, encoded: Encoded) -> None:
        """Add a batch of images."""
        values = encoded.evidence.values().flatten(2).transpose(1, 2).cpu()
        for cells in values:
            drawn = torch.from_numpy(self._random.integers(len(cells), size=_CELLS))
            self._keep((cells[drawn].bfloat16(), cells.mean(dim=0)))

    def _keep(self, image: tuple[Float[Tensor, "cells J"], Float[Tensor, " J"]]) -> None:
        """Reservoir sampling: every image of the stream is as likely to be among those kept."""
        self.images += 1
        if len(self.kept) < self._most:
            self.kept.append(image)
        elif (place := int(self._random.integers(self.images))) < self._most:
            self.kept[place] = image

    def fit(self) -> LearnedClasses:
        """The classes of the images that were added.

        Raises:
            RequestError: there are too few images for so many classes.
        """
        if self.images * _CELLS < 2 * self._count or self.images < _MIN_IMAGES:
            raise RequestError(
                f"{self.images} images are too few to learn {self._count} classes: fit on more, "
                "or learn fewer with --learned."
            )
        cells = torch.cat([cells for cells, _ in self.kept]).float()
        pooled = torch.stack([mean for _, mean in self.kept])
        axes, mean = _whitened_axes(cells)
        weight = _centres((cells - mean) @ axes.T, self._count, self._seed) @ axes
        # A class counts by how unusual it is: in deviations of its score over the images.
        weight /= (pooled @ weight.T).std(dim=0).clamp_min(1e-6)[:, None]
        return LearnedClasses(weight, -(weight @ mean))


def _whitened_axes(
    cells: Float[Tensor, "cells J"],
) -> tuple[Float[Tensor, "A J"], Float[Tensor, " J"]]:
    """Principal axes of cells, each divided by its deviation, and the mean of the cells."""
    mean = cells.mean(dim=0)
    centred = cells - mean
    values, vectors = torch.linalg.eigh((centred.T @ centred / len(cells)).double())
    count = min(_AXES, len(values))
    values, vectors = values[-count:].clamp_min(0), vectors[:, -count:]
    scale = (values + _FLOOR * values.mean()).clamp_min(1e-12).rsqrt()
    return (vectors * scale).T.float(), mean


def _centres(points: Float[Tensor, "cells A"], count: int, seed: int) -> Float[Tensor, "C A"]:
    """Spherical k-means: the unit mean of each cluster of directions."""
    from sklearn.cluster import MiniBatchKMeans

    unit = functional.normalize(points, dim=1).numpy()
    found = MiniBatchKMeans(count, batch_size=4096, n_init=3, random_state=seed).fit(unit)
    return functional.normalize(torch.from_numpy(found.cluster_centers_).float(), dim=1)
