"""OnA: the query's own classes on every image of the gallery.

The whitened class vectors of every photo, for every class that any query asks for, are made
once; a query's descriptors of the whole gallery are then sums of a few of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Float16, Int
from torch import Tensor

from descriptors.aggregation import aggregate, join_layers, region_class_vectors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from descriptors.arrays import Encoded
    from descriptors.method import Method
    from evaluation.encoding import EncodedPhotos
    from evaluation.trials import Photo

__all__ = ["OnlineVectors", "online_vectors"]

# Classes whose vectors are made together: their sums take some MB, and what a batch of maps costs
# by itself (its bytes turned, its active cells counted) is paid once for all of them.
_CLASSES_AT_A_TIME = 256


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
            docs/method.md section 3, OnA.
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
    for batch, maps in encoded.batches(photos):
        here = torch.tensor([rows[photo.file] for photo in batch])
        if weights is not None:
            weights[here] = maps.scores.softmax(dim=1)[:, classes].sqrt().cpu()
        for start in range(0, len(classes), _CLASSES_AT_A_TIME):
            part = slice(start, start + _CLASSES_AT_A_TIME)
            for layer, vectors in zip(layers, _whitened(method, maps, classes[part]), strict=True):
                layer[here, part] = vectors.half().cpu()
    return OnlineVectors({c: i for i, c in enumerate(classes.tolist())}, layers, weights)


@torch.inference_mode()
def _whitened(
    method: Method, maps: Encoded, classes: Int[Tensor, " N"]
) -> list[Float[Tensor, "B N D"]]:
    vectors = region_class_vectors(method.encoder, maps, classes.expand(len(maps), -1))
    return [
        whiten(of_layer[:, 0], method.encoder.dtype)
        for whiten, of_layer in zip(method.whitening.layers, vectors, strict=True)
    ]
