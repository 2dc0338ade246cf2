"""Networks of torchvision, with weights from a local file or torchvision's download."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from descriptors.networks.network import FeatureLayer, Network

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["DENSENET161", "MOBILENET_V2", "RESNET50"]

_FILE_OR_DOWNLOAD = "--weights FILE (a state dict of torchvision) or --weights download"

# torchvision's DenseNet files predate its rule of no dots in module names.
_OLD_DENSENET_KEY = re.compile(r"(.*denselayer\d+\.(?:norm|relu|conv))\.([12]\..*)")


def _build(name: str) -> nn.Module:
    from torchvision import models

    model: nn.Module = getattr(models, name)(weights=None)
    return model


def _new_densenet_keys(state: dict[str, Tensor], _: nn.Module) -> dict[str, Tensor]:
    return {_OLD_DENSENET_KEY.sub(r"\1\2", key): value for key, value in state.items()}


RESNET50 = Network(
    build=partial(_build, "resnet50"),
    layers={
        "mid": FeatureLayer("layer3", channels=1024, stride=16),
        "last": FeatureLayer("layer4", channels=2048, stride=32),
    },
    evidence=FeatureLayer("layer4", channels=2048, stride=32),
    classifier="fc",
    published="ResNet50_Weights.IMAGENET1K_V1",
    weights_from=_FILE_OR_DOWNLOAD,
    foldable=True,
)

DENSENET161 = Network(
    build=partial(_build, "densenet161"),
    layers={
        # All 2112 channels of the third block, after the activation of the transition.
        "mid": FeatureLayer("features.transition3.relu", channels=2112, stride=16),
        "last": FeatureLayer("features", channels=2208, stride=32),
    },
    evidence=FeatureLayer("features", channels=2208, stride=32),
    classifier="classifier",
    published="DenseNet161_Weights.IMAGENET1K_V1",
    weights_from=_FILE_OR_DOWNLOAD,
    rename=_new_densenet_keys,
    rectify=True,  # the ReLU after `features` is not a module
)

MOBILENET_V2 = Network(
    build=partial(_build, "mobilenet_v2"),
    layers={
        # As in EfficientNet-Lite0: the expansion of the last block that halves the grid.
        "mid": FeatureLayer("features.14.conv.0", channels=576, stride=16),
        "last": FeatureLayer("features.18", channels=1280, stride=32),
    },
    evidence=FeatureLayer("features.18", channels=1280, stride=32),
    classifier="classifier.1",
    published="MobileNet_V2_Weights.IMAGENET1K_V1",
    weights_from=_FILE_OR_DOWNLOAD,
    foldable=True,
)
