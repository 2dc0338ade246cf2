"""`camsearch status`: progress of runs, and active workers."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from camsearch.commands.enqueue import GalleryName
from camsearch.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from camsearch.settings import CommandSettings
    from indexer.ledger import RunState, WorkerState

__all__ = ["EXAMPLE", "status"]

EXAMPLE = "Example: camsearch status   or   camsearch status --rejects"

_DAY = 24 * 3600
_ALIVE_SECONDS = 120


def status(
    gallery: GalleryName = None,
    run: Annotated[str | None, typer.Option(help="Show only this run.")] = None,
    rejects: Annotated[
        bool, typer.Option("--rejects", help="List rejected and failed images with reasons.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show progress of runs (asked, done, rejected, failed, rate, time left) and workers."""
    from camsearch import servers
    from descriptors.errors import RequestError

    settings = read_settings()
    if rejects:
        _print_rejects(settings, gallery or settings.images, as_json=as_json)
        return
    with servers.broker_answers(settings):
        ledger = servers.ledger(settings, retries=1)  # someone waits for the answer
        found = ledger.runs() if run is None else [ledger.state(run)]
        runs = [state for state in found if state is not None]
        if run is not None and not runs:
            raise RequestError(f"There is no run {run}: list all runs with `camsearch status`.")
        workers = ledger.workers(since=time.time() - _DAY)
        queued = {"waiting": ledger.waiting(settings.queue), "taken": ledger.taken()}
        failed = ledger.failed(run) if run is not None else {}
    if as_json:
        told: dict[str, Any] = {"queue": queued, "workers": [asdict(w) for w in workers]}
        told["runs"] = [_as_json(state) for state in runs]
        if run is not None:
            told["failed"] = failed
        typer.echo(json.dumps(told, indent=2))
        return
    _print(runs, workers, queued, failed)


def _as_json(state: RunState) -> dict[str, Any]:
    more = {"finished": state.finished, "over": state.over, "rate": _rate(state)}
    return asdict(state) | more


def _rate(state: RunState) -> float:
    """Images per second from the run's start to now, or to its end."""
    end = state.last if state.over else time.time()
    return state.finished / max(end - state.started, 1e-3)


def _print(
    runs: Sequence[RunState],
    workers: Sequence[WorkerState],
    queued: dict[str, int],
    failed: dict[str, str],
) -> None:
    console = Console(soft_wrap=True, highlight=False)
    table = Table()
    for name in ("run", "gallery", "asked", "done", "rejected", "failed", "images/s", "left"):
        table.add_column(name, justify="left" if name in ("run", "gallery") else "right")
    for state in runs:
        table.add_row(*_row(state))
    console.print(table)
    console.print(f"{queued['waiting']} tasks waiting, {queued['taken']} in progress.")
    for worker in workers:
        ago = time.time() - worker.last_progress
        alive = "active" if ago < _ALIVE_SECONDS else "silent"
        console.print(
            f"worker {worker.name} ({worker.device}): {alive}, {worker.images} images, "
            f"the last {ago:.0f} s ago"
        )
    silent = all(time.time() - w.last_progress >= _ALIVE_SECONDS for w in workers)
    if queued["waiting"] and silent:
        console.print("Tasks are waiting and no worker is active. Start one: camsearch worker")
    for id_, reason in failed.items():
        console.print(f"{id_}  [failed]  {reason}", markup=False)


def _row(state: RunState) -> list[str]:
    counts, rate = state.counts, _rate(state)
    refused = counts["rejected"] + counts["failed"]
    left = "over"
    if not state.over:
        seconds = (state.asked - state.finished) / rate if state.finished else float("inf")
        left = f"{seconds / 60:.0f} min" if seconds < _DAY else "?"
    return [
        state.id,
        state.gallery,
        str(state.asked) + ("" if state.enqueued else "+"),
        str(state.finished - refused),
        str(counts["rejected"]),
        str(counts["failed"]),
        f"{rate:.1f}",
        left,
    ]


def _print_rejects(settings: CommandSettings, gallery: str, *, as_json: bool) -> None:
    from camsearch import servers

    opened = servers.elastic_gallery(settings, gallery)
    count = 0
    for reject in opened.rejects():
        count += 1
        if as_json:
            typer.echo(json.dumps(asdict(reject)))
        else:
            typer.echo(f"{reject.id}  [{reject.kind}]  {reject.reason}")
    if not count and not as_json:
        typer.echo("No image was rejected.")
