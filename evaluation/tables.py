"""The rows of an evaluation as a table for people."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.evaluate import Evaluation
    from evaluation.scores import Row

__all__ = ["rows_table", "table_of"]


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
