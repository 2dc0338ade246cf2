"""From maps to one descriptor: class vectors of regions, their sum, layers concatenated."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from descriptors import integer_sums
from descriptors.arrays import Encoded, FeatureMaps
from descriptors.cams import activation_maps, resize_maps

if TYPE_CHECKING:
    from collections.abc import Sequence

    from descriptors.encoder import Encoder

__all__ = [
    "active_share",
    "aggregate",
    "channel_weights",
    "class_vectors",
    "join_layers",
    "region_class_vectors",
    "region_sums",
    "region_windows",
    "weighted_sums",
]

# exp(-40) squared does not underflow in float32 or bfloat16.
_MAX_EXPONENT = 40.0


def region_class_vectors(
    encoder: Encoder,
    encoded: Encoded,
    classes: Int[Tensor, "B N"] | Int[Tensor, "B M N"],
    regions: tuple[Int[Tensor, "B M 4"], ...] | None = None,
    maps: Float[Tensor, "B N H W"] | None = None,
    kept: Int[Tensor, " V"] | None = None,
) -> tuple[Float[Tensor, "_ _ N _"], ...]:
    """Class vectors of regions, one tensor per layer, before whitening.

    Args:
        encoder: provides settings and classifier.
        encoded: feature maps.
        classes: of each image, or of each region.
        regions: in cells of each layer; None for the whole image.
        maps: the CAMs of these classes, if already computed.
        kept: flat indices into the B * M regions; None for all.

    Returns:
        Per layer ``B M N K``, or ``1 V N K`` with `kept`.

    Source:
        docs/method.md sections 1, 2, 4 and 10.
    """
    settings = encoder.settings
    encoded = encoder.ready(encoded)
    if maps is None:
        maps = activation_maps(encoded.evidence, encoder.weight, classes.flatten(1))
    vectors = []
    for i, features in enumerate(encoded.features):
        height, width = features.levels.shape[2:]
        here = regions[i] if regions else _whole(len(encoded), height, width, maps.device)
        windows = region_windows(here, height, width, centring=settings.centring_prior)
        weights = resize_maps(maps, height, width) + settings.weight_floor
        cells = weights.unflatten(1, (-1, classes.shape[-1])) * windows[:, :, None]
        sums, share = region_sums(features, cells, windows > 0 if regions else None)
        channels = channel_weights(share) * features.scale[:, None, :]
        vectors.append(class_vectors(sums, channels, settings.power, kept))
    return tuple(vectors)


def _whole(count: int, height: int, width: int, device: torch.device) -> Int[Tensor, "B 1 4"]:
    return torch.tensor([0, 0, width, height], device=device).expand(count, 1, 4)


def region_windows(
    regions: Int[Tensor, "B M 4"], height: int, width: int, *, centring: bool
) -> Float[Tensor, "B M H W"]:
    """Weight of each cell in each region: 0 outside; inside 1, or the centring prior.

    Args:
        regions: ``x0 y0 x1 y1`` in cells, half-open.
        height, width: of the maps, in cells.
        centring: apply SPoC's prior, a Gaussian with sigma = min(H, W) / 3 of the region
            and the value 1 at its centre.

    Convention:
        Multiplying by a window is the same as cutting the maps to the region first.

    Source:
        docs/method.md sections 4 and 10 (the prior; Babenko and Lempitsky 2015).
    """
    edges = regions.to(torch.float32).unflatten(-1, (2, 2))  # start and end of x and of y
    starts, ends = edges[..., 0, :, None], edges[..., 1, :, None]
    cells = torch.arange(max(height, width), device=regions.device, dtype=torch.float32)
    away = (cells - (starts + ends - 1) / 2).abs()
    counts = torch.lt(away, (ends - starts) / 2, out=torch.empty_like(away))
    if centring:
        sides = ends - starts
        twice_variance = 2 / 9 * sides.amin(dim=-2, keepdim=True) ** 2
        # Bounded so that the weight never underflows to 0 inside a thin region.
        exponent = (away**2 / twice_variance.clamp_min(1e-9)).clamp_max(_MAX_EXPONENT)
        counts = counts * torch.exp(-exponent)
    columns, rows = counts[..., 0, None, :width], counts[..., 1, :height, None]
    return rows * columns


def channel_weights(active_share: Float[Tensor, "*B K"]) -> Float[Tensor, "*B K"]:
    """CroW channel weights: rarely active channels weigh more.

    Args:
        active_share: Q_k, the share of cells in which channel k is above 0.

    Returns:
        ``log(sum of all Q / Q_k)``, natural logarithm; 0 for a channel that is never active.

    Source:
        Kalantidis et al. 2016; paper section 3.2; docs/method.md section 2.
    """
    total = active_share.sum(dim=-1, keepdim=True)
    # Where Q is 0 the ratio is 1, so that its logarithm is 0.
    return torch.log(
        total.clamp_min(1e-12) / torch.where(active_share > 0, active_share, total.clamp_min(1e-12))
    )


def active_share(
    maps: FeatureMaps, inside: Bool[Tensor, "B M H W"] | None
) -> Float[Tensor, "B M K"]:
    """Q_k: the share of each region's cells in which channel k is above 0.

    Args:
        maps: of one layer.
        inside: the cells of each region; None for the whole image.

    Source:
        docs/method.md section 2.
    """
    if inside is None:
        cells = maps.levels.shape[2] * maps.levels.shape[3]
        return (maps.levels.count_nonzero(dim=(2, 3)) / cells).unsqueeze(1)
    # Written as numbers directly: converting booleans takes ten times as long.
    positive = torch.gt(maps.levels, 0, out=torch.empty_like(maps.levels)).flatten(2)
    masks = inside.flatten(2).to(positive.dtype)
    counts = _rows(torch.bmm(positive, masks.transpose(1, 2)))
    return counts / inside.sum(dim=(2, 3)).clamp_min(1).unsqueeze(2)


def region_sums(
    maps: FeatureMaps,
    cells: Float[Tensor, "B M N H W"],
    inside: Bool[Tensor, "B M H W"] | None,
) -> tuple[Float[Tensor, "B M N K"], Float[Tensor, "B M K"]]:
    """`weighted_sums` and `active_share`; in one pass for kept maps on a CPU.

    Args:
        maps: of one layer.
        cells: cell weights, one map per region and class.
        inside: the cells of each region; None for the whole image.
    """
    if not maps.whole_numbers:
        return weighted_sums(maps, cells), active_share(maps, inside)
    if inside is None:
        inside = torch.ones_like(cells[:, :, 0], dtype=torch.bool)
    sums, active = integer_sums.sums_of_bytes(maps.levels, cells.flatten(3).flatten(1, 2), inside)
    share = active / inside.sum(dim=(2, 3)).clamp_min(1).unsqueeze(2)
    return sums.reshape(*cells.shape[:3], -1), share


def weighted_sums(maps: FeatureMaps, cells: Float[Tensor, "B M N H W"]) -> Float[Tensor, "B M N K"]:
    """Features summed with cell weights, in levels; see `class_vectors`."""
    levels = maps.levels.flatten(2)
    weights = cells.flatten(3).flatten(1, 2).to(levels.dtype)
    # The large factor comes first to avoid a copy (measured: a third faster).
    sums = _rows(torch.bmm(levels, weights.transpose(1, 2)))
    return sums.reshape(*cells.shape[:3], -1)


def class_vectors(
    sums: Float[Tensor, "B M N K"],
    channels: Float[Tensor, "B M K"],
    power: float = 1.0,
    kept: Int[Tensor, " V"] | None = None,
) -> Float[Tensor, "_ _ N K"]:
    """One vector per region and class: features summed with the class's cell weights.

    Args:
        sums: from `sums_of_bytes`; overwritten.
        channels: CroW weights of the channels within each region, times the levels' scale.
        power: element-wise exponent between two l2 normalisations; 1 is off.
        kept: flat indices into the B * M regions; None for all.

    Returns:
        Unit rows, or zero rows where the sum is zero: ``B M N K``, or ``1 V N K`` with `kept`.

    Source:
        paper section 3.2; docs/method.md section 2; the power normalisation is section 10's.
    """
    if kept is not None:
        # Padding regions are dropped before the expensive part.
        sums = sums.flatten(0, 1)[kept].unsqueeze(0)
        channels = channels.flatten(0, 1)[kept].unsqueeze(0)
    vectors = sums.mul_(channels.unsqueeze(2))
    if power != 1:
        # No l2 before the power: the l2 after it would cancel it.
        vectors = _root(vectors) if power == 0.5 else vectors.pow_(power)  # noqa: PLR2004
    return functional.normalize(vectors, dim=-1)


def _root(values: Float[Tensor, "*B"]) -> Float[Tensor, "*B"]:
    """Square roots of non-negative values; `sqrt` is ten times slower if some are zero."""
    return values.clamp_min(torch.finfo(values.dtype).tiny).rsqrt_().mul_(values)


def aggregate(
    whitened: Float[Tensor, "*B N D"], weights: Float[Tensor, "*B N"] | None = None
) -> Float[Tensor, "*B D"]:
    """The sum of an image's whitened class vectors, l2-normalised; zero if all are zero.

    Args:
        whitened: unit or zero rows, one per class.
        weights: one per class; None for equal weights.

    Source:
        paper section 3.3; docs/method.md section 3.
    """
    if weights is not None:
        whitened = whitened * weights.unsqueeze(-1)
    return functional.normalize(whitened.sum(dim=-2), dim=-1)


def join_layers(descriptors: Sequence[Float[Tensor, "*B _"]]) -> Float[Tensor, "*B D"]:
    """The descriptors of several layers, concatenated and normalised.

    Source:
        docs/method.md section 10.
    """
    return functional.normalize(torch.cat(list(descriptors), dim=-1), dim=-1)


def _rows(columns: Float[Tensor, "B K R"]) -> Float[Tensor, "B R K"]:
    """The transpose as contiguous float32."""
    return columns.transpose(1, 2).to(torch.float32, memory_format=torch.contiguous_format)
