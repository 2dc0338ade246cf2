"""The whole measurement on a small folder with the tiny network: rows, cache, table."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from rich.console import Console
from safetensors.torch import save_file

from descriptors.backbones import NETWORKS
from descriptors.errors import RequestError
from descriptors.settings import RegionSettings
from evaluation.compared.systems import SYSTEMS
from evaluation.evaluate import Evaluation, evaluate_photos, stages_measured
from evaluation.tables import table_of
from tests.support.tiny_network import TINY, tiny_settings, tiny_state
from tests.unit.evaluation.miniature import make_miniature

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.slow  # among the longest modules

FIRST = ("first", "first+QE5", "first+QE10")
RERANKED = ("R100", "R100+QE5", "R100+QE10")
STAGES = {
    "OfA": (*FIRST, *RERANKED, "window100", "window100+QE5"),
    "OnA": (*FIRST, *RERANKED),
    "theme": FIRST,
    **dict.fromkeys(SYSTEMS, FIRST),
    "R-MAC": (*FIRST, "R100", "R100+QE5"),
    "Razavian": ("first",),
    "BoW": ("first", "R100"),
}


class Bench:
    """Folders and a weight file, and what was told of the progress."""

    def __init__(self, root: Path) -> None:
        self.folder = make_miniature(root / "photos")
        self.cache = root / "maps"
        self.weights = root / "tiny.safetensors"
        save_file(tiny_state(), self.weights)
        self.told: list[tuple[str, int, int]] = []

    def run(self, folder: Path | None = None, **changes: Any) -> Evaluation:
        self.told.clear()
        options: dict[str, Any] = {
            "settings": tiny_settings(),
            "regions": RegionSettings(n_classes=4, least_side=8),
            "preset_name": "tiny",
            "cache": self.cache,
            "precision": "float32",
            "weights": self.weights,
            "progress": lambda *told: self.told.append(told),
        }
        return evaluate_photos(folder or self.folder, **(options | changes))

    def encoded(self) -> int:
        return max((done for what, done, _ in self.told if what == "encode"), default=0)


@pytest.fixture(scope="module", autouse=True)
def _tiny_network() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "tiny", TINY)
        yield


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench(tmp_path_factory.mktemp("evaluate"))


@pytest.fixture(scope="module")
def full(bench: Bench) -> Evaluation:
    return bench.run()


class TestEvaluatePhotos:
    def test_every_system_at_every_stage(self, full: Evaluation):
        found = {(row.system, row.stage) for row in full.rows}
        assert stages_measured(None) == STAGES
        expected = {(system, stage) for system, stages in STAGES.items() for stage in stages}
        assert found == expected
        assert len(full.rows) == len(expected)

    def test_rows_say_what_they_are(self, full: Evaluation):
        rows = {(row.system, row.stage): row for row in full.rows}
        ours = rows["OfA", "first"]
        assert (ours.preset, ours.layers, ours.dims) == ("tiny", "mid+last", 14)
        assert rows["SPoC", "first"].dims == 14
        assert rows["raw", "first"].dims == 8 + 12

    def test_all_is_the_mean_of_the_halves(self, full: Evaluation):
        assert full.trials == ("half 0", "half 1")
        for row in full.rows:
            assert row.all == pytest.approx((row.trials[0].all + row.trials[1].all) / 2)
            # Photo collections are in half 1 alone.
            assert row.trials[0].collections is None
            assert row.collections == row.trials[1].collections == row.trials[1].all
            assert 0 <= row.all <= 1
            assert row.ms_per_query > 0

    def test_views_of_a_scene_are_found(self, full: Evaluation):
        for row in full.rows:
            if row.stage == "first":
                assert row.all > 0.5, row.system

    def test_photos_and_queries_are_counted(self, full: Evaluation):
        assert (full.photos, full.asked) == (24, 16)
        assert full.seconds >= full.encoding_seconds > 0

    def test_a_second_run_encodes_nothing_and_agrees(self, bench: Bench, full: Evaluation):
        again = bench.run()
        assert bench.encoded() == 0
        assert [row.all for row in again.rows] == [row.all for row in full.rows]

    @pytest.mark.slow
    def test_other_aggregation_encodes_nothing(self, bench: Bench, full: Evaluation):
        del full
        bench.run(settings=tiny_settings(n_classes=3, power=1.0))
        assert bench.encoded() == 0

    @pytest.mark.slow
    def test_another_size_encodes_all(self, bench: Bench, full: Evaluation):
        del full
        bench.run(settings=tiny_settings(side=48))
        assert bench.encoded() == 24

    def test_some_systems_alone(self, bench: Bench, full: Evaluation):
        found = bench.run(systems=["OnA", "SPoC"])
        assert {row.system for row in found.rows} == {"OnA", "SPoC"}
        known = {(row.system, row.stage): row.all for row in full.rows}
        assert {(row.system, row.stage): row.all for row in found.rows}.items() <= known.items()

    def test_a_system_that_is_not_known(self, bench: Bench):
        with pytest.raises(RequestError, match="no system 'SPOC': choose among OfA, OnA"):
            bench.run(systems=["SPOC"])
        assert not bench.told

    def test_scores_tell_the_first_answers(self, full: Evaluation):
        score = full.scores[0][0]
        assert len(score.answers) == 8
        assert score.query.photo.path not in {answer.path for answer in score.answers}
        right = [rank for rank, answer in enumerate(score.answers) if answer.right]
        assert right == [rank for rank in score.ranks if rank < 8]
        assert score.positives == 3

    def test_boxes(self, bench: Bench, full: Evaluation):
        del full
        boxes = bench.run(queries="boxes")
        assert boxes.asked == 3
        assert len(boxes.rows) == sum(len(stages) for stages in STAGES.values())

    @pytest.mark.slow
    def test_another_folder_to_fit_on(self, bench: Bench, tmp_path: Path):
        other = make_miniature(tmp_path / "other", seed=1)
        found = bench.run(fit_on=other)
        assert found.trials == ("all",)
        assert (found.photos, found.asked) == (48, 16)
        assert found.about.fitted_on == str(other)

    @pytest.mark.slow
    def test_one_layer_with_the_paper_preset(self, bench: Bench):
        found = bench.run(
            settings=tiny_settings("paper", n_pca=4), regions=RegionSettings(n_classes=3)
        )
        assert {row.layers for row in found.rows} == {"last"}

    def test_missing_photo(self, bench: Bench, tmp_path: Path):
        folder = make_miniature(tmp_path / "photos")
        (folder / "instances/gate/002.jpg").unlink()
        with pytest.raises(RequestError, match=r"gate/002\.jpg cannot be read"):
            bench.run(folder)

    def test_damaged_photo(self, bench: Bench, tmp_path: Path):
        folder = make_miniature(tmp_path / "photos")
        path = folder / "instances/gate/002.jpg"
        path.write_bytes(path.read_bytes()[:700])
        with pytest.raises(RequestError, match=r"gate/002\.jpg: The picture is damaged"):
            bench.run(folder)

    def test_too_few_photos_to_fit_on(self, bench: Bench):
        with pytest.raises(RequestError, match="fit on more pictures"):
            bench.run(settings=tiny_settings(n_pca=1, layers=[{"name": "last", "dims": 12}]))


class TestToJson:
    def test_rows_of_names_and_numbers(self, full: Evaluation):
        read = json.loads(full.to_json())
        assert (read["dataset"], read["queries"]) == ("photos", "full")
        assert "scores" not in read
        row = read["rows"][0]
        assert {k: row[k] for k in ("system", "preset", "stage", "layers", "dims")} == {
            "system": "OfA",
            "preset": "tiny",
            "stage": "first",
            "layers": "mid+last",
            "dims": 14,
        }
        assert row["all"] == full.rows[0].all
        assert row["ms_per_query"] > 0
        assert row["trials"][0]["collections"] is None


class TestTable:
    def test_best_first_within_a_stage(self, full: Evaluation):
        table = table_of(full)
        assert table.row_count == len(full.rows)
        stages = [cell for cell in table.columns[0].cells if cell]
        assert stages == list(dict.fromkeys(row.stage for row in full.rows))
        best = max(row.all for row in full.rows if row.stage == "first")
        assert next(iter(table.columns[3].cells)) == f"[bold]{best:.3f}[/bold]"

    def test_it_prints(self, full: Evaluation):
        console = Console(width=120, record=True, file=None, quiet=False)
        with console.capture() as capture:
            console.print(table_of(full))
        assert "mAP, 16 queries (full pictures), 24 photos" in capture.get()
