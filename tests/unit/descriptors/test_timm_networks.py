"""Networks of timm by name: their layers, their labels, and why some cannot be used."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from torch import nn

from descriptors.backbones import LoadedNetwork, find_network, load_network, network_settings
from descriptors.encoder import Encoder
from descriptors.errors import ArtifactError, SettingsError
from descriptors.networks.timm_maps import TimmMaps, both_signs
from descriptors.networks.timm_networks import timm_network
from descriptors.settings import LayerSettings, MethodSettings
from tests.support.images import shapes
from tests.support.tiny_network import batch_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


class Made(nn.Module):
    """Two convolutions and ReLU at stride 16, pooling, a linear layer; parts may be replaced."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 8, stride=8)
        self.act1 = parts.get("act1", nn.ReLU())
        self.conv = nn.Conv2d(4, 6, 2, stride=2)
        self.norm = nn.BatchNorm2d(6)
        self.act2 = parts.get("act2", nn.ReLU())
        self.neck = parts.get("neck", nn.Identity())
        self.fc = parts.get("fc", nn.Linear(6, 5))
        self.feature_info = [{"reduction": 8}, {"reduction": 16}]
        self.pretrained_cfg = {"classifier": "fc", "input_size": (3, 600, 500)}

    def forward_maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        mid = self.act1(self.stem(x))
        return [mid, self.act2(self.norm(self.conv(mid)))]

    def forward_intermediates(
        self, x: torch.Tensor, indices: list[int], *, norm: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        maps = self.forward_maps(x)
        return maps[-1], [maps[i] for i in indices]

    def forward_head(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.neck(x.mean(dim=(2, 3))))

    def get_classifier(self) -> nn.Module:
        return self.fc

    def reset_classifier(self, num_classes: int) -> None:
        assert not num_classes
        self.fc = nn.Identity()


class Zeroed(Made):
    """As some networks start: a classifier of 0 agrees with anything."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__(**parts)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)


class Pixelwise(Made):
    """Its classifier is a convolution of one pixel."""

    def __init__(self) -> None:
        super().__init__(fc=nn.Conv2d(6, 5, 1))

    def forward_head(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.mean(dim=(2, 3), keepdim=True)).flatten(1)


class MaxPooled(Made):
    def forward_head(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.amax(dim=(2, 3)))


class OneSizeHead(Made):
    def forward_head(self, x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("The head has positions of 7 x 7 cells.")


class Tokens(Made):
    """Its final features are tokens, the first of them of no patch."""

    def forward_intermediates(
        self, x: torch.Tensor, indices: list[int], *, norm: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        _, maps = super().forward_intermediates(x, indices, norm=norm)
        tokens = maps[-1].flatten(2).transpose(1, 2)
        return torch.cat([tokens[:, :1] * 0, tokens], dim=1), maps

    def forward_head(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x[:, 0])


class OneMore(Made):
    """After the last layer that timm counts there is one more convolution."""

    def __init__(self) -> None:
        super().__init__(fc=nn.Linear(7, 5))
        self.more = nn.Conv2d(6, 7, 1)

    def forward_intermediates(
        self, x: torch.Tensor, indices: list[int], *, norm: bool
    ) -> tuple[torch.Tensor, list[torch.Tensor]]:
        last, maps = super().forward_intermediates(x, indices, norm=norm)
        return self.more(last).relu(), maps


class Plain(Made):
    """All layers have one stride, as in a vision transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.feature_info = [{"reduction": 16}] * 8

    def forward_maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        last = super().forward_maps(x)[-1]
        return [last * i for i in range(8)]


class Unpadded(Made):
    def forward_maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        return super().forward_maps(x[:, :, 8:-8, 8:-8])


class OneSize(Made):
    def forward_maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        assert x.shape[2:] == (224, 224), "Input size differs."
        return super().forward_maps(x)


class Elsewhere(Made):
    """The children stand in another order than they run."""

    def forward_maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        mid = self.act1(self.stem(x))
        return [mid, self.act2(self.norm(self.act1(self.conv(mid))))]


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """The row of a module that timm is made to build."""

    def row(module: nn.Module) -> Any:
        timm_network.cache_clear()
        monkeypatch.setattr(timm, "list_models", lambda: ["made"])
        monkeypatch.setattr(timm, "create_model", lambda *_args, **_named: deepcopy(module))
        return timm_network("made")

    yield row
    timm_network.cache_clear()


def encoder_of(row: Any) -> Encoder:
    layers = tuple(LayerSettings(name=name, dims=4) for name in row.layers)
    settings = MethodSettings(layers=layers, side=96)
    return Encoder(
        LoadedNetwork("made", row, row.build().eval(), ""), settings, precision="float32"
    )


class TestLayers:
    def test_by_hand(self, made: Callable[..., Any]) -> None:
        row = made(Made())
        assert (row.evidence.module, row.evidence.channels, row.evidence.stride) == ("last", 6, 16)
        assert row.layers["last"] == row.evidence
        assert (row.layers["mid"].module, row.layers["mid"].stride) == ("mid", 8)
        assert row.classifier == "network.fc"
        assert (row.side, row.side_multiple) == (608, 1)

    def test_a_transformer_has_one_of_its_layers_as_mid(self, made: Callable[..., Any]) -> None:
        row = made(Plain())
        assert [layer.stride for layer in row.layers.values()] == [16, 16]
        assert row.build.args[2] == {"mid": 5, "last": 7}

    def test_final_maps_are_those_of_the_last_convolution(self, made: Callable[..., Any]) -> None:
        row = made(OneMore())
        assert row.evidence.channels == 7
        assert row.classifier == "network.fc"

    def test_tokens_become_a_grid(self, made: Callable[..., Any]) -> None:
        row = made(Tokens())
        assert (row.evidence.channels, row.evidence.stride) == (6, 16)
        assert row.classifier is None

    def test_normalisations_are_folded_only_where_it_changes_nothing(
        self, made: Callable[..., Any]
    ) -> None:
        assert made(Made()).foldable
        assert not made(Elsewhere()).foldable

    def test_random_numbers_of_others_are_left_as_they_were(self, made: Callable[..., Any]) -> None:
        module = Made()
        torch.manual_seed(3)
        expected = torch.rand(1)
        torch.manual_seed(3)
        made(module)
        assert torch.equal(torch.rand(1), expected)


class TestNegativeMaps:
    def test_both_signs(self) -> None:
        maps = torch.tensor([[[[1.0, -2.0]], [[0.0, 3.0]]]])
        expected = torch.tensor([[[[1.0, 0.0]], [[0.0, 3.0]], [[0.0, 2.0]], [[0.0, 0.0]]]])
        assert torch.equal(both_signs(maps), expected)

    def test_double_the_channels_of_a_layer_that_has_them(self, made: Callable[..., Any]) -> None:
        row = made(Made(act1=nn.GELU(), neck=nn.LayerNorm(6)))
        assert [layer.channels for layer in row.layers.values()] == [8, 6]
        row = made(Made(act2=nn.GELU()))
        assert [layer.channels for layer in row.layers.values()] == [4, 12]

    def test_leave_the_class_scores_as_they_are(self, made: Callable[..., Any]) -> None:
        row = made(Made(act1=nn.SiLU(), act2=nn.SiLU()))
        assert [layer.channels for layer in row.layers.values()] == [8, 12]
        encoder = encoder_of(row)
        batch = batch_of(encoder, [shapes(96, 64, 1)])
        encoded = encoder.encode(batch)
        assert encoded.evidence.levels.min() >= 0
        assert encoded.scores.shape == (1, 5)
        with torch.inference_mode():
            torch.testing.assert_close(encoded.scores, encoder.forward(encoder.normalise(batch)))


class TestLabels:
    def test_of_a_linear_layer_or_a_convolution_of_one_pixel(
        self, made: Callable[..., Any]
    ) -> None:
        for module in (Made(), Pixelwise()):
            encoder = encoder_of(made(module))
            batch = batch_of(encoder, [shapes(96, 64, 1)])
            with torch.inference_mode():
                expected = encoder.forward(encoder.normalise(batch))
            assert expected.shape == (1, 5)
            torch.testing.assert_close(encoder.encode(batch).scores, expected)

    def test_are_left_to_be_learned_where_no_linear_layer_fits(
        self, made: Callable[..., Any]
    ) -> None:
        for module in (
            Made(neck=nn.BatchNorm1d(6)),
            Made(neck=nn.LayerNorm(6)),
            Made(neck=nn.Linear(6, 6)),
            Zeroed(neck=nn.LayerNorm(6)),
            MaxPooled(),
            Made(neck=nn.Linear(6, 9), fc=nn.Linear(9, 5)),
            Made(fc=nn.Identity()),
            Made(fc=nn.Sequential(nn.Linear(6, 5))),
            OneSizeHead(),
        ):
            row = made(module)
            assert row.classifier is None
            encoder = encoder_of(row)
            encoded = encoder.encode(batch_of(encoder, [shapes(96, 64, 1)]))
            assert encoded.scores.shape == (1, 0)
            assert encoded.evidence.levels.shape == (1, 6, 4, 6)


class TestRefusals:
    def test_says_why(self, made: Callable[..., Any]) -> None:
        for module, why in [
            (Unpadded(), "do not cover it evenly"),
            (OneSize(), r"does not accept an image of 192 x 128 pixels \(Input size differs\)"),
            (nn.Sequential(nn.Conv2d(3, 2, 1)), "this version of timm gives no feature maps of it"),
        ]:
            with pytest.raises(SettingsError, match=f"timm:made cannot be used, since .*{why}"):
                made(module)

    def test_a_name_that_timm_does_not_know(self) -> None:
        with pytest.raises(SettingsError, match=r"'resnt18': did you mean resnet18"):
            find_network("timm:resnt18")
        with pytest.raises(SettingsError, match=r"see timm.list_models"):
            find_network("timm:hf-hub:some/thing")

    def test_a_tag_that_timm_does_not_know(self) -> None:
        with pytest.raises(SettingsError, match=r"cannot build 'resnet10t.nope'"):
            find_network("timm:resnet10t.nope")

    @pytest.mark.slow
    @pytest.mark.parametrize(
        ("name", "why"),
        [
            ("mixer_s16_224", r"does not accept .*doesn't match model \(224\)"),
            ("inception_v3", "do not cover it evenly"),
        ],
    )
    def test_of_timm_itself(self, name: str, why: str) -> None:
        with pytest.raises(SettingsError, match=why):
            find_network(f"timm:{name}")


class TestTransformers:
    @pytest.mark.parametrize(
        "name",
        [
            "vit_tiny_patch16_224",
            pytest.param("vit_small_patch14_reg4_dinov2", marks=pytest.mark.slow),
        ],
    )
    def test_patches_are_a_grid_without_class_and_register_tokens(self, name: str) -> None:
        row = find_network(f"timm:{name}")
        module = row.build().eval()
        assert isinstance(module, TimmMaps)
        stride = row.evidence.stride
        image = torch.rand(1, 3, 3 * stride, 9 * stride)
        with torch.inference_mode():
            maps, _ = module.maps(image)
            tokens = module.network.forward_features(image)
        expected = tokens[:, module.network.num_prefix_tokens :].reshape(1, 3, 9, -1)
        torch.testing.assert_close(maps["last"].permute(0, 2, 3, 1), expected)
        assert maps["mid"].shape == maps["last"].shape
        assert tokens.shape[1] > 27

    def test_working_sizes_are_whole_patches(self) -> None:
        settings = network_settings("timm:vit_small_patch14_dinov2")
        assert (settings.side, settings.side_multiple) == (518, 14)
        paper = network_settings("timm:vit_small_patch14_dinov2", "paper")
        assert (paper.side, paper.side_multiple) == (720, 14)
        settings = network_settings("timm:vit_tiny_patch16_224")
        assert (settings.side, settings.side_multiple) == (512, 32)
        assert network_settings("timm:vit_tiny_patch16_224", "paper").side_multiple == 16

    def test_other_sizes_are_refused(self) -> None:
        row = find_network("timm:vit_small_patch14_dinov2")
        loaded = LoadedNetwork("timm:x", row, nn.Identity(), "")
        settings = MethodSettings(layers=(LayerSettings(name="last", dims=4),))
        with pytest.raises(SettingsError, match="multiples of 14 pixels, not of 32: set side_mul"):
            Encoder(loaded, settings)


class TestLoaded:
    def test_with_a_state_dict_of_timm(self, tmp_path: Path) -> None:
        state = timm.create_model("resnet10t", num_classes=1000).state_dict()
        torch.save(state, tmp_path / "w.pth")
        loaded = load_network("timm:resnet10t", tmp_path / "w.pth")
        assert loaded.classifier is not None
        assert torch.equal(loaded.classifier.weight, state["fc.weight"])
        assert loaded.name == "timm:resnet10t"
        assert loaded.network.foldable
        assert not loaded.module.training

    def test_a_classifier_that_is_not_used_is_left_out(self, tmp_path: Path) -> None:
        """With or without it, and whatever its classes are."""
        state = timm.create_model("convnext_atto", num_classes=7).state_dict()
        torch.save(state, tmp_path / "w.pth")
        loaded = load_network("timm:convnext_atto", tmp_path / "w.pth")
        assert loaded.classifier is None
        stem = loaded.module.network.stem[0].weight
        assert torch.equal(stem, state["stem.0.weight"])

    def test_with_the_names_of_the_authors(self, tmp_path: Path) -> None:
        name = "vit_small_patch14_reg4_dinov2"
        state = timm.create_model(name).state_dict()
        theirs = {key.replace("reg_token", "register_tokens"): v for key, v in state.items()}
        theirs |= {"mask_token": torch.zeros(1, 384)}
        classes = torch.zeros(1, 1, 384)
        theirs["pos_embed"] = torch.cat([classes, state["pos_embed"]], dim=1)
        torch.save(theirs, tmp_path / "w.pth")
        module = load_network(f"timm:{name}", tmp_path / "w.pth").module
        assert torch.equal(module.network.reg_token, state["reg_token"])
        assert torch.equal(module.network.pos_embed, state["pos_embed"])

    def test_a_file_that_timm_cannot_convert(self, tmp_path: Path) -> None:
        torch.save({"pos_embed": torch.zeros(5)}, tmp_path / "w.pth")
        with pytest.raises(ArtifactError, match="timm cannot convert the weight file"):
            load_network("timm:vit_small_patch14_dinov2", tmp_path / "w.pth")

    def test_needs_weights(self) -> None:
        with pytest.raises(ArtifactError, match=r"without weights: .*--weights FILE"):
            load_network("timm:resnet10t")

    @pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224"])
    def test_weights_of_another_network(self, tmp_path: Path, name: str) -> None:
        torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "w.pth")
        with pytest.raises(ArtifactError, match=f"do not fit timm:{name}") as refused:
            load_network(f"timm:{name}", tmp_path / "w.pth")
        assert len(str(refused.value)) < 500
