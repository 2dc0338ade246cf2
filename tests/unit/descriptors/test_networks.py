"""Each network of the table: what makes a CAM a CAM, its layers, its input, its settings."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models import get_weight

from descriptors.backbones import (
    NETWORKS,
    LoadedNetwork,
    find_network,
    load_network,
    network_settings,
)
from descriptors.encoder import Encoder
from descriptors.errors import ArtifactError, SettingsError
from descriptors.method import Method
from descriptors.networks import torchvision_networks
from descriptors.networks.vgg16_cam import build_vgg16_cam
from descriptors.settings import LayerSettings, MethodSettings, RegionSettings
from descriptors.whitening import WhiteningFit
from galleries.kept_maps import pack, stack_kept, unpack
from tests.support.images import rgb_image, shapes
from tests.support.random_networks import NARROW_VGG16_CAM, random_loaded, random_module
from tests.support.tiny_network import batch_of, tiny_loaded

SLOW = [name for name in NETWORKS if name != "efficientnet_lite0"]
NAMES = ["efficientnet_lite0", *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)]
# A convolution of one pixel as classifier, an activation with negative values, windows.
SLOW_TIMM = [
    "densenet121",
    "dla34",
    "resnetv2_50",
    "efficientnet_b0",
    "swin_tiny_patch4_window7_224",
]
TIMM = ["timm:resnet10t"]
TIMM += [pytest.param(f"timm:{name}", marks=pytest.mark.slow) for name in SLOW_TIMM]


def loaded_of(name: str) -> LoadedNetwork:
    if name == "tiny":
        return tiny_loaded()
    packaged = name in NETWORKS and NETWORKS[name].packaged_weights is not None
    return load_network(name) if packaged else random_loaded(name)


def narrow_vgg() -> LoadedNetwork:
    return LoadedNetwork("narrow", NARROW_VGG16_CAM, random_module(NARROW_VGG16_CAM), "0" * 64)


def encoder_of(loaded: LoadedNetwork, **changes: object) -> Encoder:
    """All layers of the network, in the order of the table."""
    layers = tuple(LayerSettings(name=name, dims=4) for name in loaded.network.layers)
    settings = MethodSettings(network=loaded.name, layers=layers, side=96)
    return Encoder(loaded, settings.model_copy(update=changes), precision="float32")


def check_identity(loaded: LoadedNetwork) -> None:
    """The mean of the raw CAM over its cells plus the bias is the network's own class score."""
    encoder = encoder_of(loaded)
    batch = batch_of(encoder, [shapes(96, 64, 1), shapes(96, 64, 2)])
    with torch.inference_mode():
        logits = encoder.forward(encoder.normalise(batch))
    encoded = encoder.encode(batch)
    cams = torch.einsum("cj,bjhw->bchw", encoder.weight, encoded.evidence.values())
    scale = float(logits.abs().max())
    assert logits.std() > 0
    assert cams.std(dim=(2, 3)).max() > 0
    torch.testing.assert_close(
        cams.mean(dim=(2, 3)) + encoder.bias, logits, rtol=1e-4, atol=1e-4 * scale
    )
    torch.testing.assert_close(encoded.scores, logits, rtol=1e-4, atol=1e-4 * scale)


