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
from descriptors.windows import pooled_windows, window_boxes

if TYPE_CHECKING:
    from descriptors.arrays import Encoded

__all__ = ["DEFAULT_COUNT", "ClassFit", "LearnedClasses"]

# Classes that are learned unless another number is asked for.
DEFAULT_COUNT = 64
# Windows of each image that are clustered, and images that are kept: 1,280 channels take 72 MB, and
# ten times as much while they are clustered.
_WINDOWS, _IMAGES = 14, 2_000
# Added to each eigenvalue, as a share of their mean, and rounds of k-means.
_FLOOR, _ROUNDS = 0.1, 40


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
    """Collects the evidence of windows from a stream of images, then clusters it.

    Source:
        docs/method.md section 12.
    """

    def __init__(self, count: int, seed: int = 0, most: int = _IMAGES) -> None:
        """Start empty.

        Args:
            count: number of classes.
            seed: of the sample and of the clustering; the same images in the same order give the
                same classes.
            most: images that are kept, which bounds the memory.
        """
        self._count, self._seed, self._most = count, seed, most
        self._random = np.random.default_rng(seed)
        # Of each image the mean evidence of its windows, the whole image first.
        self.kept: list[Float[Tensor, "M J"]] = []
        self.images = 0

    @torch.inference_mode()
    def add(self, encoded: Encoded) -> None:
        """Add a batch of images."""
        boxes = window_boxes(_WINDOWS, encoded.working)
        # Half the memory; the exponent of float32, for networks with large values.
        for image in pooled_windows(boxes, encoded).bfloat16().cpu():
            self._keep(image)

    def _keep(self, image: Float[Tensor, "M J"]) -> None:
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
        if self.images < max(2, 2 * self._count / _WINDOWS):
            raise RequestError(
                f"{self.images} images are too few to learn {self._count} classes: fit on more, "
                "or learn fewer with --learned."
            )
        images = torch.stack(self.kept).float()
        windows = images.flatten(0, 1)
        axes, mean = _whitened_axes(windows)
        weight = _centres((windows - mean) @ axes.T, self._count, self._seed) @ axes
        # A class counts by how unusual it is: in deviations of its score over the images.
        weight /= (images[:, 0] @ weight.T).std(dim=0).clamp_min(1e-6)[:, None]
        return LearnedClasses(weight, -(weight @ mean))


def _whitened_axes(
    windows: Float[Tensor, "windows J"],
) -> tuple[Float[Tensor, "A J"], Float[Tensor, " J"]]:
    """Principal axes of windows, each divided by its deviation, and the windows' mean."""
    mean = windows.mean(dim=0)
    centred = windows - mean
    values, vectors = torch.linalg.eigh((centred.T @ centred / len(windows)).double())
    scale = (values.clamp_min(0) + _FLOOR * values.mean()).clamp_min(1e-12).rsqrt()
    return (vectors * scale).T.float(), mean


def _centres(points: Float[Tensor, "windows A"], count: int, seed: int) -> Float[Tensor, "C A"]:
    """Spherical k-means: the unit mean of each cluster of directions."""
    from sklearn.cluster import KMeans

    unit = functional.normalize(points, dim=1).numpy()
    found = KMeans(count, max_iter=_ROUNDS, random_state=seed).fit(unit)
    return functional.normalize(torch.from_numpy(found.cluster_centers_).float(), dim=1)
