"""The weights of cells of a map that was really cut: what the product does by windows."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.aggregation import class_vectors, weighted_sums
from descriptors.arrays import FeatureMaps


def centring_prior(height: int, width: int) -> Float[Tensor, "H W"]:
    """A Gaussian at the centre, sigma = min(H, W) / 3."""
    y = torch.arange(height) - (height - 1) / 2
    x = torch.arange(width) - (width - 1) / 2
    sigma = min(height, width) / 3
    return torch.exp(-(y[:, None] ** 2 + x[None, :] ** 2) / (2 * sigma**2))


def cell_weights(
    maps: Float[Tensor, "B N H W"], floor: float, *, centring: bool
) -> Float[Tensor, "B N H W"]:
    """What each cell counts for each class: ``(CAM + floor) x centring prior``.

    With floor 0 and no prior (preset ``paper``) these are the CAMs themselves.

    Convention:
        The prior's centre is that of the maps given: of a cut, after the cut.

    Source:
        docs/method.md section 10.
    """
    weights = maps + floor if floor else maps
    if centring:
        weights = weights * centring_prior(maps.shape[2], maps.shape[3])
    return weights


def class_vectors_of(
    maps: FeatureMaps, cells: Tensor, channels: Tensor, power: float = 1.0
) -> Tensor:
    """Class vectors of maps, which the method makes in two steps."""
    return class_vectors(weighted_sums(maps, cells), channels * maps.scale[:, None], power)
