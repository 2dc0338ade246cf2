"""What the method must know of a network: one row of the table in `descriptors.backbones`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor, nn

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "FeatureLayer", "Network"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class FeatureLayer:
    """One tap: the dotted name of a module whose output is non-negative maps."""

    module: str
    channels: int
    stride: int


@dataclass(frozen=True)
class Network:
    """One row of the table.

    Attributes:
        build: makes the module without weights.
        layers: feature layers by the name that settings use; ``last`` is the published
            method's layer, ``mid`` where there is one the second of the default preset.
        evidence: module whose output is pooled and classified, and its stride.
        classifier: dotted name of the linear layer.
        mean, std: input normalisation of pixels in 0..1, in the order of the input's channels.
        channel_order: of the input.
        side, side_is: working size in pixels of the default preset with this network.
        packaged_weights: path of weights that an installed package carries, or None
            where the user must name a file.
        published: name of torchvision's own weights, for ``--weights download``.
        weights_from: where weights come from, for people.
        rename: makes the module's state dict out of the file's.
        rectify: the tapped maps still hold negatives; ReLU them.
        foldable: normalisation follows convolution everywhere, so it can be folded.
    """

    build: Callable[[], nn.Module]
    layers: Mapping[str, FeatureLayer]
    evidence: FeatureLayer
    classifier: str
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channel_order: Literal["RGB", "BGR"] = "RGB"
    side: int = 512
    side_is: Literal["longer", "shorter"] = "longer"
    packaged_weights: Callable[[], Path] | None = None
    published: str | None = None
    weights_from: str = "--weights FILE"
    rename: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]] | None = None
    rectify: bool = False
    foldable: bool = False
