"""The paper's tables: figures as published, and rows that can be measured."""

from __future__ import annotations

import pytest
from rich.console import Console

from descriptors.errors import ArtifactError, RequestError
from descriptors.settings import RegionSettings
from evaluation.baselines.systems import ALL_BASELINES
from evaluation.ours import OURS
from evaluation.paper import (
    PAPER_DATASETS,
    Cell,
    MeasuredRow,
    MeasuredTable,
    PaperRow,
    PaperTable,
    measure_tables,
    paper_tables,
)
from evaluation.tables import paper_table, reasons
from tests.support.tiny_network import tiny_encoder
from tests.unit.evaluation.miniature import tell_nobody

ROWS = [row for table in paper_tables() for row in table.rows]


class TestPaperTables:
    @pytest.mark.parametrize(
        ("label", "published"),
        [
            ("raw + CroW + PCA", {"oxford5k": 0.607, "paris6k": 0.685}),
            (
                "OfA + R 1000 + QE 5",
                {"oxford5k": 0.801, "paris6k": 0.855, "oxford105k": 0.769, "paris106k": 0.8},
            ),
            ("OnA + QE 10", {"oxford5k": 0.76, "paris6k": 0.873}),
            ("DenseNet-161, 64 CAMs", {"oxford5k": 0.695, "paris6k": 0.799}),
        ],
    )
    def test_figures_of_method_section_9(self, label, published):
        assert [dict(row.published) for row in ROWS if row.label == label] == [published]

    def test_every_row_names_a_system_that_is_there(self):
        assert {row.system for row in ROWS} <= {*OURS, *ALL_BASELINES}
        assert {name for row in ROWS for name in row.published} <= set(PAPER_DATASETS)
        assert len({row.label for table in paper_tables("cost") for row in table.rows}) == 5

    def test_the_settings_are_those_of_the_paper(self):
        for row in ROWS:
            settings = row.settings()
            assert (settings.network, settings.dims) == (row.network, row.dims)
            assert (settings.side, settings.side_is, settings.power) == (720, "shorter", 1)
            assert (settings.n_classes, settings.n_pca) == (row.n_classes or 1, row.n_pca or 1)
            assert (row.stage.window, row.stage.expand) == (row.window, row.expand)

    def test_one_table_alone(self):
        assert [table.name for table in paper_tables("networks")] == ["networks"]

    def test_a_table_that_is_not_there(self):
        with pytest.raises(RequestError, match="choose among paper, features, systems"):
            paper_tables("nonsense")


def _row(label, system, network="tiny", **changes):
    numbers = {"dims": 8, "window": 0, "expand": 0} | changes
    return PaperRow(label, system, network, 4, 4, **numbers, published={"there": 0.25})


class TestMeasureTables:
    def test_what_can_be_and_why_the_rest_cannot(self, trials, cache, monkeypatch):
        monkeypatch.setattr(PaperRow, "settings", _settings)
        rows = (
            _row("ours", "OfA"),
            _row("expanded", "OfA", expand=5),
            _row("theirs", "SPoC"),
            _row("no such stage", "SPoC", window=7),
            _row("no such system", "VLAD"),
            _row("no weights", "OfA", "other"),
        )
        [found] = measure_tables(
            [PaperTable("made", "A made table", rows)],
            {"there": trials, "gone": "It is not here."},
            _load,
            RegionSettings(n_classes=4, min_side=8),
            cache,
            tell_nobody,
        )
        here = {row.row.label: row.cells["there"] for row in found.rows}
        for label in ("ours", "expanded", "theirs"):
            ours = here[label].ours
            assert ours is not None
            assert 0.3 < ours <= 1
        assert here["no such stage"].missing == "SPoC has no stage R7."
        assert here["no such system"].missing.startswith("There is no system 'VLAD'")
        assert here["no weights"] == Cell(None, 0.25, "other has no weights: name a file.")
        assert {row.cells["gone"].missing for row in found.rows} == {"It is not here."}
        assert found.rows[0].cost is not None
        assert found.rows[0].cost.bytes == 4 * 14
        assert any(why.startswith("gone - ours, expanded") for why in reasons([found]))


def _settings(row, network=None):
    """Of the tiny network, whatever the row says; other networks differ by a number."""
    settings = tiny_encoder().settings
    return (
        settings
        if (network or row.network) == "tiny"
        else settings.model_copy(update={"n_classes": 7})
    )


def _load(settings):
    if settings.n_classes == 7:
        raise ArtifactError("other has no weights: name a file.")
    return tiny_encoder(settings)


class TestTable:
    def test_ours_published_and_the_difference(self):
        row = _row("one", "OfA")
        same = MeasuredRow(row, "tiny", {"there": Cell(0.5, 0.25)}, None)
        other = MeasuredRow(row, "another", {"there": Cell(0.5, 0.25)}, None)
        assert same.difference("there") == 0.25
        assert other.difference("there") is None
        console = Console(width=160)
        with console.capture() as capture:
            console.print(paper_table(MeasuredTable("made", "A made table", (same, other))))
        lines = [line for line in capture.get().splitlines() if " one " in line]
        assert "+0.250" in lines[0]
        assert "+0.250" not in lines[1]