def check_maps(loaded: LoadedNetwork) -> None:
    """Channels and strides of the table are those of the maps; no map holds a negative."""
    encoder = encoder_of(loaded)
    encoded = encoder.encode(batch_of(encoder, [shapes(96, 64, 1)]))
    rows = [*loaded.network.layers.values(), loaded.network.evidence]
    for row, maps in zip(rows, (*encoded.features, encoded.evidence), strict=True):
        assert maps.levels.shape[1:] == (row.channels, 64 // row.stride, 96 // row.stride)
        assert maps.stride == row.stride
        assert maps.levels.min() >= 0
        assert maps.levels.max() > 0
    assert loaded.classifier.in_features == loaded.network.evidence.channels


class TestEveryNetwork:
    @pytest.mark.parametrize("name", ["tiny", *NAMES, *TIMM])
    def test_maps_are_as_the_table_says_and_cams_give_the_class_scores(self, name: str) -> None:
        check_identity(loaded_of(name))
        check_maps(loaded_of(name))

    @pytest.mark.parametrize("name", NAMES)
    def test_a_part_of_a_batch_is_the_part_alone(self, name: str) -> None:
        """Maps that a later layer wrote over in place would show here."""
        encoder = encoder_of(loaded_of(name))
        batch = batch_of(encoder, [shapes(96, 64, 1), shapes(96, 64, 2)])
        both, second = encoder.encode(batch), encoder.encode(batch[1:])
        for mine, its in zip(both[1:].features, second.features, strict=True):
            scale = float(its.levels.max())
            torch.testing.assert_close(mine.levels, its.levels, rtol=1e-3, atol=1e-4 * scale)

    def test_has_the_published_layer_and_says_where_its_weights_come_from(self) -> None:
        for name, network in NETWORKS.items():
            assert "last" in network.layers
            assert network.weights_from
            if network.packaged_weights is None:
                with pytest.raises(ArtifactError, match="give a local weight file with --weights"):
                    load_network(name)


@pytest.mark.slow
def test_the_network_that_contributing_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    text = (Path(__file__).parents[3] / "CONTRIBUTING.md").read_text()
    code = text.partition("## Adding a network")[2].partition("```python\n")[2].partition("```")[0]
    given: dict[str, Any] = vars(torchvision_networks).copy()
    exec(code, given)  # noqa: S102 - our own page
    monkeypatch.setitem(NETWORKS, "resnet101", given["RESNET101"])
    check_identity(random_loaded("resnet101"))
    check_maps(random_loaded("resnet101"))
    assert [layer.dims for layer in network_settings("resnet101").layers] == [256, 256]
    assert get_weight(given["RESNET101"].published).url


class TestDenseNet161:
    @pytest.mark.slow
    def test_its_last_maps_are_rectified_by_us(self) -> None:
        """`features` ends in a normalisation; torch's ReLU after it is a function."""
        module = random_module(NETWORKS["densenet161"])
        seen: list[torch.Tensor] = []
        module.features.norm5.register_forward_hook(lambda _m, _i, out: seen.append(out.clone()))
        encoder = encoder_of(LoadedNetwork("x", NETWORKS["densenet161"], module, ""))
        encoded = encoder.encode(batch_of(encoder, [shapes(96, 64, 1)]))
        assert seen[0].min() < 0
        torch.testing.assert_close(encoded.evidence.levels, seen[0].relu())

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            ("denseblock1.denselayer12.norm.1.mean", "denseblock1.denselayer12.norm1.mean"),
            ("denseblock4.denselayer1.conv.2.weight", "denseblock4.denselayer1.conv2.weight"),
            ("transition1.norm.weight", "transition1.norm.weight"),
        ],
    )
    def test_torchvision_s_old_keys_are_read(self, old: str, new: str) -> None:
        state = {f"features.{old}": torch.ones(1)}
        renamed = NETWORKS["densenet161"].rename(state, torch.nn.Identity())
        assert list(renamed) == [f"features.{new}"]


