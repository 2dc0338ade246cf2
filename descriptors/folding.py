"""Batch normalisation folded into the convolution before it: the same maps, sooner."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from descriptors.errors import ArtifactError

__all__ = ["fold_batch_norms"]


def fold_batch_norms(module: nn.Module) -> int:
    """Fold each batch normalisation into the convolution that stands right before it.

    Args:
        module: in eval mode, built as convolution → normalisation → activation, with
            children in the order in which they run. It is changed in place: a folded
            normalisation is replaced by its activation, under the same name.

    Returns:
        How many were folded.

    Convention:
        A network that normalises before it convolves must not be given: its children
        stand in the same order, and the wrong pairs would be folded.
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
    """The convolution's weight and bias with the normalisation in them."""
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        raise ArtifactError(
            "A normalisation keeps no statistics, so it cannot be folded: set foldable to False "
            "in this network's row of the table."
        )
    return fuse_conv_bn_weights(
        convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
    )
