"""Every network of the table with random weights: what they see means nothing, but all of them
runs as with real ones. Their numbers stay of the size of real ones, so that nothing overflows.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from descriptors.backbones import LoadedNetwork, find_network
from descriptors.encoder import Encoder
from descriptors.networks.network import FeatureLayer, Network, fold_batch_norms
from descriptors.networks.timm_maps import TimmMaps
from descriptors.networks.vgg16_cam import VGG16_CAM, build_vgg16_cam
from descriptors.settings import MethodSettings
from tests.support.images import shapes
from tests.support.tiny_network import batch_of

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["NARROW_VGG16_CAM", "random_loaded", "random_module", "random_weights"]

# All of VGG-16-CAM but its width. Channels differ from stage to stage, so that a mix-up shows.
NARROW_VGG16_CAM = replace(
    VGG16_CAM,
    build=partial(build_vgg16_cam, (4, 5, 6, 7, 8), 9, 10),
    layers={
        "last": FeatureLayer("relu5_1", channels=8, stride=16),
        "cam": FeatureLayer("cam_relu", channels=9, stride=16),
    },
    evidence=FeatureLayer("cam_relu", channels=9, stride=16),
)


def random_module(network: Network, seed: int = 0) -> nn.Module:
    """The module in eval mode, not folded, with random weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        module = network.build()
        for part in module.modules():
            if isinstance(part, nn.Conv2d):
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
        if network.classifier is not None:
            nn.init.normal_(module.get_submodule(network.classifier).weight, std=0.1)
    _calibrate(module, network)
    return module.eval().requires_grad_(requires_grad=False)


def _calibrate(module: nn.Module, network: Network) -> None:
    """Normalisations that fit what comes in, as after a training."""
    norms = [part for part in module.modules() if isinstance(part, nn.BatchNorm2d)]
    if not norms:
        return
    for norm in norms:
        norm.momentum = None  # the mean over all there was, not a moving one
    encoder = Encoder(
        LoadedNetwork("calibrated", network, module, ""),
        MethodSettings(layers=({"name": "last", "dims": 1},), side=128),
        precision="float32",
    )
    module.train()
    with torch.no_grad():
        module(encoder.normalise(batch_of(encoder, [shapes(128, 128, i) for i in range(8)])))


@cache
def random_loaded(name: str) -> LoadedNetwork:
    """A network of the table, or of timm, as `load_network` would make it."""
    network = find_network(name)
    module = random_module(network)
    if network.foldable:
        fold_batch_norms(module)
    return LoadedNetwork(name, network, module, "0" * 64)


def random_weights(name: str, folder: Path) -> Path:
    """A weight file such as a user's."""
    module = random_module(find_network(name))
    own = module.network if isinstance(module, TimmMaps) else module
    state: dict[str, Tensor] = own.state_dict()
    path = folder / f"{name.replace(':', '-')}.pth"
    torch.save(state, path)
    return path
