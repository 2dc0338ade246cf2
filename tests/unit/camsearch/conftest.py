"""The tiny network under a name of its own, so that the whole command runs in milliseconds."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest
from safetensors.torch import save_file

from camsearch.library import ImageLibrary
from descriptors.backbones import NETWORKS, load_network
from descriptors.encoder import Encoder
from descriptors.machine import Machine
from descriptors.settings import LayerSettings, MethodSettings
from tests.support.tiny_network import TINY, tiny_state, tiny_whitening

if TYPE_CHECKING:
    from pathlib import Path


class Tiny(NamedTuple):
    """What a gallery of the tiny network is made with."""

    settings: MethodSettings
    weights: Path
    whitening: Path

    @property
    def parts(self):
        """For `ImageLibrary.create`."""
        return {"settings": self.settings, "weights": self.weights, "whitening": self.whitening}

    def library(self, folder, **said):
        return ImageLibrary.create(folder, **self.parts | {"machine": MACHINE} | said)

    @property
    def options(self):
        """For `camsearch index`."""
        layers = ",".join(f"{layer.name}:{layer.dims}" for layer in self.settings.layers)
        return [
            *("--network", "tiny", "--layers", layers, "--side", str(self.settings.side)),
            *("--weights", str(self.weights), "--whitening", str(self.whitening)),
            *("--precision", "float32"),
        ]


MACHINE = Machine(precision="float32", batch_size=4, readers=2)


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tiny")
    weights = folder / "weights.safetensors"
    save_file(tiny_state(), weights)
    layers = (LayerSettings(name="mid", dims=6), LayerSettings(name="last", dims=8))
    settings = MethodSettings(network="tiny", layers=layers, side=64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "tiny", TINY)
        encoder = Encoder(load_network("tiny", weights), settings, precision="float32")
    whitening = folder / "whitening.safetensors"
    tiny_whitening(encoder).save(whitening)
    return Tiny(settings, weights, whitening)


@pytest.fixture
def tiny(tiny_files, monkeypatch):
    monkeypatch.setitem(NETWORKS, "tiny", TINY)
    return tiny_files
