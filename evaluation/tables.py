"""The rows of an evaluation as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.ablation import Ablation, Variant
    from evaluation.evaluate import Evaluation
    from evaluation.scores import Row

__all__ = ["ablation_table", "rows_table", "table_of"]


def table_of(evaluation: Evaluation) -> Table:
    """A table of mAP grouped by stage; within a stage the best first, and the best bold."""
    queries = evaluation.about.queries
    asked = {"full": "full pictures"}.get(queries, queries)
    table = rows_table(evaluation.rows)
    table.title = f"mAP, {evaluation.asked} queries ({asked}), {evaluation.photos} photos"
    table.caption = f"mean of {', '.join(evaluation.trials)}; whitening fitted on other photos"
    return table


def rows_table(found: Sequence[Row]) -> Table:
    """Rows grouped by stage; within a stage the best first, and the best bold."""
    table = Table()
    table.add_column("stage")
    table.add_column("system")
    for heading in ("dims", "all", "photo collections", "ms a query"):
        table.add_column(heading, justify="right")
    for stage in dict.fromkeys(row.stage for row in found):
        rows = [row for row in found if row.stage == stage]
        for i, row in enumerate(sorted(rows, key=lambda row: -row.all)):
            table.add_row("" if i else stage, *_cells(row, rows), end_section=i == len(rows) - 1)
    return table


def _cells(row: Row, rows: Sequence[Row]) -> list[str]:
    return [
        row.system,
        str(row.dims),
        _score(row.all, [other.all for other in rows]),
        _score(row.collections, [other.collections for other in rows]),
        f"{row.ms_per_query:.1f}",
    ]


def _score(value: float | None, others: Sequence[float | None]) -> str:
    """Three digits as METHOD writes them, bold for the best."""
    if value is None:
        return "-"
    text = f"{value:.3f}"
    best = max(other for other in others if other is not None)
    return f"[bold]{text}[/bold]" if text == f"{best:.3f}" else text


def ablation_table(ablation: Ablation) -> Table:
    """What each value gains and costs against the preset's, setting by setting."""
    table = Table(
        title=f"Preset {ablation.preset} and one setting changed, {ablation.asked} queries, "
        f"{ablation.photos} photos",
        caption="p: paired permutation test over scenes, raised for the number of values (Holm)",
    )
    for heading in ("setting", "value", "stage"):
        table.add_column(heading)
    for heading in ("mAP", "gained", *ablation.trials, "p", "ms a picture", "ms a query", "bytes"):
        table.add_column(heading, justify="right")
    for setting in dict.fromkeys(variant.setting for variant in ablation.variants):
        variants = [v for v in ablation.variants if v.setting == setting]
        for i, variant in enumerate(variants):
            cells = _variant_cells(variant, len(ablation.trials))
            table.add_row("" if i else setting, *cells, end_section=i == len(variants) - 1)
    return table


def _variant_cells(variant: Variant, trials: int) -> list[str]:
    if variant.mean is None or variant.cost is None or variant.ms_per_query is None:
        return [variant.value, variant.stage, *["-"] * (trials + 6)]
    costs = [f"{variant.cost.ms_per_picture:.1f}", f"{variant.ms_per_query:.1f}"]
    costs.append(str(variant.cost.bytes))
    if variant.against is None or variant.p_value is None:
        cells = [f"{variant.mean:.4f}", "preset", *[""] * (trials + 1)]
    else:
        gains = [variant.against.gained, *variant.against.trials]
        cells = [f"{variant.mean:.4f}", *(f"{gain:+.4f}" for gain in gains)]
        cells.append(f"{variant.p_value:.3f}")
    return [variant.value, variant.stage, *cells, *costs]
