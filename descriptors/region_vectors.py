"""Class vectors of regions: what the whitening is fitted to, and descriptors are made of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from descriptors.aggregation import class_vectors, region_sums, region_windows
from descriptors.arrays import Encoded
from descriptors.cams import activation_maps, resize_maps
from descriptors.crow import channel_weights

if TYPE_CHECKING:
    from descriptors.encoder import Encoder

__all__ = ["region_class_vectors"]


def region_class_vectors(
    encoder: Encoder,
    encoded: Encoded,
    classes: Int[Tensor, "B N"],
    regions: tuple[Int[Tensor, "B M 4"], ...] | None = None,
    maps: Float[Tensor, "B N H W"] | None = None,
    kept: Int[Tensor, " V"] | None = None,
) -> tuple[Float[Tensor, "_ _ N _"], ...]:
    """Class vectors of regions, layer by layer; not yet whitened.

    Args:
        encoder: whose settings and classifier apply.
        encoded: the maps.
        classes: for each picture.
        regions: cells of each layer; None for one region that is the whole picture.
        maps: the CAMs of these classes, where they are at hand.
        kept: which of the B * M regions are wanted, counted through; None for all.

    Returns:
        A tensor a layer: ``B M N K``, or ``1 V N K`` of those kept.

    Source:
        docs/method.md sections 1, 2, 4 and 10.
    """
    settings = encoder.settings
    encoded = encoder.ready(encoded)
    if maps is None:
        maps = activation_maps(encoded.evidence, encoder.weight, classes)
    vectors = []
    for i, features in enumerate(encoded.features):
        height, width = features.levels.shape[2:]
        here = regions[i] if regions else _whole(len(encoded), height, width, maps.device)
        windows = region_windows(here, height, width, centring=settings.centring_prior)
        weights = resize_maps(maps, height, width) + settings.weight_floor
        cells = weights[:, None] * windows[:, :, None]
        sums, share = region_sums(features, cells, windows > 0 if regions else None)
        channels = channel_weights(share) * features.scale[:, None, :]
        vectors.append(class_vectors(sums, channels, settings.power, kept))
    return tuple(vectors)


def _whole(count: int, height: int, width: int, device: torch.device) -> Int[Tensor, "B 1 4"]:
    return torch.tensor([0, 0, width, height], device=device).expand(count, 1, 4)
