"""VGG-16-CAM, the paper's main network: VGG-16 with a CAM layer in place of its hidden layers."""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn

from descriptors.networks.network import FeatureLayer, Network

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["VGG16_CAM", "build_vgg16_cam"]

# Convolutions of each of VGG-16's five stages.
_DEPTHS = (2, 2, 3, 3, 3)


def build_vgg16_cam(
    widths: Sequence[int] = (64, 128, 256, 512, 512),
    evidence_channels: int = 1024,
    classes: int = 1000,
) -> nn.Sequential:
    """VGG-16 up to conv5_3 without its last pooling, one convolution more, GAP, one linear layer.

    Args:
        widths: channels of the convolutions of each stage.
        evidence_channels: of the CAM layer.
        classes: of the linear layer.

    Convention:
        Convolutions are named ``conv1_1`` … ``conv5_3`` and ``cam``, activations
        ``relu1_1`` … ``relu5_3`` and ``cam_relu``.

    Source:
        docs/method.md section 8.
    """
    parts: OrderedDict[str, nn.Module] = OrderedDict()
    channels = 3
    for stage, (depth, width) in enumerate(zip(_DEPTHS, widths, strict=True), start=1):
        if stage > 1:
            parts[f"pool{stage - 1}"] = nn.MaxPool2d(2, 2)
        for i in range(1, depth + 1):
            parts[f"conv{stage}_{i}"] = nn.Conv2d(channels, width, 3, padding=1)
            parts[f"relu{stage}_{i}"] = nn.ReLU(inplace=True)
            channels = width
    parts["cam"] = nn.Conv2d(channels, evidence_channels, 3, padding=1)
    parts["cam_relu"] = nn.ReLU(inplace=True)
    parts["cam_pool"] = nn.AdaptiveAvgPool2d(1)
    parts["flatten"] = nn.Flatten()
    parts["dense"] = nn.Linear(evidence_channels, classes)
    return nn.Sequential(parts)


VGG16_CAM = Network(
    build=build_vgg16_cam,
    layers={
        # The paper's feature layer, three convolutions before the evidence.
        "last": FeatureLayer("relu5_1", channels=512, stride=16),
        "cam": FeatureLayer("cam_relu", channels=1024, stride=16),
    },
    evidence=FeatureLayer("cam_relu", channels=1024, stride=16),
    classifier="dense",
    # Caffe's normalisation: 0..255 minus a mean, without scaling.
    mean=(103.939 / 255, 116.779 / 255, 123.68 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
    channel_order="BGR",
    weights_from="--weights FILE (of `camsearch convert-weights`, from the authors' Keras file)",
)
