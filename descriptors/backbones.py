"""The table of networks, and loading a network with its weights.

If a network ends in *convolution -> global average pooling -> one linear
layer*, a class activation map is the product of the linear layer's row and the
maps before the pooling, and its mean over the cells plus the bias is the class
score. Of another network the classes are learned (`camsearch fit`).

To add a network, define it in `descriptors.networks` and add it to `NETWORKS`.
Networks of timm need no row: they are named ``timm:NAME``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from textwrap import shorten
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from descriptors.errors import ArtifactError, SettingsError
from descriptors.networks.efficientnet_lite import (
    EFFICIENTNET_LITE0,
    EFFICIENTNET_LITE1,
    EFFICIENTNET_LITE2,
)
from descriptors.networks.network import FeatureLayer, Network, fold_batch_norms, linear_layer
from descriptors.networks.timm_networks import TIMM, timm_network
from descriptors.networks.torchvision_networks import DENSENET161, MOBILENET_V2, RESNET50
from descriptors.networks.vgg16_cam import VGG16_CAM
from descriptors.settings import LayerSettings, MethodSettings

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "NETWORKS",
    "FeatureLayer",
    "LoadedNetwork",
    "Network",
    "find_network",
    "load_network",
    "network_settings",
]

NETWORKS: Mapping[str, Network] = {
    "efficientnet_lite0": EFFICIENTNET_LITE0,
    "efficientnet_lite1": EFFICIENTNET_LITE1,
    "efficientnet_lite2": EFFICIENTNET_LITE2,
    "resnet50": RESNET50,
    "densenet161": DENSENET161,
    "mobilenet_v2": MOBILENET_V2,
    "vgg16_cam": VGG16_CAM,
}


def find_network(name: str) -> Network:
    """A network of the table, or for ``timm:NAME`` one made from timm's module.

    Raises:
        SettingsError: the name is unknown, or the network of timm cannot be used.
    """
    if name.startswith(TIMM):
        return timm_network(name.removeprefix(TIMM))
    if name not in NETWORKS:
        raise SettingsError(
            f"There is no network {name!r}: choose one of {', '.join(sorted(NETWORKS))}, "
            f"or {TIMM}NAME for a network of timm."
        )
    return NETWORKS[name]


def network_settings(name: str, preset: str = "default") -> MethodSettings:
    """A preset adapted to a network: its layers and its working size.

    Args:
        name: see `find_network`.
        preset: ``default``, or ``paper``, whose working size is the same for all networks.

    Convention:
        Layers of the preset that the network lacks are left out; their dimensions go to the
        last layer. No layer gets more dimensions than it has channels.
    """
    settings = MethodSettings.preset(preset)
    if name == settings.network:
        return settings
    network = find_network(name)
    *others, last = [layer for layer in settings.layers if layer.name in network.layers]
    layers = [_at_most(layer, layer.dims, network) for layer in others]
    remaining = settings.dims - sum(layer.dims for layer in layers)
    update: dict[str, object] = {
        "network": name,
        "layers": (*layers, _at_most(last, remaining, network)),
    }
    if settings.side_multiple % network.side_multiple:
        update["side_multiple"] = network.side_multiple
    if preset == "default":
        update |= {"side": network.side, "side_is": network.side_is}
    return settings.model_copy(update=update)


def _at_most(layer: LayerSettings, dims: int, network: Network) -> LayerSettings:
    """A layer cannot have more principal axes than channels."""
    return LayerSettings(name=layer.name, dims=min(dims, network.layers[layer.name].channels))


@dataclass(frozen=True)
class LoadedNetwork:
    """A network with its weights, on a device, in eval mode."""

    name: str
    network: Network
    module: nn.Module
    weights_digest: str

    @property
    def classifier(self) -> nn.Linear | None:
        """The linear layer after the pooling; None if classes must be learned."""
        if self.network.classifier is None:
            return None
        layer = linear_layer(self.module.get_submodule(self.network.classifier))
        if layer is None:
            raise ArtifactError(
                f"{self.name} has no linear layer {self.network.classifier!r} after its pooling, "
                "so it has no class activation maps: choose a network that ends in "
                "convolution, global average pooling and one linear layer."
            )
        if self.network.evidence.channels == 2 * layer.in_features:
            return _of_both_signs(layer)
        return layer


def _of_both_signs(layer: nn.Linear) -> nn.Linear:
    """The layer for maps of `both_signs`, with the same scores."""
    doubled = nn.Linear(2 * layer.in_features, layer.out_features, device="meta")
    weight = torch.cat([layer.weight, -layer.weight], dim=1)
    doubled.weight, doubled.bias = nn.Parameter(weight, requires_grad=False), layer.bias
    return doubled


def load_network(name: str, weights: Path | None = None) -> LoadedNetwork:
    """A network with its weights.

    Args:
        name: see `find_network`.
        weights: a state dict in a local file, saved by torch or safetensors; None for the
            weights of an installed package.

    Raises:
        SettingsError: see `find_network`.
        ArtifactError: there are no weights, or they do not fit the network.
    """
    network = find_network(name)
    if weights is None:
        if network.packaged_weights is None:
            raise ArtifactError(
                f"{name} comes without weights: give a local weight file with --weights "
                f"({network.weights_from})."
            )
        weights = network.packaged_weights()
    module = network.build()
    _fill(module, network, weights, name)
    module.eval().requires_grad_(requires_grad=False)
    if network.foldable:
        fold_batch_norms(module)
    loaded = LoadedNetwork(name, network, module, _digest(weights))
    _ = loaded.classifier  # raises early if it is none
    return loaded


def _fill(module: nn.Module, network: Network, weights: Path, name: str) -> None:
    state = _read_state(weights)
    try:
        module.load_state_dict(network.rename(state, module) if network.rename else state)
    except RuntimeError as error:
        told = shorten(str(error).splitlines()[-1], 200, placeholder=" …")
        raise ArtifactError(
            f"The weights in {weights} do not fit {name}: give a state dict of that network. "
            f"({told})"
        ) from error


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
            "give a state dict saved with torch.save or safetensors."
        ) from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise ArtifactError(f"The weight file {path} does not contain a state dict of tensors.")
    return state


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
