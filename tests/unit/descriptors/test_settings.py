"""Settings: presets, bad values, and digests that change with every number."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from pydantic import ValidationError

from descriptors.errors import SettingsError
from descriptors.settings import PRESETS, LayerSettings, MethodSettings, RegionSettings

# One other value for every field; a new field must be added here.
OTHER: dict[str, Any] = {
    "network": "resnet50",
    "layers": (LayerSettings(name="last", dims=256),),
    "side": 416,
    "side_is": "shorter",
    "side_multiple": 16,
    "n_classes": 9,
    "theme": (1, 2),
    "n_pca": 9,
    "weight_floor": 0.2,
    "centring_prior": False,
    "power": 0.75,
    "probability_weights": True,
}
AFTER_THE_WHITENING = {"n_classes", "theme", "n_pca", "probability_weights"}

# What galleries said of their re-ranking before there was diffusion.
_FIRST_REGION_FIELDS = (
    "n_classes",
    "heat_map_classes",
    "thresholds",
    "min_side",
    "whole_image",
    "expand_with_regions",
    "remember_regions",
)


class TestPresets:
    def test_paper_is_the_papers(self) -> None:
        paper = MethodSettings.preset("paper")
        assert (paper.n_classes, paper.side, paper.side_is) == (64, 720, "shorter")
        assert (paper.weight_floor, paper.centring_prior, paper.power) == (0, False, 1)
        assert [layer.dims for layer in paper.layers] == [512]
        assert not paper.probability_weights

    def test_default_is_the_best_we_know(self) -> None:
        default = MethodSettings.preset("default")
        assert default == MethodSettings()
        assert (default.n_classes, default.n_pca, default.side) == (8, 8, 512)
        assert (default.weight_floor, default.centring_prior, default.power) == (0.1, True, 0.5)
        assert [(layer.name, layer.dims) for layer in default.layers] == [
            ("mid", 256),
            ("last", 256),
        ]

    def test_regions_of_the_paper(self) -> None:
        paper = RegionSettings.preset("paper")
        assert paper.n_classes == 6
        assert paper.heat_map_classes == 2
        assert paper.thresholds == (0.01, 0.1, 0.2, 0.3, 0.4)
        assert paper.min_side == 5 * 16
        assert not paper.whole_image

    def test_regions_of_the_default(self) -> None:
        assert RegionSettings.preset("default") == RegionSettings()
        assert RegionSettings().n_classes == 8
        assert RegionSettings().whole_image

    def test_an_older_gallery_expands_as_it_did(self):
        stored = RegionSettings(n_classes=3).model_dump(mode="json")
        assert RegionSettings.of_gallery(stored) == RegionSettings(n_classes=3)
        old = {k: v for k, v in stored.items() if k in _FIRST_REGION_FIELDS}
        old["least_side"] = old.pop("min_side")  # as they were called
        old["whole_picture"] = old.pop("whole_image")
        assert RegionSettings.of_gallery(old) == RegionSettings(
            n_classes=3, expand_neighbours=0, coarse_maps=False
        )
        for bad in (None, "x", {"n_classes": 0}):
            with pytest.raises(ValueError, match="RegionSettings"):
                RegionSettings.of_gallery(bad)

    @pytest.mark.parametrize("settings", [MethodSettings, RegionSettings])
    def test_an_unknown_preset_names_those_there_are(self, settings: Any) -> None:
        with pytest.raises(SettingsError, match=r"'papper'.*default, paper"):
            settings.preset("papper")
        assert PRESETS == ("default", "paper")

    @pytest.mark.parametrize("name", PRESETS)
    def test_a_preset_travels(self, name: str) -> None:
        preset = MethodSettings.preset(name)
        assert pickle.loads(pickle.dumps(preset)) == preset  # noqa: S301
        assert MethodSettings.model_validate_json(preset.model_dump_json()) == preset
        assert hash(preset) == hash(MethodSettings.preset(name))


class TestBadValues:
    def test_of_the_method_are_refused(self) -> None:
        for bad in [
            {"side": 31},
            {"side": 4097},
            {"side_is": "longest"},
            {"side_multiple": 0},
            {"n_classes": 0},
            {"n_pca": 0},
            {"weight_floor": -0.1},
            {"weight_floor": float("nan")},
            {"weight_floor": float("inf")},
            {"power": 0},
            {"power": 1.5},
            {"power": float("nan")},
            {"layers": ()},
            {"layers": ({"name": "last", "dims": 0},)},
            {"layers": ({"name": "last", "dims": 4097},)},
            {"layers": ({"name": "last", "dims": 8, "dim": 8},)},
            {"theme": (-1,)},
            {"n_class": 8},
        ]:
            with pytest.raises(ValidationError):
                MethodSettings(**bad)

    def test_of_the_regions_are_refused(self) -> None:
        for bad in [
            {"n_classes": 0},
            {"heat_map_classes": 0},
            {"thresholds": (0.2, 0.1)},
            {"thresholds": (0.1, 0.1)},
            {"thresholds": (-0.1, 0.1)},
            {"thresholds": (0.5, 1.0)},
            {"thresholds": (float("nan"),)},
            {"min_side": 0},
            {"whole": True},
        ]:
            with pytest.raises(ValidationError):
                RegionSettings(**bad)

    def test_settings_do_not_change(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            MethodSettings().side = 416  # type: ignore[misc]

    def test_no_threshold_means_the_whole_image_only(self) -> None:
        assert RegionSettings(thresholds=()).thresholds == ()


class TestDigest:
    def test_of_a_preset_stays(self) -> None:
        """An index names its method by this: a change here means every index is built again."""
        assert MethodSettings().digest() == MethodSettings.preset("default").digest()
        assert len(MethodSettings().digest()) == 64
        assert MethodSettings().digest() != MethodSettings.preset("paper").digest()

    def test_every_field_has_another_value_here(self) -> None:
        assert set(OTHER) == set(MethodSettings.model_fields)

    def test_changes_with_every_field(self) -> None:
        for field, other in OTHER.items():
            changed = MethodSettings(**{field: other})
            assert changed.digest() != MethodSettings().digest()

    def test_of_a_whitening_changes_with_what_comes_before_it(self) -> None:
        for field, other in OTHER.items():
            changed = MethodSettings(**{field: other})
            same = changed.vector_digest() == MethodSettings().vector_digest()
            assert same == (field in AFTER_THE_WHITENING)

    def test_an_integer_and_its_float_are_one_number(self) -> None:
        assert MethodSettings(power=1).digest() == MethodSettings(power=1.0).digest()

    def test_dims_are_the_layers_together(self) -> None:
        assert MethodSettings().dims == 512
