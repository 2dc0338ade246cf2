"""Networks of timm by name: which fit, and why others do not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import timm
import torch
from torch import nn

from descriptors.backbones import find_network, load_network
from descriptors.errors import ArtifactError, SettingsError
from descriptors.networks.timm_networks import timm_network

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
        self.feature_info = [{"module": "act1", "reduction": 8, "num_chs": 4}]

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.act2(self.norm(self.conv(self.act1(self.stem(x)))))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.neck(self.forward_features(x).mean(dim=(2, 3))))

    def get_classifier(self) -> nn.Module:
        return self.fc


class Zeroed(Made):
    """As some networks start: a classifier of 0 agrees with anything."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__(**parts)
        nn.init.zeros_(self.fc.weight)
        nn.init.zeros_(self.fc.bias)


class Tokens(Made):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward_features(x).flatten(2).transpose(1, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.forward_features(x).mean(dim=1))


class MaxPooled(Made):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(self.forward_features(x).amax(dim=(2, 3)))


class Functional(Made):
    """Its last ReLU is a function: no module puts out the maps."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.norm(self.conv(self.act1(self.stem(x)))).relu()


class Nameless(Made):
    """What is pooled comes out of no module at all."""

    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward_features(x) + 1


class Unpadded(Made):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        return self.act2(self.norm(self.conv(self.act1(self.stem(x))[:, :, 1:-1, 1:-1])))


class OneSize(Made):
    def forward_features(self, x: torch.Tensor) -> torch.Tensor:
        assert x.shape[2:] == (224, 224), "Input size differs."
        return super().forward_features(x)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Any]]:
    """The row of a module that timm is made to build."""
    timm_network.cache_clear()

    def row(module: nn.Module) -> Any:
        monkeypatch.setattr(timm, "list_models", lambda: ["made"])
        monkeypatch.setattr(timm, "create_model", lambda *_args, **_named: module)
        return timm_network("made")

    yield row
    timm_network.cache_clear()


class TestRow:
    def test_by_hand(self, made: Callable[..., Any]) -> None:
        row = made(Made())
        assert (row.evidence.module, row.evidence.channels, row.evidence.stride) == ("act2", 6, 16)
        assert row.layers["last"] == row.evidence
        assert (row.layers["mid"].module, row.layers["mid"].stride) == ("act1", 8)
        assert row.classifier == "fc"
        assert not row.rectify

    def test_a_last_relu_that_is_no_module_is_ours_to_do(self, made: Callable[..., Any]) -> None:
        row = made(Functional())
        assert (row.evidence.module, row.rectify) == ("norm", True)

    def test_a_middle_layer_with_negatives_is_left_out(self, made: Callable[..., Any]) -> None:
        assert list(made(Made(act1=nn.SiLU())).layers) == ["last"]

    def test_normalisations_are_folded_only_where_it_changes_nothing(
        self, made: Callable[..., Any]
    ) -> None:
        assert made(Made()).foldable

        class Elsewhere(Made):
            """The children stand in another order than they run."""

            def forward_features(self, x: torch.Tensor) -> torch.Tensor:
                return self.act2(self.norm(self.act1(self.conv(self.act1(self.stem(x))))))

        timm_network.cache_clear()
        assert not made(Elsewhere()).foldable

    def test_random_numbers_of_others_are_left_as_they_were(self, made: Callable[..., Any]) -> None:
        module = Made()
        torch.manual_seed(3)
        expected = torch.rand(1)
        torch.manual_seed(3)
        made(module)
        assert torch.equal(torch.rand(1), expected)


class TestRefusals:
    def test_says_why(self, made: Callable[..., Any]) -> None:
        for module, why in [
            (Made(neck=nn.BatchNorm1d(6)), "a normalisation or a hidden layer between"),
            (Made(neck=nn.LayerNorm(6)), "a normalisation or a hidden layer between"),
            (Made(neck=nn.Linear(6, 6)), "a normalisation or a hidden layer between"),
            (Zeroed(neck=nn.LayerNorm(6)), "a normalisation or a hidden layer between"),
            (MaxPooled(), "another pooling"),
            (
                Made(neck=nn.Linear(6, 9), fc=nn.Linear(9, 5)),
                "6 channels and its linear layer 9 inputs",
            ),
            (Made(fc=nn.Identity()), "classifier is Identity, not one linear layer"),
            (Made(fc=nn.Sequential(nn.Linear(6, 5))), "classifier is Sequential"),
            (Tokens(), r"not maps but \(1, 96, 6\), such as tokens"),
            (Made(act2=nn.SiLU()), "last maps have negative values"),
            (Made(act2=nn.GELU()), "last maps have negative values"),
            (Nameless(), "no submodule of it returns the maps"),
            (Unpadded(), "do not cover it evenly"),
            (OneSize(), r"does not accept an image of 192 x 128 pixels \(Input size differs\)"),
            (nn.Sequential(nn.Conv2d(3, 2, 1)), "does not accept an image"),
        ]:
            with pytest.raises(SettingsError, match=f"timm:made has no class activation .*{why}"):
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
            ("convnext_atto", "a normalisation or a hidden layer between"),
            ("vit_tiny_patch16_224", "does not accept an image"),
            ("mobilenetv3_small_050", "288 channels and its linear layer 1024 inputs"),
            ("efficientnet_b0", "last maps have negative values"),
            ("dla34", "classifier is Conv2d"),
        ],
    )
    def test_of_timm_itself(self, name: str, why: str) -> None:
        with pytest.raises(SettingsError, match=why):
            find_network(f"timm:{name}")


class TestLoaded:
    def test_with_a_state_dict_of_timm(self, tmp_path: Path) -> None:
        state = timm.create_model("resnet10t", num_classes=1000).state_dict()
        torch.save(state, tmp_path / "w.pth")
        loaded = load_network("timm:resnet10t", tmp_path / "w.pth")
        assert torch.equal(loaded.classifier.weight, state["fc.weight"])
        assert loaded.name == "timm:resnet10t"
        assert loaded.network.foldable
        assert not loaded.module.training

    def test_needs_weights(self) -> None:
        with pytest.raises(ArtifactError, match=r"without weights: .*--weights FILE"):
            load_network("timm:resnet10t")

    def test_weights_of_another_network(self, tmp_path: Path) -> None:
        torch.save({"fc.weight": torch.ones(2, 2)}, tmp_path / "w.pth")
        with pytest.raises(ArtifactError, match="do not fit timm:resnet10t"):
            load_network("timm:resnet10t", tmp_path / "w.pth")
