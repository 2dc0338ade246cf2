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
    "windows": 30,
}
AFTER_THE_WHITENING = {"n_classes", "theme", "n_pca", "probability_weights", "windows"}

# What galleries said of their re-ranking before there was diffusion.


class TestPresets:
    def test_paper_is_the_papers(self) -> None:
        paper = MethodSettings.preset("paper")
        assert (paper.n_classes, paper.side, paper.side_is) == (64, 720, "shorter")
        assert (paper.weight_floor, paper.centring_prior, paper.power) == (0, False, 1)
        assert [layer.dims for layer in paper.layers] == [512]
        assert not paper.probability_weights

    def test_regions_of_the_paper(self) -> None:
        paper = RegionSettings.preset("paper")
        assert paper.n_classes == 6
        assert paper.heat_map_classes == 2
        assert paper.thresholds == (0.01, 0.1, 0.2, 0.3, 0.4)
        assert paper.min_side == 5 * 16
        assert not paper.whole_image

    def test_an_older_gallery_expands_as_it_did(self):
        stored = RegionSettings(n_classes=3).model_dump(mode="json")
        assert RegionSettings.of_gallery(stored) == RegionSettings(n_classes=3)
        # What galleries said before there was diffusion, in the words of then.
        old = {k: stored[k] for k in ("n_classes", "heat_map_classes", "thresholds")}
        old |= {k: stored[k] for k in ("expand_with_regions", "remember_regions")}
        old |= {"least_side": stored["min_side"], "whole_picture": stored["whole_image"]}
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
            *({"side": 31}, {"side": 4097}, {"side_is": "longest"}, {"side_multiple": 0}),
            *({"n_classes": 0}, {"n_pca": 0}, {"theme": (-1,)}, {"n_class": 8}, {"layers": ()}),
            *({"weight_floor": number} for number in (-0.1, float("nan"), float("inf"))),
            *({"power": number} for number in (0, 1.5, float("nan"))),
            *({"layers": ({"name": "last", "dims": dims},)} for dims in (0, 4097)),
            {"layers": ({"name": "last", "dims": 8, "dim": 8},)},
        ]:
            with pytest.raises(ValidationError):
                MethodSettings(**bad)

    def test_of_the_regions_are_refused(self) -> None:
        for bad in [
            *({"n_classes": 0}, {"heat_map_classes": 0}, {"min_side": 0}, {"whole": True}),
            *({"thresholds": pair} for pair in ((0.2, 0.1), (0.1, 0.1), (-0.1, 0.1), (0.5, 1.0))),
            {"thresholds": (float("nan"),)},
        ]:
            with pytest.raises(ValidationError):
                RegionSettings(**bad)
        assert RegionSettings(thresholds=()).thresholds == ()

    def test_settings_do_not_change(self) -> None:
        with pytest.raises(ValidationError, match="frozen"):
            MethodSettings().side = 416  # type: ignore[misc]


class TestDigest:
    def test_of_a_preset_stays(self) -> None:
        """An index names its method by this: a change here means every index is built again."""
        assert MethodSettings().digest() == MethodSettings.preset("default").digest()
        assert len(MethodSettings().digest()) == 64
        assert MethodSettings().digest() != MethodSettings.preset("paper").digest()

    def test_changes_with_every_field_and_a_whitening_s_with_those_before_it(self) -> None:
        assert set(OTHER) == set(MethodSettings.model_fields)
        for field, other in OTHER.items():
            changed = MethodSettings(**{field: other})
            assert changed.digest() != MethodSettings().digest()
            same = changed.vector_digest() == MethodSettings().vector_digest()
            assert same == (field in AFTER_THE_WHITENING)

    def test_an_integer_and_its_float_are_one_number(self) -> None:
        assert MethodSettings(power=1).digest() == MethodSettings(power=1.0).digest()

    def test_dims_are_the_layers_together(self) -> None:
        assert MethodSettings().dims == 512
