"""The whole measurement on a small folder with the tiny network: rows, cache, table."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest

from descriptors.errors import RequestError
from descriptors.settings import RegionSettings
from evaluation.baselines.systems import SYSTEMS
from evaluation.datasets.photos import read_trials
from evaluation.runs import About, evaluate_trials, stages_measured
from evaluation.tables import table_of, where_tables
from tests.support.tiny_network import tiny_encoder, tiny_settings, tiny_whitening
from tests.unit.evaluation.miniature import make_miniature, tell_nobody, write_rows

FIRST = ("first", "first+QE5", "first+QE10")
RERANKED = ("R100", "R100+QE5", "R100+QE10")
WINDOWS = ("windows", "windows+QE5", "R100 windows", "R100 windows+QE5", "R100 windows refined")
STAGES = {
    "OfA": (*FIRST, *RERANKED, "window100", "window100+QE5", *WINDOWS),
    "OnA": (*FIRST, *RERANKED),
    "theme": FIRST,
    **dict.fromkeys(SYSTEMS, FIRST),
    "R-MAC": (*FIRST, "R100", "R100+QE5"),
    "Razavian": ("first",),
    "BoW": ("first", "R100"),
}


def run(trials, cache, **changes):
    settings = changes.pop("settings", tiny_settings())
    regions = RegionSettings(n_classes=4, min_side=8)
    options = {"about": About("photos", "here"), "regions": regions, "progress": tell_nobody}
    return evaluate_trials(
        trials,
        encoder=tiny_encoder(settings),
        cache=cache,
        preset_name="tiny",
        **(options | changes),
    )


def tiny_file(folder):
    path = folder / "tiny.safetensors"
    tiny_whitening(tiny_encoder()).save(path)
    return path


@pytest.fixture(scope="module")
def full(trials, encoded, cache):
    del encoded
    return run(trials, cache)


class TestEvaluateTrials:
    def test_every_system_at_every_stage(self, full):
        found = {(row.system, row.stage) for row in full.rows}
        assert stages_measured(None) == STAGES
        expected = {(system, stage) for system, stages in STAGES.items() for stage in stages}
        assert found == expected
        assert len(full.rows) == len(expected)

    def test_rows_say_what_they_are(self, full):
        rows = {(row.system, row.stage): row for row in full.rows}
        ours = rows["OfA", "first"]
        assert (ours.preset, ours.layers, ours.dims) == ("tiny", "mid+last", 14)
        assert rows["SPoC", "first"].dims == 14
        assert rows["raw", "first"].dims == 8 + 12

    def test_all_is_the_mean_of_the_halves(self, full):
        assert full.trials == ("half 0", "half 1")
        for row in full.rows:
            assert row.all == pytest.approx((row.trials[0].all + row.trials[1].all) / 2)
            # Photo collections are in half 1 alone.
            assert row.trials[0].collections is None
            assert row.collections == row.trials[1].collections == row.trials[1].all
            assert 0 <= row.all <= 1
            assert row.ms_per_query > 0

    def test_views_of_a_scene_are_found(self, full):
        for row in full.rows:
            if row.stage == "first":
                assert row.all > 0.5, row.system

    def test_images_and_queries_are_counted(self, full):
        assert (full.photos, full.asked) == (24, 16)
        assert full.seconds >= full.encoding_seconds > 0

    def test_some_systems_alone_encode_nothing_anew_and_agree(self, trials, cache, full):
        told: list[str] = []
        systems = ["OnA", "SPoC"]
        found = run(trials, cache, systems=systems, progress=lambda what, *_: told.append(what))
        assert "encode" not in told
        known = {(row.system, row.stage): row.all for row in full.rows}
        assert {(row.system, row.stage): row.all for row in found.rows} == {
            key: value for key, value in known.items() if key[0] in systems
        }

    def test_queries_by_several_images_are_measured_if_they_are_named(self, trials, cache):
        systems = ["views 2", "negative"]
        found = run(trials, cache, systems=systems)
        assert list(dict.fromkeys(row.system for row in found.rows)) == systems
        assert set(stages_measured(systems)) == set(systems)
        assert all(row.dims == 14 for row in found.rows)

    def test_a_system_that_is_not_known(self, trials, cache):
        with pytest.raises(RequestError, match="no system 'SPOC': choose among OfA, OnA"):
            run(trials, cache, systems=["SPOC"])

    def test_scores_tell_the_first_answers(self, full):
        score = full.scores[0][0]
        assert len(score.answers) == 8
        assert score.query.image.path not in {answer.path for answer in score.answers}
        right = [rank for rank, answer in enumerate(score.answers) if answer.right]
        assert right == [rank for rank in score.ranks if rank < 8]
        assert score.positives == 3

    def test_boxes_with_the_paper_preset_and_one_layer(self, miniature, cache):
        found = run(
            read_trials(miniature, "boxes"),
            cache,
            settings=tiny_settings("paper", n_pca=4),
            regions=RegionSettings(n_classes=3),
        )
        assert found.asked == 3
        assert {row.layers for row in found.rows} == {"last"}
        # The paper has no windows.
        expected = sum(len(stages) for stages in STAGES.values()) - len(WINDOWS)
        assert len(found.rows) == expected

    def test_where_is_told_of_stages_with_boxes(self, miniature, cache, tmp_path):
        folder = shutil.copytree(miniature, tmp_path / "placed")
        boxes = [(f"instances/gate/{i:03d}.jpg", "gate", 8, 8, 80, 72) for i in (1, 2)]
        bridge = ("instances/bridge/001.jpg", "bridge", 8, 8, 80, 72)
        write_rows(folder / "queries.csv", [bridge, *boxes])
        found = run(read_trials(folder, "boxes"), cache, systems=["OfA", "SPoC"])
        rows = {(row.system, row.stage): row for row in found.rows if row.where}
        assert {stage for _, stage in rows} == {*RERANKED, *WINDOWS}
        where = rows["OfA", "R100"].where
        assert {measure: one.right for measure, one in where.items()} == {
            "all": 2,
            "collections": 2,
        }
        assert found.as_dict()["rows"][3]["where"]["all"].keys() == {
            *("right", "iou_30", "iou_50", "centre")
        }
        (table,) = where_tables(found.rows)
        assert table.row_count == 2 * len(rows)

    @pytest.mark.parametrize("systems", [["OfA", "SPoC"], ["SPoC"]])
    def test_no_baseline_has_a_packaged_whitening(self, trials, cache, systems, monkeypatch):
        monkeypatch.setattr("evaluation.fitting.packaged_whitening", lambda _: tiny_file(cache))
        alone = [replace(trials[0], fit=())]
        if systems == ["SPoC"]:
            with pytest.raises(RequestError, match="Left out, SPoC: the packaged whitening is of"):
                run(alone, cache, systems=systems)
            return
        found = run(alone, cache, systems=systems)
        assert {row.system for row in found.rows} == {"OfA"}
        assert found.left_out[0].startswith("Left out, SPoC: the packaged whitening is of our")

    @pytest.mark.parametrize(
        ("size", "why"), [(0, r"gate/002\.jpg: The image is"), (None, r"gate/002\.jpg cannot be")]
    )
    def test_a_damaged_or_a_missing_image(self, tmp_path, size, why):
        folder = make_miniature(tmp_path / "photos")
        path = folder / "instances/gate/002.jpg"
        path.unlink() if size is None else path.write_bytes(path.read_bytes()[:700])
        with pytest.raises(RequestError, match=why):
            run(read_trials(folder, "full"), tmp_path / "maps", systems=["raw"])


class TestTable:
    def test_best_first_within_a_stage(self, full):
        table = table_of(full)
        assert table.row_count == len(full.rows)
        stages = [cell for cell in table.columns[0].cells if cell]
        assert stages == list(dict.fromkeys(row.stage for row in full.rows))
        best = max(row.all for row in full.rows if row.stage == "first")
        assert next(iter(table.columns[3].cells)) == f"[bold]{best:.3f}[/bold]"
