"""Sums over kept 8-bit maps in integers, without converting them to floating point.

Current CPUs multiply bytes about twice as fast as bfloat16, and the conversion would take longer
than the multiplication.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float32, Int8, UInt8
from torch import Tensor

__all__ = ["sums_of_bytes"]

# Weights as signed bytes.
_MAX = 127
# The product needs signed bytes: levels minus 128, corrected afterwards by the weights' sum.
_OFFSET = 128


def sums_of_bytes(
    levels: UInt8[Tensor, "B K H W"],
    weights: Float32[Tensor, "B R C"],
    inside: Bool[Tensor, "B M H W"],
) -> tuple[Float32[Tensor, "B R K"], Float32[Tensor, "B M K"]]:
    """Weighted sums of each channel's levels, and its number of active cells in each region.

    Args:
        levels: 8-bit maps.
        weights: non-negative, one row of ``C = H W`` cells per sum.
        inside: the cells of each region.

    Returns:
        The sums, and the exact counts of cells above 0.

    Convention:
        Weights are rounded to 1/127 of the largest in their row. The errors average out: they
        are a third to a half of those of bfloat16 (measured).
    """
    unit = weights.amax(dim=2, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny) / _MAX
    rounded = (weights / unit).round_().to(torch.int8)
    masks = inside.flatten(2).to(torch.int8)
    rows, regions, channels = rounded.shape[1], masks.shape[1], levels.shape[1]
    sums = torch.empty((len(levels), rows, channels), dtype=torch.int32)
    counts = torch.empty((len(levels), regions, channels), dtype=torch.int32)
    signed = torch.empty_like(levels[0].flatten(1), dtype=torch.int8)
    turned = signed.t()
    parts = (levels.flatten(2).view(torch.int8), rounded, masks, sums, counts)
    # One by one: torch has no batched product of bytes, and one image's maps fit the cache.
    for image, row, mask, sum_, count in zip(*(p.unbind() for p in parts), strict=True):
        torch.bitwise_xor(image, -_OFFSET, out=signed)  # level - 128, as a signed byte
        torch._int_mm(row, turned, out=sum_)  # noqa: SLF001 - its only name in torch
        signed.clamp_max_(1 - _OFFSET)  # 0 or 1, less 128
        torch._int_mm(mask, turned, out=count)  # noqa: SLF001
    return _put_back(sums, rounded).mul_(unit), _put_back(counts, masks)


def _put_back(products: Tensor, factors: Int8[Tensor, "B R C"]) -> Float32[Tensor, "B R K"]:
    """Correct products for the offset of the levels."""
    shift = factors.sum(dim=2, keepdim=True, dtype=torch.int32) * _OFFSET
    return products.add_(shift).float()
