"""What of a cosine comes from which layer and which channel."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from pydantic import BaseModel
from torch import Tensor

from descriptors.aggregation import region_class_vectors
from descriptors.arrays import Box, Encoded, Region, Size, region_of_box
from descriptors.regions import on_coarser_grid

if TYPE_CHECKING:
    from descriptors.method import Method

__all__ = [
    "NamedChannel",
    "NamedLayer",
    "box_windows",
    "class_vectors_of",
    "layer_parts",
    "region_windows_of",
]

# Channels named a layer: those that matter most.
_NAMED = 5


class NamedChannel(BaseModel):
    """A channel's summand of the product of the class vectors, before whitening, and its share."""

    channel: int
    product: float
    share: float


class NamedLayer(BaseModel):
    """A layer's part of the cosine, exact, and the channels with the largest products."""

    name: str
    cosine: float
    channels: list[NamedChannel]


def layer_parts(
    method: Method,
    descriptors: tuple[Float[Tensor, " D"], Float[Tensor, " D"]],
    vectors: tuple[tuple[Float[Tensor, "N _"], Float[Tensor, "N _"]], ...],
) -> list[NamedLayer]:
    """The layers of the method, in the order of its settings.

    Args:
        method: that made both.
        descriptors: of the query and of the hit's region.
        vectors: a layer's class vectors of the query and of that region, of the same classes.

    Convention:
        The cosine's part is that of the whitened descriptors, and exact. Whitening mixes the
        channels, so a channel's part is told before it: of the sum over the classes of the
        products of unit class vectors, query times hit, the summands of that channel.
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


def box_windows(
    encoded: Encoded, size: Size, box: Box | None
) -> tuple[Int[Tensor, "1 1 4"], ...] | None:
    """A box on the grid of every layer, as `Method.describe_query` cuts it; None for no box."""
    if box is None:
        return None
    inside = box.inside(size)
    return tuple(
        _window(region_of_box(inside, size, encoded.grid(maps.cells))) for maps in encoded.features
    )


def region_windows_of(encoded: Encoded, region: Region) -> tuple[Int[Tensor, "1 1 4"], ...]:
    """A region of the finest grid on the grid of every layer, as `Method.match_regions` has it."""
    finest = encoded.finest
    return tuple(
        on_coarser_grid(_window(region), maps.stride // finest.stride, *maps.levels.shape[2:])
        for maps in encoded.features
    )


def _window(region: Region) -> Int[Tensor, "1 1 4"]:
    return torch.tensor([[list(region)]])


def class_vectors_of(
    method: Method,
    encoded: Encoded,
    classes: Int[Tensor, " N"],
    windows: tuple[Int[Tensor, "1 1 4"], ...] | None,
) -> tuple[Float[Tensor, "N _"], ...]:
    """A layer's class vectors of one window of one image, not whitened."""
    if windows is not None:
        windows = tuple(window.to(method.encoder.device) for window in windows)
    vectors = region_class_vectors(method.encoder, encoded, classes[None], windows)
    return tuple(layer[0, 0] for layer in vectors)