class TestVgg16Cam:
    def test_is_vgg_16_with_a_cam_layer(self) -> None:
        with torch.device("meta"):
            shape = {k: tuple(v.shape) for k, v in build_vgg16_cam().state_dict().items()}
        kernels = [k.removesuffix(".weight") for k, s in shape.items() if len(s) == 4]
        assert kernels == [
            *("conv1_1", "conv1_2", "conv2_1", "conv2_2", "conv3_1", "conv3_2", "conv3_3"),
            *("conv4_1", "conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3", "cam"),
        ]
        assert shape["conv1_1.weight"] == (64, 3, 3, 3)
        assert shape["conv5_3.weight"] == (512, 512, 3, 3)
        assert shape["cam.weight"] == (1024, 512, 3, 3)
        assert shape["dense.weight"] == (1000, 1024)

    def test_takes_bgr_minus_the_mean(self) -> None:
        encoder = encoder_of(narrow_vgg())
        red, green, blue = 200, 100, 50
        batch = torch.tensor([red, green, blue], dtype=torch.uint8).reshape(1, 3, 1, 1)
        torch.testing.assert_close(
            encoder.normalise(batch).flatten(),
            torch.tensor([blue - 103.939, green - 116.779, red - 123.68]),
            rtol=0,
            atol=1e-4,
        )

    @pytest.mark.parametrize(("preset", "size"), [("default", (113, 79)), ("paper", (112, 80))])
    def test_kept_maps_match_as_fresh_ones_do(self, preset: str, size: tuple[int, int]) -> None:
        """Sides that the stride does not divide, too: VGG-16 leaves out what is over."""
        layers = (LayerSettings(name="last", dims=4),)
        changes = {"network": "narrow", "layers": layers, "side": 79}
        settings = MethodSettings.preset(preset).model_copy(update=changes)
        encoder = Encoder(narrow_vgg(), settings, precision="float32")
        fit = WhiteningFit(encoder)
        for seed in range(12):
            fit.add(encoder.encode(batch_of(encoder, [shapes(*size, seed)])))
        method = Method(encoder, fit.fit("made images"))
        regions = RegionSettings.preset(preset).model_copy(update={"min_side": 16})
        query = method.describe_query(rgb_image(shapes(*size, 3)), regions)
        encoded = encoder.encode(batch_of(encoder, [shapes(*size, seed) for seed in range(6)]))
        kept = stack_kept([unpack(d) for d in pack(encoded, ["x"] * 6)], encoder.device)
        fresh = method.match_regions(query, encoded, regions)
        again = method.match_regions(query, kept, regions)
        assert all(fresh)
        for one, other in zip(fresh, again, strict=True):
            assert abs(one.score - other.score) < 0.05
        scores = [match.score for match in again]
        assert max(scores) == scores[3] > 0.98


class TestNetworkSettings:
    """`network_settings`: a preset made to fit another network."""

    def layers(self, settings: MethodSettings) -> list[tuple[str, int]]:
        return [(layer.name, layer.dims) for layer in settings.layers]

    def test_layers_and_sizes(self) -> None:
        for preset in ("default", "paper"):
            assert network_settings("efficientnet_lite0", preset) == MethodSettings.preset(preset)
        for name in ("efficientnet_lite2", "resnet50", "densenet161", "mobilenet_v2"):
            assert network_settings(name) == MethodSettings(network=name)
        settings = network_settings("vgg16_cam")
        assert self.layers(settings) == [("last", 512)]
        assert (settings.side, settings.side_is) == (512, "longer")
        assert self.layers(network_settings("timm:regnetx_002")) == [("mid", 152), ("last", 360)]

    def test_the_paper_s_size_is_the_paper_s(self) -> None:
        settings = network_settings("vgg16_cam", "paper")
        assert (settings.side, settings.side_is) == (720, "shorter")
        assert self.layers(settings) == [("last", 512)]
        assert settings.n_classes == 64

    def test_every_network_has_the_layers_of_both_presets(self) -> None:
        for name, preset in product(NETWORKS, ("default", "paper")):
            settings = network_settings(name, preset)
            for layer in settings.layers:
                assert layer.dims <= find_network(name).layers[layer.name].channels
            MethodSettings.model_validate(settings.model_dump())

    def test_an_unknown_network_or_preset(self) -> None:
        with pytest.raises(SettingsError, match="no network 'vgg'"):
            network_settings("vgg")
        with pytest.raises(SettingsError, match="no preset"):
            network_settings("vgg16_cam", "best")
