"""A row of the table in `descriptors.backbones`, and folding of batch normalisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from descriptors.errors import ArtifactError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "FeatureLayer", "Network", "fold_batch_norms"]
__all__ += ["linear_layer"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class FeatureLayer:
    """A module, by dotted name, whose output is used as non-negative maps."""

    module: str
    channels: int
    stride: int


@dataclass(frozen=True)
class Network:
    """What the method needs to know about a network.

    Attributes:
        build: builds the module without weights.
        layers: feature layers by their name in settings; ``last`` is the published
            method's layer, ``mid``, if present, the second of the default preset.
        evidence: module whose output is pooled and classified.
        classifier: dotted name of the linear layer; None if classes must be learned.
        mean, std: input normalisation of pixels in 0..1, in the order of the input's channels.
        channel_order: of the input.
        side, side_is: working size of the default preset, in pixels.
        side_multiple: sides that the network takes are multiples of this, in pixels.
        packaged_weights: returns the path of weights in an installed package; None if the
            user must give a file.
        published: name of torchvision's weights, for ``--weights download``.
        weights_from: where weights come from, for display.
        rename: converts the file's state dict to the module's.
        rectify: the maps have negatives and need a ReLU.
        foldable: normalisation always follows convolution and can be folded.
    """

    build: Callable[[], nn.Module]
    layers: Mapping[str, FeatureLayer]
    evidence: FeatureLayer
    classifier: str | None = None
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    channel_order: Literal["RGB", "BGR"] = "RGB"
    side: int = 512
    side_is: Literal["longer", "shorter"] = "longer"
    side_multiple: int = 1
    packaged_weights: Callable[[], Path] | None = None
    published: str | None = None
    weights_from: str = "--weights FILE"
    rename: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]] | None = None
    rectify: bool = False
    foldable: bool = False


def linear_layer(layer: object) -> nn.Linear | None:
    """A linear layer, or a convolution of one pixel as one; None for anything else."""
    if isinstance(layer, nn.Linear):
        return layer
    if not isinstance(layer, nn.Conv2d) or layer.kernel_size != (1, 1) or layer.groups != 1:
        return None
    linear = nn.Linear(layer.in_channels, layer.out_channels, device="meta")
    linear.weight = nn.Parameter(layer.weight.flatten(1), requires_grad=False)
    linear.bias = layer.bias  # type: ignore[assignment] # None is a bias, too
    return linear


def fold_batch_norms(module: nn.Module) -> int:
    """Fold each batch normalisation into the convolution before it; return how many.

    Args:
        module: in eval mode, built as convolution → normalisation → activation, with
            children in the order in which they run. It is changed in place: a folded
            normalisation is replaced by its activation, under the same name. A network
            that normalises before it convolves would be folded wrongly.
    """
    folded = 0
    for parent in list(module.modules()):
        before: nn.Module | None = None
        for name, child in list(parent.named_children()):
            if isinstance(before, nn.Conv2d) and isinstance(child, nn.BatchNorm2d):
                before.weight, before.bias = _folded(before, child)
                # timm's normalisations carry their activation; torch's have none.
                setattr(parent, name, getattr(child, "act", nn.Identity()))
                folded += 1
            before = child
    return folded


def _folded(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> tuple[nn.Parameter, nn.Parameter]:
    """The convolution's weight and bias, including the normalisation."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ArtifactError(
            "A normalisation has no running statistics and cannot be folded: set foldable to "
            "False in this network's row of the table."
        )
    return fuse_conv_bn_weights(
        convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
    )
