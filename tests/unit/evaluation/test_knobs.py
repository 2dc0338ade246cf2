"""Settings of an ablation: written, read, refused."""

from __future__ import annotations

import pytest

from descriptors.errors import RequestError
from descriptors.settings import MethodSettings, RegionSettings
from evaluation.knobs import KNOBS, Setup, chosen_knobs, stage_of

SETUP = Setup(MethodSettings(), RegionSettings(), stage_of(100, 5))


@pytest.mark.parametrize("name", KNOBS)
def test_the_value_a_setup_has_changes_nothing(name: str):
    knob = KNOBS[name]
    assert knob.apply(SETUP, knob.read(SETUP)) == SETUP


@pytest.mark.parametrize("name", KNOBS)
def test_every_default_value_can_be_applied(name: str):
    knob = KNOBS[name]
    for value in knob.values:
        changed = knob.apply(SETUP, value)
        assert knob.apply(changed, value) == changed
    assert len({knob.apply(SETUP, value) for value in knob.values}) == len(knob.values)


def test_dims_are_shared_out_as_the_layers_share_them():
    changed = KNOBS["dims"].apply(SETUP, "128")
    assert [layer.dims for layer in changed.settings.layers] == [64, 64]


def test_layers_with_and_without_dimensions():
    changed = KNOBS["layers"].apply(SETUP, "mid:100+last:50")
    assert [(layer.name, layer.dims) for layer in changed.settings.layers] == [
        ("mid", 100),
        ("last", 50),
    ]
    assert KNOBS["layers"].apply(SETUP, "last").settings.dims == 512


def test_a_stage_has_the_name_of_the_tables():
    assert stage_of(0, 0).name == "first"
    assert stage_of(100, 5).name == "R100+QE5"
    assert KNOBS["alpha"].apply(SETUP.first, "3").stage.name == "first+QE5^3"


class TestChosenKnobs:
    def test_names_and_values(self):
        found = chosen_knobs("n_classes,dims=128,256,thresholds=0.1+0.2,power")
        assert [(choice.name, choice.values) for choice in found] == [
            ("n_classes", KNOBS["n_classes"].values),
            ("dims", ("128", "256")),
            ("thresholds", ("0.1+0.2",)),
            ("power", KNOBS["power"].values),
        ]

    def test_all_encodes_nothing(self):
        found = {choice.name for choice in chosen_knobs("all")}
        assert found == KNOBS.keys() - {"side", "layers"}

    @pytest.mark.parametrize("text", ["nonsense", "n_classes,nonsense=1", "", "8,n_classes"])
    def test_a_setting_that_is_not_known(self, text: str):
        with pytest.raises(RequestError, match="--ablate knows no setting"):
            chosen_knobs(text)


@pytest.mark.parametrize(
    ("name", "value", "why"),
    [
        ("n_classes", "many", "is not usable"),
        ("n_classes", "0", "cannot work"),
        ("power", "2", "cannot work"),
        ("centring_prior", "yes", "on or off"),
        ("thresholds", "0.3+0.1", "cannot work"),
        ("qe", "-1", "cannot be -1"),
        ("dims", "some", "is not usable"),
    ],
)
def test_a_value_that_cannot_be(name: str, value: str, why: str):
    with pytest.raises(RequestError, match=why):
        KNOBS[name].apply(SETUP, value)
