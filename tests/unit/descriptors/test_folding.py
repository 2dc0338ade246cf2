"""Folding changes no map beyond rounding."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from descriptors.backbones import NETWORKS
from descriptors.networks.network import fold_batch_norms


def shaken(module: nn.Module) -> nn.Module:
    """Normalisations with statistics that matter; fresh ones would be the identity."""
    torch.manual_seed(0)
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.uniform_(-0.2, 0.2)
            layer.running_var.uniform_(0.5, 2)
            layer.weight.data.uniform_(0.7, 1.3)
            layer.bias.data.uniform_(-0.1, 0.1)
    return module.eval()


@pytest.mark.parametrize("name", [n for n, network in NETWORKS.items() if network.foldable])
def test_the_folded_network_gives_the_same_maps_and_scores(name):
    network = NETWORKS[name]
    module = shaken(network.build())
    image = torch.rand(1, 3, 96, 64)
    kept: dict[str, torch.Tensor] = {}

    def run() -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        kept.clear()
        hooks = [
            module.get_submodule(layer.module).register_forward_hook(
                lambda _m, _i, out, name=key: kept.__setitem__(name, out)
            )
            for key, layer in network.layers.items()
        ]
        with torch.inference_mode():
            scores = module(image)
        for hook in hooks:
            hook.remove()
        return scores, dict(kept)

    scores, maps = run()
    norms = sum(isinstance(layer, nn.BatchNorm2d) for layer in module.modules())
    assert fold_batch_norms(module) == norms > 0
    folded_scores, folded_maps = run()

    torch.testing.assert_close(folded_scores, scores, rtol=1e-3, atol=1e-3 * scores.abs().max())
    for key, expected in maps.items():
        torch.testing.assert_close(
            folded_maps[key], expected, rtol=1e-3, atol=1e-3 * float(expected.abs().max())
        )


def test_a_module_without_convolutions_is_left_alone():
    assert fold_batch_norms(nn.Sequential(nn.Linear(2, 2), nn.ReLU())) == 0
