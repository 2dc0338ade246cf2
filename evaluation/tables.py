"""The rows of an evaluation as tables for the terminal."""

from __future__ import annotations

from itertools import compress
from types import MappingProxyType
from typing import TYPE_CHECKING

from rich.table import Table

from evaluation.datasets.catalogue import PACKAGED
from evaluation.datasets.photos import COLLECTIONS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.ablation import Ablation, Variant
    from evaluation.networks import ComparedNetwork
    from evaluation.paper import MeasuredRow, MeasuredTable
    from evaluation.runs import Evaluation
    from evaluation.scores import Row
    from evaluation.significance import Comparison

# Headings of measures that differ from their names.
_HEADINGS = {COLLECTIONS: "photo collections"}

_SETTINGS = ("N_C", "N_pca", "dims", "R", "QE")

__all__ = [
    "ablation_table",
    "comparison_words",
    "networks_table",
    "paper_table",
    "reasons",
    "rows_table",
    "table_of",
    "where_tables",
]


def table_of(evaluation: Evaluation) -> Table:
    """A table of mAP grouped by stage, with what was measured."""
    queries = evaluation.about.queries
    asked = {"full": "full images"}.get(queries, queries)
    table = rows_table(evaluation.rows)
    table.title = f"mAP, {evaluation.asked} queries ({asked}), {evaluation.photos} images"
    parts = f"mean of {', '.join(evaluation.trials)}; " if len(evaluation.trials) > 1 else ""
    fitted_on = evaluation.about.fitted_on or "the other half"
    packaged = fitted_on == PACKAGED
    table.caption = parts + (
        "packaged whitening" if packaged else f"whitening fitted on {fitted_on}"
    )
    return table


def networks_table(networks: Mapping[str, ComparedNetwork]) -> Table:
    """MAP of each network by stage, and what an image costs with it."""
    title = table_of(next(iter(networks.values())).evaluation)
    table = rows_table(
        [row for one in networks.values() for row in one.evaluation.rows],
        {
            name: {
                "ms an image": f"{one.cost.ms_per_image:.0f}",
                "bytes an image": str(one.index_bytes),
            }
            for name, one in networks.items()
        },
    )
    table.title, table.caption = title.title, title.caption
    table.columns[1].header = "network"
    return table


def where_tables(found: Sequence[Row]) -> list[Table]:
    """Where the thing is in right hits: a table with a line for each stage and measure, if any."""
    rows = [row for row in found if row.where]
    if not rows:
        return []
    table = Table(
        title="Where: right hits among the first 100 whose box fits",
        caption="shares of all hits together; IoU: intersection over union with a true box",
    )
    for heading in ("stage", "system", "queries"):
        table.add_column(heading)
    for heading in ("right hits", "IoU ≥ .3", "IoU ≥ .5", "centre inside"):
        table.add_column(heading, justify="right")
    for row in rows:
        names = (row.stage, row.system)
        for measure, where in row.where.items():
            shares = (f"{share:.3f}" for share in (where.iou_30, where.iou_50, where.centre))
            heading = _HEADINGS.get(measure, measure)
            table.add_row(*names, heading, str(where.right), *shares)
            names = ("", "")
        table.add_section()
    return [table]


def rows_table(
    found: Sequence[Row], more: Mapping[str, Mapping[str, str]] = MappingProxyType({})
) -> Table:
    """Rows grouped by stage; within a stage the best first, and the best bold.

    Args:
        found: of one or several systems.
        more: further cells of each system, by heading.
    """
    table = Table()
    table.add_column("stage")
    table.add_column("system")
    measures = tuple(dict.fromkeys(name for row in found for name in row.measures))
    headings = [_HEADINGS.get(name, name) for name in measures]
    further = dict.fromkeys(heading for cells in more.values() for heading in cells)
    for heading in ("dims", *headings, "ms a query", *further):
        table.add_column(heading, justify="right")
    for stage in dict.fromkeys(row.stage for row in found):
        rows = [row for row in found if row.stage == stage]
        for i, row in enumerate(sorted(rows, key=lambda row: -row.all)):
            cells = [*_cells(row, rows, measures), *more.get(row.system, {}).values()]
            table.add_row("" if i else stage, *cells, end_section=i == len(rows) - 1)
    return table


def _cells(row: Row, rows: Sequence[Row], measures: Sequence[str]) -> list[str]:
    return [
        row.system,
        str(row.dims),
        *(_score(row.measures.get(m), [other.measures.get(m) for other in rows]) for m in measures),
        f"{row.ms_per_query:.1f}",
    ]


def _score(value: float | None, others: Sequence[float | None]) -> str:
    """Three digits, as in the paper's tables, bold for the best."""
    if value is None:
        return "-"
    text = f"{value:.3f}"
    best = max(other for other in others if other is not None)
    return f"[bold]{text}[/bold]" if text == f"{best:.3f}" else text


