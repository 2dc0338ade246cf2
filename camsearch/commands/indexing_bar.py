"""The progress bar of indexing."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["indexing_bar", "plain_console"]


def plain_console() -> Console:
    """Standard error without markup or line wrapping."""
    return Console(stderr=True, soft_wrap=True, markup=False, highlight=False)


@contextmanager
def indexing_bar(console: Console) -> Iterator[Callable[[int, int, int, int], None]]:
    """Yield a function that shows images done, asked, encoded (for the rate) and refused."""
    columns = (
        TextColumn("indexing"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]:.1f} images/s"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[refused]} rejected"),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("indexing", total=None, rate=0.0, refused=0)

        def show(done: int, asked: int, encoded: int, refused: int) -> None:
            elapsed = bar.tasks[0].elapsed or 0
            rate = encoded / elapsed if elapsed else 0.0
            bar.update(task, completed=done, total=asked, rate=rate, refused=refused)

        yield show
