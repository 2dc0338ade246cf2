"""Fitting the whitening of a method on pictures of one's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from descriptors.cams import top_classes
from descriptors.errors import RequestError
from descriptors.region_vectors import region_class_vectors
from descriptors.whitening import Whitening, fit_layer, stack_vectors

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor

    from descriptors.arrays import Encoded
    from descriptors.encoder import Encoder

__all__ = ["WhiteningFit"]


class WhiteningFit:
    """Collects class vectors picture by picture, then fits the whitening.

    Source:
        docs/method.md section 3: the N_pca best class vectors of each picture of another
        collection.
    """

    def __init__(self, encoder: Encoder) -> None:
        """Start with no picture."""
        self._encoder = encoder
        self._vectors: list[list[Float[Tensor, "V K"]]] = [[] for _ in encoder.settings.layers]
        self.pictures = 0

    @torch.inference_mode()
    def add(self, encoded: Encoded) -> None:
        """Take in the maps of a batch of pictures."""
        classes = top_classes(encoded.scores, self._encoder.settings.n_pca)
        vectors = region_class_vectors(self._encoder, encoded, classes)
        for kept, layer in zip(self._vectors, vectors, strict=True):
            kept.append(layer[:, 0].flatten(0, 1).float().cpu())
        self.pictures += len(encoded)

    def fit(self, fitted_on: str) -> Whitening:
        """The whitening of what was added.

        Args:
            fitted_on: a sentence for people, such as "812 pictures of /photos".

        Raises:
            RequestError: if there were too few pictures for the dimensions wanted.
        """
        if not self.pictures:
            raise RequestError("No picture could be read to fit the whitening on: name others.")
        settings = self._encoder.settings
        layers = tuple(
            fit_layer(stack_vectors(vectors), layer.dims)
            for vectors, layer in zip(self._vectors, settings.layers, strict=True)
        )
        return Whitening(
            layers, settings.vector_digest(), self._encoder.loaded.weights_digest, fitted_on
        )
