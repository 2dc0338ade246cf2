"""Class activation maps: where in an image each class is found."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from descriptors.arrays import FeatureMaps

__all__ = ["activation_maps", "class_scores", "heat_map", "resize_maps", "top_classes"]


def class_scores(
    evidence: FeatureMaps, weight: Float[Tensor, "C J"], bias: Float[Tensor, " C"]
) -> Float[Tensor, "B C"]:
    """The network's class scores: the classifier applied to the mean of the evidence.

    Source:
        paper section 3.1; docs/method.md section 1.
    """
    pooled = evidence.levels.float().mean(dim=(2, 3)) * evidence.scale
    return functional.linear(pooled, weight, bias)


def top_classes(scores: Float[Tensor, "B C"], count: int) -> Int[Tensor, "B N"]:
    """The best classes of each image, best first; all if there are fewer."""
    return scores.topk(min(count, scores.shape[1]), dim=1).indices


def activation_maps(
    evidence: FeatureMaps, weight: Float[Tensor, "C J"], classes: Int[Tensor, "B N"]
) -> Float[Tensor, "B N H W"]:
    """The class activation maps of some classes of each image.

    Args:
        evidence: the maps before the pooling.
        weight: of the classifier.
        classes: class numbers, one row per image.

    Returns:
        Maps in 0..1, each divided by its maximum over the whole image (before any cut to a
        box), negatives 0. A map without positive values is all zero.

    Source:
        paper section 3.1; docs/method.md section 1.
    """
    rows = weight[classes] * evidence.scale[:, None, :]
    # Bytes are exact in bfloat16.
    levels = evidence.levels.bfloat16() if evidence.whole_numbers else evidence.levels
    maps = torch.bmm(rows.to(levels.dtype), levels.flatten(2)).float()
    highest = maps.amax(dim=2, keepdim=True)
    maps = torch.where(highest > 0, maps / highest.clamp_min(1e-12), 0.0).clamp_(0, 1)
    return maps.reshape(*rows.shape[:2], *levels.shape[2:])


def resize_maps(
    maps: Float[Tensor, "B N H1 W1"], height: int, width: int
) -> Float[Tensor, "B N H2 W2"]:
    """Maps resized bilinearly, with align_corners=False as in OpenCV."""
    if tuple(maps.shape[2:]) == (height, width):
        return maps
    return functional.interpolate(maps, (height, width), mode="bilinear", align_corners=False)


def heat_map(maps: Float[Tensor, "B N H W"], count: int) -> Float[Tensor, "B H W"]:
    """The mean of each image's first `count` maps.

    Source:
        docs/method.md section 6, step 1.
    """
    return maps[:, :count].mean(dim=1)
