"""Settings varied one at a time on a small folder, and what is recommended."""

from __future__ import annotations

from dataclasses import replace

import pytest
from rich.console import Console

from descriptors.errors import RequestError
from descriptors.settings import MethodSettings, RegionSettings
from evaluation.ablation import Ablation, Cost, Variant, ablate, sampled
from evaluation.knobs import KNOBS, Setup, chosen_knobs
from evaluation.ours import score_ours
from evaluation.recommending import recommendation
from evaluation.searching import stage_of
from evaluation.significance import Comparison
from evaluation.tables import ablation_table
from tests.support.tiny_network import tiny_encoder, tiny_settings
from tests.unit.evaluation.miniature import tell_nobody

REGIONS = RegionSettings(n_classes=4, min_side=8)
SETUP = Setup(tiny_settings(), REGIONS, stage_of(100, 5))
DEFAULT = Setup(MethodSettings(), RegionSettings(), stage_of(100, 5))


class TestKnobs:
    @pytest.mark.parametrize("name", KNOBS)
    def test_values_are_written_as_they_are_read_and_are_distinct(self, name):
        knob = KNOBS[name]
        assert knob.apply(name, DEFAULT, knob.read(name, DEFAULT)) == DEFAULT
        changed = [knob.apply(name, DEFAULT, value) for value in knob.values]
        assert len(set(changed)) == len(knob.values)
        for value, setup in zip(knob.values, changed, strict=True):
            assert knob.apply(name, setup, value) == setup

    def test_dims_are_shared_out_as_the_layers_share_them(self):
        changed = KNOBS["dims"].apply("dims", DEFAULT, "128")
        assert [layer.dims for layer in changed.settings.layers] == [64, 64]

    def test_layers_with_and_without_dimensions(self):
        changed = KNOBS["layers"].apply("layers", DEFAULT, "mid:100+last:50")
        layers = [(layer.name, layer.dims) for layer in changed.settings.layers]
        assert layers == [("mid", 100), ("last", 50)]
        assert KNOBS["layers"].apply("layers", DEFAULT, "last").settings.dims == 512

    def test_a_stage_has_the_name_of_the_tables(self):
        assert KNOBS["alpha"].apply("alpha", DEFAULT, "3").stage.name == "R100+QE5^3"
        assert KNOBS["window"].apply("window", DEFAULT, "0").stage.name == "first+QE5"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("n_classes", "many"),
            ("n_classes", "0"),
            ("power", "2"),
            ("centring_prior", "yes"),
            ("thresholds", "0.3+0.1"),
            ("qe", "-1"),
            ("dims", "some"),
        ],
    )
    def test_a_value_that_cannot_be(self, name, value):
        with pytest.raises(
            RequestError, match=f"--ablate {name}={value} cannot work".replace("+", ".")
        ):
            KNOBS[name].apply(name, DEFAULT, value)

    def test_names_and_values(self):
        assert chosen_knobs("n_classes,dims=128,256,thresholds=0.1+0.2,power") == {
            "n_classes": KNOBS["n_classes"].values,
            "dims": ("128", "256"),
            "thresholds": ("0.1+0.2",),
            "power": KNOBS["power"].values,
        }
        assert chosen_knobs("all").keys() == KNOBS.keys() - {"side", "layers"}

    @pytest.mark.parametrize("text", ["nonsense", "n_classes,nonsense=1", "", "8,n_classes"])
    def test_a_setting_that_is_not_known(self, text):
        with pytest.raises(RequestError, match="--ablate knows no setting"):
            chosen_knobs(text)


def run(trials, cache, text):
    told: list[str] = []
    found = ablate(
        trials,
        tiny_encoder(),
        SETUP,
        chosen_knobs(text),
        cache,
        lambda what, *_: told.append(what),
        preset_name="tiny",
    )
    return found, told