def ablation_table(ablation: Ablation) -> Table:
    """What each value gains and costs compared with the preset's, setting by setting."""
    table = Table(
        title=f"Preset {ablation.preset} and one setting changed, {ablation.asked} queries, "
        f"{ablation.photos} images",
        caption="p: paired permutation test over scenes, corrected for the number of values (Holm)",
    )
    for heading in ("setting", "value", "stage"):
        table.add_column(heading)
    for heading in ("mAP", "gained", *ablation.trials, "p", "ms an image", "ms a query", "bytes"):
        table.add_column(heading, justify="right")
    for setting, variants in ablation.by_setting.items():
        for i, variant in enumerate(variants):
            cells = _variant_cells(variant, len(ablation.trials))
            table.add_row("" if i else setting, *cells, end_section=i == len(variants) - 1)
    return table


def _variant_cells(variant: Variant, trials: int) -> list[str]:
    if variant.mean is None or variant.cost is None or variant.ms_per_query is None:
        return [variant.value, variant.stage, *["-"] * (trials + 6)]
    costs = [f"{variant.cost.ms_per_image:.1f}", f"{variant.ms_per_query:.1f}"]
    costs.append(str(variant.cost.bytes))
    if variant.against is None or variant.p_value is None:
        cells = [f"{variant.mean:.4f}", "preset", *[""] * (trials + 1)]
    else:
        gains = [variant.against.gained, *variant.against.trials]
        cells = [f"{variant.mean:.4f}", *(f"{gain:+.4f}" for gain in gains)]
        cells.append(f"{variant.p_value:.3f}")
    return [variant.value, variant.stage, *cells, *costs]


def paper_table(measured: MeasuredTable) -> Table:
    """One of the paper's tables: ours, published and the difference for each dataset."""
    datasets = list(measured.rows[0].cells)
    priced = any(row.row.seconds is not None for row in measured.rows)
    figures = [f"{name}: ours,published,difference".split(",") for name in datasets]
    costs = ("ms an image", "published", "bytes") if priced else ()
    headings = (
        "row",
        "network",
        *_SETTINGS,
        *(heading for of in figures for heading in of),
        *costs,
    )
    rows = [
        [*_setting_cells(row), *_figures(row), *(_costs(row) if priced else ())]
        for row in measured.rows
    ]
    # Four datasets have a dozen columns: leave out empty ones.
    used = [any(row[at] for row in rows) for at in range(len(headings))]
    table = Table(title=measured.title)
    for heading in compress(headings, used):
        table.add_column(heading, justify="left" if heading in ("row", "network") else "right")
    for row in rows:
        table.add_row(*compress(row, used))
    return table


def reasons(tables: Sequence[MeasuredTable]) -> list[str]:
    """Why figures of ours are missing, each reason once with its rows."""
    rows: dict[tuple[str, str], list[str]] = {}
    for table in tables:
        for row in table.rows:
            for dataset, cell in row.cells.items():
                if cell.missing:
                    rows.setdefault((dataset, cell.missing), []).append(row.row.label)
    return [
        f"{dataset} - {', '.join(dict.fromkeys(labels))}: {why}"
        for (dataset, why), labels in rows.items()
    ]


def _setting_cells(row: MeasuredRow) -> list[str]:
    of_row = row.row
    numbers = (of_row.n_classes, of_row.n_pca, of_row.dims, of_row.window, of_row.expand)
    return [of_row.label, row.network, *(str(number) if number else "" for number in numbers)]


def _figures(row: MeasuredRow) -> list[str]:
    cells = []
    for name, cell in row.cells.items():
        difference = row.difference(name)
        cells.append("-" if cell.ours is None else f"{cell.ours:.3f}")
        cells.append("" if cell.published is None else f"{cell.published:.3f}")
        cells.append("" if difference is None else f"{difference:+.3f}")
    return cells


def _costs(row: MeasuredRow) -> list[str]:
    published = "" if row.row.seconds is None else f"{row.row.seconds * 1e3:.0f}"
    if row.cost is None:
        return ["-", published, "-"]
    return [f"{row.cost.ms_per_image:.1f}", published, f"{row.cost.bytes:,}"]


def comparison_words(names: tuple[str, str], found: Comparison, trials: Sequence[str]) -> str:
    """One system against another in two sentences."""
    parts = ", ".join(f"{n} {g:+.4f}" for n, g in zip(trials, found.trials, strict=True))
    return (
        f"{names[0]} against {names[1]}: {found.gained:+.4f} mAP ({parts}), 95 % interval "
        f"{found.low:+.4f} to {found.high:+.4f}, p = {found.p_value:.4f} (paired permutation test "
        f"over {found.groups} scenes). {found.better} queries gained, {found.worse} lost, of "
        f"{found.queries}."
    )
