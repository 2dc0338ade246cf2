"""OnA: the query's own classes on every picture of the gallery.

The whitened class vectors of every photo, for every class that any query asks for, are made
once; a query's descriptors of the whole gallery are then sums of a few of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor

from descriptors.aggregation import aggregate, join_layers
from descriptors.method import region_class_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from descriptors.arrays import Encoded
    from descriptors.method import Method
    from evaluation.encoding import EncodedPhotos
    from evaluation.photos import Photo

__all__ = ["OnlineVectors", "online_vectors"]

# Classes whose vectors are made together: a batch of them fits the processor's cache.
_CLASSES_AT_A_TIME = 64


@dataclass(frozen=True)
class OnlineVectors:
    """Whitened class vectors of photos.

    Attributes:
        columns: of each class, by its number.
        layers: of each layer, unit or zero rows.
        weights: of each class in each photo, where the settings weigh by probability.
    """

    columns: Mapping[int, int]
    layers: tuple[Float16[Tensor, "P U _"], ...]
    weights: Float[Tensor, "P U"] | None

    def describe(self, classes: Int[Tensor, " N"]) -> Float[Tensor, "P D"]:
        """Descriptors of all photos with the classes of one query.

        Source:
            METHOD section 3, OnA.
        """
        columns = torch.tensor([self.columns[c] for c in classes.tolist()])
        weights = None if self.weights is None else self.weights[:, columns]
        return join_layers([aggregate(v[:, columns].float(), weights) for v in self.layers])


def online_vectors(
    method: Method,
    encoded: EncodedPhotos,
    photos: Sequence[Photo],
    classes: Int[Tensor, " U"],
) -> OnlineVectors:
    """The whitened class vectors of photos, in their order.

    Args:
        method: whose whitening applies.
        encoded: the maps.
        photos: of the gallery.
        classes: each once, of all queries.
    """
    rows = {photo.file: row for row, photo in enumerate(photos)}
    shape = (len(photos), len(classes))
    layers = tuple(
        torch.zeros(*shape, layer.dims, dtype=torch.float16) for layer in method.settings.layers
    )
    weights = torch.zeros(shape) if method.settings.probability_weights else None
    for batch, (scores, vectors) in encoded.each(photos, partial(_whitened, method, classes)):
        here = torch.tensor([rows[photo.file] for photo in batch])
        if weights is not None:
            weights[here] = scores.softmax(dim=1)[:, classes].sqrt()
        for layer, of_layer in zip(layers, vectors, strict=True):
            layer[here] = of_layer
    return OnlineVectors({c: i for i, c in enumerate(classes.tolist())}, layers, weights)


@torch.inference_mode()
def _whitened(
    method: Method, classes: Int[Tensor, " U"], maps: Encoded
) -> tuple[Float[Tensor, "B C"], list[Float16[Tensor, "B U _"]]]:
    """Scores and whitened class vectors of a batch of photos, layer by layer."""
    found: list[list[Tensor]] = [[] for _ in maps.features]
    for part in classes.split(_CLASSES_AT_A_TIME):
        here = part.to(method.encoder.device).expand(len(maps), -1)
        vectors = region_class_vectors(method.encoder, maps, here)
        for parts, whiten, layer in zip(found, method.whitening.layers, vectors, strict=True):
            parts.append(whiten(layer[:, 0], method.encoder.dtype).half().cpu())
    return maps.scores.cpu(), [torch.cat(parts, dim=1) for parts in found]
