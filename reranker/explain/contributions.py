"""How much each layer and channel contributes to a cosine."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jaxtyping import Float, Int
from pydantic import BaseModel
from torch import Tensor

from descriptors.aggregation import region_class_vectors
from descriptors.arrays import Encoded

if TYPE_CHECKING:
    from descriptors.method import Method

__all__ = [
    "NamedLayer",
    "class_vectors_of",
    "layer_parts",
]

# Channels reported per layer, largest contributions first.
_NAMED = 5


class NamedChannel(BaseModel):
    """A channel's term in the product of the class vectors, before whitening, and its share."""

    channel: int
    product: float
    share: float


class NamedLayer(BaseModel):
    """A layer's exact part of the cosine, and the channels with the largest products."""

    name: str
    cosine: float
    channels: list[NamedChannel]


def layer_parts(
    method: Method,
    descriptors: tuple[Float[Tensor, " D"], Float[Tensor, " D"]],
    vectors: tuple[tuple[Float[Tensor, "N _"], Float[Tensor, "N _"]], ...],
) -> list[NamedLayer]:
    """Contributions of the layers, in the order of the settings.

    Args:
        method: made both descriptors.
        descriptors: of the query and of the hit's region.
        vectors: class vectors of the query and of that region per layer, of the same classes.

    Convention:
        A layer's cosine is its exact part of the product of the whitened descriptors. Whitening
        mixes channels, so a channel's product is taken before it: that channel's terms in the
        products of unit class vectors of query and hit, summed over the classes.
    """
    dims = [layer.projection.shape[0] for layer in method.whitening.layers]
    query, hit = (descriptor.split(dims) for descriptor in descriptors)
    return [
        NamedLayer(name=settings.name, cosine=float(ours @ theirs), channels=_channels(*classes))
        for settings, ours, theirs, classes in zip(
            method.settings.layers, query, hit, vectors, strict=True
        )
    ]


def _channels(query: Float[Tensor, "N _"], hit: Float[Tensor, "N _"]) -> list[NamedChannel]:
    products = (query * hit).sum(dim=0)
    whole = float(products.sum())
    best = products.topk(min(_NAMED, len(products)))
    return [
        NamedChannel(channel=channel, product=product, share=product / whole)
        for channel, product in zip(best.indices.tolist(), best.values.tolist(), strict=True)
        if product > 0
    ]


def class_vectors_of(
    method: Method,
    encoded: Encoded,
    classes: Int[Tensor, " N"],
    windows: tuple[Int[Tensor, "1 1 4"], ...] | None,
) -> tuple[Float[Tensor, "N _"], ...]:
    """Class vectors of one window of one image, per layer, not whitened."""
    vectors = region_class_vectors(method.encoder, encoded, classes[None], windows)
    return tuple(layer[0, 0] for layer in vectors)
