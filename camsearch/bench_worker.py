"""Benchmarks of a worker in a process of its own: pictures a second, and memory over time."""

from __future__ import annotations

import time
import uuid
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from camsearch import servers
from camsearch.bench_process import resident_mb, running
from camsearch.library import PictureLibrary
from descriptors.backbones import load_network
from descriptors.encoder import Encoder
from descriptors.errors import RequestError
from descriptors.method import Method
from descriptors.settings import LayerSettings, MethodSettings, RegionSettings
from es_mappings import indices
from es_mappings.about import about_method
from evaluation.bench_bulk import BulkRow
from indexer.encoding import collect_vectors
from indexer.enqueueing import new_run
from indexer.reading import IndexingPlan
from indexer.sources import Source

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Sequence
    from contextlib import AbstractContextManager

    from camsearch.settings import CommandSettings
    from indexer.ledger import RunState

__all__ = ["MemoryRow", "bench_memory", "bench_worker"]

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


@dataclass(frozen=True)
class MemoryRow:
    """Resident memory of a worker in one quarter of a run.

    Attributes:
        quarter: 1 to 4.
        pictures: done by its end.
        median_mb, highest_mb: of its samples.
        to_second: median over that of the second quarter.
        seconds: since the run began.
    """

    quarter: int
    pictures: int
    median_mb: float
    highest_mb: float
    to_second: float
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def bench_memory(
    settings: CommandSettings,
    scratch: Path,
    count: int = 20_000,
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[MemoryRow]:
    """Many small made pictures through one worker, its memory watched.

    Args:
        settings: name the servers.
        scratch: an empty folder.
        count: pictures, each another.

    Raises:
        RequestError: if the worker does not get on.
    """
    name = f"camsearch-bench-{uuid.uuid4().hex[:8]}"
    settings = settings.model_copy(update={"images": name, "queue": name})
    on_progress(f"making {count} pictures")
    paths = _made_pictures(scratch / "pictures", count)
    about = _small_method(paths[:200], scratch)
    client = servers.elastic(settings)
    indices.create(client, name, about, about["dims"], indices.IndexPlan(replicas=0))
    sender, run = servers.enqueuer(settings), new_run()
    samples: list[tuple[float, int, float]] = []
    try:
        with _worker(settings) as process:
            started = time.perf_counter()

            def sample(state: RunState) -> None:
                samples.append(
                    (time.perf_counter() - started, state.finished, resident_mb(process.pid))
                )

            sources = [Source(str(path), str(path)) for path in paths]
            sender.enqueue(sources, name, run, sample)
            state = sender.follow(run, sample, _START_SECONDS + count / 5)
            if state is None or state.counts["indexed"] != count:
                raise RequestError("The worker does not get on: start one by hand and look.")
    finally:
        indices.drop(client, name)
    return _quarters(samples, count)


def _made_pictures(folder: Path, count: int) -> list[Path]:
    """Small pictures of coloured patches, no two alike."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    paths = [folder / f"{number:06d}.jpg" for number in range(count)]
    for path in paths:
        patches = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        patches.resize((64, 48), Image.Resampling.BICUBIC).save(path, quality=85)
    return paths


def _small_method(pictures: Sequence[Path], scratch: Path) -> dict[str, Any]:
    """About the default network at 64 pixels, with a whitening of its own."""
    layers = (LayerSettings(name="mid", dims=32), LayerSettings(name="last", dims=32))
    method_settings = MethodSettings(side=64, layers=layers)
    encoder = Encoder(load_network(method_settings.network), method_settings)
    sources = [Source(str(path), str(path)) for path in pictures]
    fitted = collect_vectors(encoder, sources, IndexingPlan()).fit("made pictures")
    whitening = scratch / "whitening.safetensors"
    fitted.save(whitening)
    method = Method(encoder, fitted)
    maps = str(scratch / "maps")
    return about_method(method, RegionSettings(), whitening=whitening, maps=maps)


def _quarters(samples: Sequence[tuple[float, int, float]], count: int) -> list[MemoryRow]:
    quarters = [
        [s for s in samples if (q - 1) * count / 4 < s[1] <= q * count / 4] or samples[-1:]
        for q in range(1, 5)
    ]
    medians = [float(np.median([megabytes for *_, megabytes in here])) for here in quarters]
    rows = []
    for quarter, (here, median) in enumerate(zip(quarters, medians, strict=True), start=1):
        to_second = median / medians[1]
        highest = max(megabytes for *_, megabytes in here)
        seconds, done, _ = here[-1]
        numbers = (round(n, 3) for n in (median, highest, to_second, seconds))
        rows.append(MemoryRow(quarter, done, *numbers))
    return rows


def _enqueue(settings: CommandSettings, sources: Sequence[Source], seconds: float) -> float:
    """Seconds from the first picture sent to the last one counted."""
    sender, run = servers.enqueuer(settings), new_run()
    started = time.perf_counter()
    sender.enqueue(sources, settings.images, run, again=True)
    state = sender.follow(run, lambda _: None, seconds)
    if state is None or not state.over:
        raise RequestError("The worker does not get on: look at its output above.")
    return time.perf_counter() - started


def _worker(settings: CommandSettings) -> AbstractContextManager[subprocess.Popen[str]]:
    """A worker in a process of its own."""
    ours = {"CAMSEARCH_QUEUE": settings.queue, "CAMSEARCH_IMAGES": settings.images}
    return running("worker", variables=ours)
