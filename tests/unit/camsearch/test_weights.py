"""Weights that are downloaded when asked for, and those converted from Keras."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from types import SimpleNamespace

import huggingface_hub
import numpy as np
import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file
from torchvision import models

from camsearch.downloads import download_weights, downloaded_path
from descriptors.backbones import NETWORKS
from descriptors.errors import ArtifactError
from descriptors.networks.vgg16_cam import build_vgg16_cam
from tests.support.images import shapes
from tests.support.random_networks import NARROW_VGG16_CAM
from tests.support.tiny_network import TINY, tiny_state
from tests.unit.camsearch.test_commands import assert_one_sentence
from tests.unit.descriptors.test_keras_weights import drawn, keras_file

PUBLISHED = dataclasses.replace(TINY, published="Tiny_Weights.MADE")


@pytest.fixture
def publisher(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    part = tmp_path / "part"
    torch.save(tiny_state(), part)
    digest = hashlib.sha256(part.read_bytes()).hexdigest()
    file = part.rename(tmp_path / f"tiny-{digest[:8]}.pth")
    weights = SimpleNamespace(url=file.as_uri())
    known = {PUBLISHED.published: weights}
    others = models.get_weight
    monkeypatch.setattr(models, "get_weight", lambda name: known.get(name) or others(name))
    monkeypatch.setitem(NETWORKS, "tiny", PUBLISHED)
    return file


class TestDownload:
    def test_fetches_once_into_torch_s_cache(self, publisher, tmp_path):
        assert downloaded_path(PUBLISHED) is None
        path = download_weights("tiny", PUBLISHED)
        assert path == tmp_path / "torch" / "hub" / "checkpoints" / publisher.name
        assert path.read_bytes() == publisher.read_bytes()
        publisher.unlink()
        assert download_weights("tiny", PUBLISHED) == downloaded_path(PUBLISHED) == path

    def test_without_internet(self, publisher):
        publisher.unlink()
        with pytest.raises(ArtifactError, match=r"cannot be downloaded .*with internet.*--weights"):
            download_weights("tiny", PUBLISHED)
        assert downloaded_path(PUBLISHED) is None

    def test_a_file_with_the_wrong_hash_is_refused(self, publisher):
        publisher.write_bytes(publisher.read_bytes() + b"x")
        with pytest.raises(ArtifactError, match="invalid hash value"):
            download_weights("tiny", PUBLISHED)
        assert downloaded_path(PUBLISHED) is None

    @pytest.mark.parametrize(
        ("name", "how"),
        [("vgg16_cam", "they come"), ("timm:nfnet_f0", "give a state dict of timm")],
    )
    def test_of_a_network_that_is_not_published(self, name, how):
        network = NETWORKS.get(name, TINY)
        with pytest.raises(ArtifactError, match=f"no download of weights for {name}: {how}"):
            download_weights(name, network)

    def test_of_timm(self, tmp_path, monkeypatch):
        asked = []

        def fetch(repository, file):
            asked.append((repository, file))
            return str(tmp_path / file)

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
        path = download_weights("timm:resnet10t", TINY)
        assert path == tmp_path / "model.safetensors"
        download_weights("timm:vit_small_patch14_dinov2.lvd142m", TINY)
        assert asked == [
            ("timm/resnet10t.c3_in1k", "model.safetensors"),
            ("timm/vit_small_patch14_dinov2.lvd142m", "model.safetensors"),
        ]

    def test_of_timm_without_internet(self, monkeypatch):
        def fetch(repository, file):
            raise LocalEntryNotFoundError("No connection.\nMore.")

        monkeypatch.setattr(huggingface_hub, "hf_hub_download", fetch)
        with pytest.raises(
            ArtifactError, match=r"cannot be downloaded \(No connection\): .*timm/re"
        ):
            download_weights("timm:resnet10t", TINY)

    @pytest.mark.parametrize(
        "name", [name for name, network in NETWORKS.items() if network.published]
    )
    def test_torchvision_knows_what_the_table_names(self, name):
        weights = models.get_weight(NETWORKS[name].published)
        assert weights.url.startswith("https://")
        assert weights.meta["num_params"] == sum(
            value.numel() for value in _on_no_device(name).parameters()
        )

    def test_by_the_command(self, publisher, camsearch, tmp_path):
        """From images to an answer; the gallery remembers where the weights lie."""
        images = tmp_path / "images"
        images.mkdir()
        for i in range(6):
            shapes(96, 64, seed=i).save(images / f"{i}.png")
        options = ["--network", "tiny", "--layers", "mid:6,last:8", "--side", "64"]
        options += ["--weights", "download"]
        whitening, gallery = tmp_path / "w.safetensors", tmp_path / "gallery"
        said = camsearch("fit", images, "-o", whitening, *options)
        assert said.status == 0, said.err
        publisher.unlink()
        said = camsearch("index", images, "-g", gallery, "--whitening", whitening, *options)
        assert said.status == 0, said.err
        said = camsearch("search", images / "2.png", "-g", gallery, "--json")
        assert json.loads(said.out)["hits"][0]["uri"].endswith("2.png")

    def test_doctor_shows_what_was_fetched(self, publisher, camsearch, tmp_path):
        path = download_weights("tiny", PUBLISHED)
        said = camsearch("doctor", "-g", tmp_path / "none")
        assert f"tiny: --weights FILE (is at {path})" in said.out
        assert "vgg16_cam: --weights FILE (of `camsearch convert-weights`" in said.out


def _on_no_device(name):
    with torch.device("meta"):
        return NETWORKS[name].build()


class TestConvertWeights:
    def test_what_is_written_loads(self, camsearch, tmp_path, monkeypatch):
        monkeypatch.setattr(
            "descriptors.networks.vgg16_cam.build_vgg16_cam", NARROW_VGG16_CAM.build
        )
        path, out = keras_file(tmp_path / "w.h5", drawn()), tmp_path / "w.safetensors"
        said = camsearch("convert-weights", path, "--out", out)
        assert said.status == 0, said.err
        assert said.out == (
            f"vgg16_cam written to {out}: kernels in theano's order, rotated by 180 degrees.\n"
        )
        module = NARROW_VGG16_CAM.build()
        module.load_state_dict(load_file(out))
        kernel = drawn()["conv1_2"][0]
        assert np.array_equal(module.conv1_2.weight.detach().numpy(), kernel[:, :, ::-1, ::-1])
        again = camsearch("convert-weights", path, "--out", out, "--no-flip", "--order", "theano")
        assert again.out.endswith("kernels in theano's order, not rotated.\n")
        assert np.array_equal(load_file(out)["conv1_2.weight"].numpy(), kernel)

    @pytest.mark.parametrize(
        ("out", "why"),
        [("w.pth", "must end in .safetensors"), ("no/folder/w.safetensors", "cannot be written")],
    )
    def test_a_path_that_cannot_be_written(self, camsearch, tmp_path, monkeypatch, out, why):
        monkeypatch.setattr(
            "descriptors.networks.vgg16_cam.build_vgg16_cam", NARROW_VGG16_CAM.build
        )
        path = keras_file(tmp_path / "w.h5", drawn())
        assert_one_sentence(camsearch("convert-weights", path, "--out", tmp_path / out), why)


def test_the_real_width_has_the_keras_file_s_shapes():
    """VGG-16 without its hidden layers, and with the CAM layer."""
    with torch.device("meta"):
        module = build_vgg16_cam()
    convolutions = 14_714_688  # VGG-16's, as torchvision counts them
    cam, dense = 512 * 1024 * 9 + 1024, 1024 * 1000 + 1000
    assert sum(p.numel() for p in module.parameters()) == convolutions + cam + dense
