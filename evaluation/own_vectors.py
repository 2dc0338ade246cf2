"""The class vectors of photos, each with its own best classes, made once for all that needs them.

The whitening of one half is fitted to vectors of the photos that are searched in the other, and
settings that come after the class vectors (how many are summed, to how many dimensions, how many
the whitening is fitted to) change none of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.aggregation import aggregate, join_layers, region_class_vectors
from descriptors.cams import top_classes
from descriptors.whitening import Whitening, fit_layer, stack_vectors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from descriptors.arrays import Encoded
    from descriptors.encoder import Encoder
    from descriptors.settings import MethodSettings
    from evaluation.encoding import EncodedPhotos
    from evaluation.trials import Photo, Trial

__all__ = ["OwnVectors", "vectors_needed"]

# Float32 vectors that are kept; of larger collections they are made again each time.
_MOST_BYTES = 2 * 2**30

# Kept vectors that are stacked together: what the network's maps are read by, about.
_TOGETHER = 64


@dataclass(frozen=True)
class _Vectors:
    """Of a batch of photos, or of one.

    Attributes:
        layers: unit or zero rows of each layer.
        weights: of each class, where the settings weigh by probability: its root.
    """

    layers: tuple[Float[Tensor, "*B N _"], ...]
    weights: Float[Tensor, "*B N"]

    def of(self, row: int) -> _Vectors:
        """Of one photo, in memory of its own."""
        return _Vectors(
            tuple(layer[row].clone() for layer in self.layers), self.weights[row].clone()
        )

    def first(self, count: int) -> _Vectors:
        """Of the best few classes."""
        layers = tuple(layer[:, :count] for layer in self.layers)
        return _Vectors(layers, self.weights[:, :count])


class OwnVectors:
    """Class vectors of photos, best class first, before any whitening."""

    def __init__(self, encoded: EncodedPhotos, needed: Mapping[Photo, int]) -> None:
        """Make them, if they are few enough to be kept.

        Args:
            encoded: the maps, and an encoder whose settings weigh the cells.
            needed: how many classes of each photo.
        """
        self._encoded = encoded
        self._kept: dict[Path, _Vectors] | None = None
        channels = sum(_channels(encoded.encoder))
        if 4 * channels * sum(needed.values()) <= _MOST_BYTES:
            self._kept = {}
            for count in sorted(set(needed.values())):
                self._keep([photo for photo, n in needed.items() if n == count], count)

    def fit(self, photos: Sequence[Photo], settings: MethodSettings) -> Whitening:
        """A whitening fitted on the ``n_pca`` best class vectors of each photo.

        Raises:
            RequestError: if there are fewer vectors than dimensions.

        Source:
            docs/method.md section 3.
        """
        vectors: list[list[Tensor]] = [[] for _ in settings.layers]
        for _, here in self._batches(photos, settings.n_pca):
            for kept, layer in zip(vectors, here.layers, strict=True):
                kept.append(layer.flatten(0, 1))
        layers = tuple(
            fit_layer(stack_vectors(of_layer), layer.dims)
            for of_layer, layer in zip(vectors, settings.layers, strict=True)
        )
        weights = self._encoded.encoder.loaded.weights_digest
        fitted_on = f"{len(photos)} photos of an evaluation"
        return Whitening(layers, settings.vector_digest(), weights, fitted_on)

    @torch.inference_mode()
    def describe(
        self, photos: Sequence[Photo], whitening: Whitening, settings: MethodSettings
    ) -> Iterator[tuple[list[Photo], Float[Tensor, "B D"]]]:
        """Descriptors of photos as they are indexed (OfA), some at a time; zero rows stay zero.

        Source:
            docs/method.md section 3; the same as `Method.describe_encoded`.
        """
        dtype = self._encoded.encoder.dtype
        for batch, vectors in self._batches(photos, settings.n_classes):
            weights = vectors.weights if settings.probability_weights else None
            yield (
                batch,
                join_layers(
                    [
                        aggregate(whiten(layer, dtype), weights)
                        for whiten, layer in zip(whitening.layers, vectors.layers, strict=True)
                    ]
                ),
            )

    def _keep(self, photos: Sequence[Photo], count: int) -> None:
        kept = self._kept if self._kept is not None else {}
        for batch, vectors in self._made(photos, count):
            for row, photo in enumerate(batch):
                kept[photo.file] = vectors.of(row)

    def _batches(
        self, photos: Sequence[Photo], count: int
    ) -> Iterator[tuple[list[Photo], _Vectors]]:
        if self._kept is None:
            yield from self._made(photos, count)
            return
        for start in range(0, len(photos), _TOGETHER):
            batch = list(photos[start : start + _TOGETHER])
            found = [self._kept[photo.file] for photo in batch]
            by_layer = zip(*(one.layers for one in found), strict=True)
            layers = tuple(torch.stack(of_layer) for of_layer in by_layer)
            yield batch, _Vectors(layers, torch.stack([one.weights for one in found])).first(count)

    def _made(self, photos: Sequence[Photo], count: int) -> Iterator[tuple[list[Photo], _Vectors]]:
        for batch, maps in self._encoded.batches(photos):
            yield batch, _vectors(self._encoded.encoder, maps, count)


def vectors_needed(trials: Sequence[Trial], settings: Sequence[MethodSettings]) -> dict[Photo, int]:
    """How many class vectors of each photo some trials need with any of some settings."""
    fit = max(one.n_pca for one in settings)
    own = max(one.n_classes for one in settings)
    needed: dict[Photo, int] = {}
    for trial in trials:
        for photos, count in ((trial.fit, fit), (trial.gallery, own)):
            needed |= {photo: max(count, needed.get(photo, 0)) for photo in photos}
    return needed


@torch.inference_mode()
def _vectors(encoder: Encoder, maps: Encoded, count: int) -> _Vectors:
    classes: Int[Tensor, "B N"] = top_classes(maps.scores, count)
    vectors = region_class_vectors(encoder, maps, classes)
    weights = maps.scores.softmax(dim=1).gather(1, classes).sqrt()
    return _Vectors(tuple(layer[:, 0].float() for layer in vectors), weights)


def _channels(encoder: Encoder) -> list[int]:
    layers = encoder.loaded.network.layers
    return [layers[layer.name].channels for layer in encoder.settings.layers]
