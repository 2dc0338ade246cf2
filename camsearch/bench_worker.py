"""Benchmark: pictures a second through the queue and one worker, against plain indexing."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from camsearch import servers
from camsearch.library import PictureLibrary
from descriptors.errors import RequestError
from descriptors.settings import RegionSettings
from es_mappings import indices
from es_mappings.about import about_method
from evaluation.bench_elastic import BulkRow
from indexer.enqueueing import new_run
from indexer.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from camsearch.settings import CommandSettings

__all__ = ["bench_worker"]

_START_SECONDS = 300
_WARM_UP = 16


def bench_worker(
    settings: CommandSettings,
    pictures: Sequence[Path],
    scratch: Path,
    repeats: int = 3,
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[BulkRow]:
    """Index the same pictures by both ways, in turns, maps kept.

    Args:
        settings: name the servers, which nobody else uses meanwhile.
        pictures: files; encoded each time.
        scratch: an empty folder, for the local gallery and for both kinds of maps.
        repeats: of each.

    Raises:
        RequestError: if the worker does not start.
    """
    name = f"camsearch-bench-{uuid.uuid4().hex[:8]}"
    settings = settings.model_copy(update={"images": name, "queue": name})
    sources = [Source(str(path), str(path)) for path in pictures]
    local, queued = [], []
    with PictureLibrary.create(scratch / "gallery") as library:
        about = about_method(library.method, RegionSettings(), maps=str(scratch / "shared-maps"))
        client = servers.elastic(settings)
        plan = indices.IndexPlan(replicas=0)
        indices.create(client, name, about, about["dims"], plan)
        try:
            with _worker(settings):
                on_progress("starting the worker")
                _enqueue(settings, sources[:_WARM_UP], _START_SECONDS)
                library.index(sources[:_WARM_UP])
                for turn in range(1, repeats + 1):
                    on_progress(f"turn {turn} of {repeats}")
                    started = time.perf_counter()
                    library.index(sources, again=True)
                    local.append(time.perf_counter() - started)
                    queued.append(_enqueue(settings, sources, 10 * local[-1] + 60))
        finally:
            indices.drop(client, name)
    plain, through = (len(sources) / sorted(took)[len(took) // 2] for took in (local, queued))
    count = len(sources)
    return [
        BulkRow("camsearch index, pictures", count, round(plain, 2), None, repeats),
        BulkRow("enqueue + worker, pictures", count, round(through, 2), through / plain, repeats),
    ]


def _enqueue(settings: CommandSettings, sources: Sequence[Source], seconds: float) -> float:
    """Seconds from the first picture sent to the last one counted."""
    sender, run = servers.enqueuer(settings), new_run()
    started = time.perf_counter()
    sender.enqueue(sources, settings.images, run, again=True)
    state = sender.follow(run, lambda _: None, seconds)
    if state is None or not state.over:
        raise RequestError("The worker does not get on: look at its output above.")
    return time.perf_counter() - started


@contextmanager
def _worker(settings: CommandSettings) -> Iterator[None]:
    """A worker in a process of its own."""
    ours = {"CAMSEARCH_QUEUE": settings.queue, "CAMSEARCH_IMAGES": settings.images}
    code = "from camsearch.main import run; run()"
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", code, "worker"],
        env={**os.environ, **ours},
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