class TestAblate:
    def test_each_value_beside_the_preset(self, trials, cache):
        found, _ = run(trials, cache, "n_classes=2,4,window=0,100")
        classes = str(SETUP.settings.n_classes)
        assert [(v.setting, v.value, v.stage, v.default) for v in found.variants] == [
            ("n_classes", "2", "first+QE5", classes == "2"),
            ("n_classes", "4", "first+QE5", classes == "4"),
            ("window", "0", "first+QE5", False),
            ("window", "100", "R100+QE5", True),
        ]
        for variant in found.variants:
            assert (variant.against is None) == variant.default
            assert variant.cost is not None
            assert variant.cost.bytes == 4 * SETUP.settings.dims
            assert variant.cost.ms_per_image > 0
        assert (found.photos, found.asked, found.trials) == (24, 16, ("half 0", "half 1"))

    def test_the_presets_own_value_stands_among_those_asked_for(self, trials, cache):
        assert SETUP.settings.n_classes == 4
        found, _ = run(trials, cache, "n_classes=2,8,power=0.7")
        shown = [(v.setting, v.value, v.default) for v in found.variants]
        assert shown[:3] == [
            ("n_classes", "2", False),
            ("n_classes", "4", True),
            ("n_classes", "8", False),
        ]
        assert sorted(default for setting, _, default in shown if setting == "power") == [
            False,
            True,
        ]

    def test_values_are_measured_as_an_evaluation_measures_them(self, trials, encoded, cache):
        found, told = run(trials, cache, "window=0,100,side=48")
        assert "encode" in told
        stages = {"OfA": [stage_of(0, 5), stage_of(100, 5)]}
        scores = [score_ours(trial, encoded, REGIONS, tell_nobody, stages) for trial in trials]
        for variant in found.variants[:2]:
            halves = [
                [s.average_precision for s in of_trial if s.stage == variant.stage]
                for of_trial in scores
            ]
            assert variant.mean == pytest.approx(sum(sum(h) / len(h) for h in halves) / 2)

    def test_what_does_not_change_maps_encodes_nothing_and_failures_are_told(
        self, trials, encoded, cache
    ):
        del encoded
        found, told = run(trials, cache, "n_pca=1,4,dims=400,thresholds=0.2")
        assert "encode" not in told
        assert len({v.cost.encode_ms for v in found.variants if v.cost}) == 1
        console = Console(width=160)
        with console.capture() as capture:
            console.print(ablation_table(found))
        assert "Preset tiny and one setting changed, 16 queries, 24 images" in capture.get()
        said = recommendation(found)
        assert any(s.startswith("dims 400 could not be measured.") for s in said)


class TestSampled:
    def test_spread_over_the_order(self, trials):
        few = sampled(trials, 4)
        for trial, whole in zip(few, trials, strict=True):
            assert trial.gallery == whole.gallery
            assert [query.image.scene for query in trial.queries] == [
                whole.queries[i].image.scene for i in (0, 2, 4, 6)
            ]
        assert sampled(trials, 0) == trials
        assert sampled(trials, 100) == trials


def made_variant(value, gains, p, **changes):
    gained = sum(gains) / len(gains)
    against = Comparison(gained, gains, p, gained - 0.01, gained + 0.01, 9, 3, 20, 10)
    cost = Cost(10, 5, 2048)
    one = Variant("n_classes", value, False, "first+QE5", 0.9 + gained, against, p, cost, 2.0)
    return replace(one, **changes)


def _said(*variants, trials=("half 0", "half 1")):
    default = made_variant("8", (0.0, 0.0), 1.0, default=True, against=None, p_value=None)
    return " ".join(recommendation(Ablation("default", trials, 100, 40, 1.0, (default, *variants))))


class TestRecommendation:
    def test_what_wins_on_both_halves_and_not_by_chance(self):
        said = _said(
            made_variant("16", (0.02, 0.03), 0.004), made_variant("32", (0.011, 0.012), 0.01)
        )
        assert said.startswith("Change n_classes from 8 to 16: +.025 mAP")
        assert "half 0 +.020, half 1 +.030; p = 0.004" in said
        assert "from 8 to 32" not in said

    @pytest.mark.parametrize(
        "variant",
        [
            made_variant("16", (0.06, -0.001), 0.001),  # on one half alone
            made_variant("16", (0.02, 0.03), 0.2),  # perhaps by chance
            made_variant("16", (0.005, 0.005), 0.01),  # an interval that holds 0
        ],
    )
    def test_what_wins_only_nearly(self, variant):
        said = _said(variant)
        assert said.startswith("Keep the preset default: none of the 1 other values is better")
        assert "Change" not in said

    def test_what_is_worse(self):
        said = _said(made_variant("1", (-0.05, -0.07), 0.001))
        assert "Do not set n_classes to 1 (-.060): that is worse on every part." in said

    def test_what_is_cheaper_and_loses_nothing(self):
        cheap = made_variant("4", (0.006, 0.006), 0.5, cost=Cost(10, 5, 1024))
        assert "n_classes 4 saves 1,024 bytes per image and loses at most 0.004 mAP" in _said(cheap)

    def test_one_part_alone_confirms_nothing(self):
        assert "There is only one part" in _said(made_variant("16", (0.03,), 0.01), trials=("all",))

    def test_two_changes_were_not_measured_together(self):
        other = made_variant("512", (0.03, 0.03), 0.001, setting="dims")
        said = _said(made_variant("16", (0.03, 0.03), 0.001), other)
        assert "measure them together" in said
