"""A worker process: images per second, and memory over time."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from benchmarks.bulk import bulk_row
from camsearch import servers
from camsearch.library import ImageLibrary
from descriptors.backbones import load_network
from descriptors.encoder import Encoder
from descriptors.errors import RequestError
from descriptors.method import Method
from descriptors.settings import LayerSettings, MethodSettings, RegionSettings
from es_mappings import indices
from galleries.about import about_method
from indexer.encoding import collect_vectors
from indexer.enqueueing import new_run
from indexer.reading import IndexingPlan
from indexer.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from contextlib import AbstractContextManager

    from benchmarks.timing import Row
    from camsearch.settings import CommandSettings
    from indexer.ledger import RunState

__all__ = ["bench_memory", "bench_worker", "resident_mb", "running"]

_START_SECONDS, _END_SECONDS = 300, 60
_WARM_UP = 16
_CODE = "from camsearch.main import run; run()"


def bench_worker(
    settings: CommandSettings,
    images: Sequence[Path],
    scratch: Path,
    repeats: int = 3,
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Index the same images by `camsearch index` and by a worker, alternating, with maps.

    Raises:
        RequestError: if the worker does not start.
    """
    sources = [Source(str(path), str(path)) for path in images]
    local, queued = [], []
    with ImageLibrary.create(scratch / "gallery", maps="maps") as library:
        about = about_method(library.method, RegionSettings(), maps=str(scratch / "shared-maps"))
        with _index(settings, about) as ours, _worker(ours):
            on_progress("starting the worker")
            _enqueue(ours, sources[:_WARM_UP], _START_SECONDS)
            library.index(sources[:_WARM_UP])
            for turn in range(1, repeats + 1):
                on_progress(f"turn {turn} of {repeats}")
                started = time.perf_counter()
                library.index(sources, again=True)
                local.append(time.perf_counter() - started)
                queued.append(_enqueue(ours, sources, 10 * local[-1] + 60))
    plain, through = (len(sources) / sorted(took)[len(took) // 2] for took in (local, queued))
    count = len(sources)
    return [
        bulk_row("camsearch index, images", count, round(plain, 2), None, repeats),
        bulk_row("enqueue + worker, images", count, round(through, 2), through / plain, repeats),
    ]


def bench_memory(
    settings: CommandSettings,
    scratch: Path,
    count: int = 20_000,
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Resident memory of a worker that indexes many small synthetic images.

    Returns:
        For each quarter of the run: images done by its end, median and maximum memory, the
        median relative to the second quarter's, seconds since the start of the run.

    Raises:
        RequestError: if the worker makes no progress.
    """
    on_progress(f"making {count} images")
    paths = _made_images(scratch / "images", count)
    sources = [Source(str(path), str(path)) for path in paths]
    samples: list[tuple[float, int, float]] = []
    with _index(settings, _small_method(sources[:200], scratch)) as ours, _worker(ours) as process:
        sender, run, started = servers.enqueuer(ours), new_run(), time.perf_counter()

        def sample(state: RunState) -> None:
            passed = time.perf_counter() - started
            samples.append((passed, state.finished, resident_mb(process.pid)))

        sender.enqueue(sources, ours.images, run, sample)
        state = sender.follow(run, sample, _START_SECONDS + count / 5)
        if state is None or state.counts["indexed"] != count:
            raise RequestError("The worker makes no progress: start one by hand to see why.")
    return _quarters(samples, count)


def _made_images(folder: Path, count: int) -> list[Path]:
    """Make small images of random coloured patches."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    paths = [folder / f"{number:06d}.jpg" for number in range(count)]
    for path in paths:
        patches = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
        patches.resize((64, 48), Image.Resampling.BICUBIC).save(path, quality=85)
    return paths


def _small_method(sources: Sequence[Source], scratch: Path) -> dict[str, Any]:
    """The description of the default network at 64 pixels, with a fitted whitening."""
    layers = (LayerSettings(name="mid", dims=32), LayerSettings(name="last", dims=32))
    method_settings = MethodSettings(side=64, layers=layers)
    encoder = Encoder(load_network(method_settings.network), method_settings)
    fitted = collect_vectors(encoder, sources, IndexingPlan()).fit("made images")
    whitening = scratch / "whitening.safetensors"
    fitted.save(whitening)
    maps = str(scratch / "maps")
    return about_method(Method(encoder, fitted), RegionSettings(), whitening=whitening, maps=maps)


def _quarters(samples: Sequence[tuple[float, int, float]], count: int) -> list[Row]:
    quarters = [
        [s for s in samples if (q - 1) * count / 4 < s[1] <= q * count / 4] or samples[-1:]
        for q in range(1, 5)
    ]
    medians = [float(np.median([megabytes for *_, megabytes in here])) for here in quarters]
    return [
        {
            "quarter": quarter,
            "images": here[-1][1],
            "median_mb": round(median, 3),
            "highest_mb": round(max(megabytes for *_, megabytes in here), 3),
            "to_second": round(median / medians[1], 3),
            "seconds": round(here[-1][0], 3),
        }
        for quarter, (here, median) in enumerate(zip(quarters, medians, strict=True), start=1)
    ]


@contextmanager
def _index(settings: CommandSettings, about: Mapping[str, Any]) -> Iterator[CommandSettings]:
    """Settings with a separate queue and index, which is dropped afterwards."""
    name = f"camsearch-bench-{uuid.uuid4().hex[:8]}"
    client = servers.elastic(settings)
    indices.create_gallery(client, name, about, about["dims"], indices.IndexPlan(replicas=0))
    try:
        yield settings.model_copy(update={"images": name, "queue": name})
    finally:
        indices.drop_gallery(client, name)


def _enqueue(settings: CommandSettings, sources: Sequence[Source], seconds: float) -> float:
    """Seconds from the first image sent to the last one counted."""
    sender, run = servers.enqueuer(settings), new_run()
    started = time.perf_counter()
    sender.enqueue(sources, settings.images, run, again=True)
    state = sender.follow(run, lambda _: None, seconds)
    if state is None or not state.over:
        raise RequestError("The worker makes no progress: see its output above.")
    return time.perf_counter() - started


def _worker(settings: CommandSettings) -> AbstractContextManager[subprocess.Popen[str]]:
    ours = {"CAMSEARCH_QUEUE": settings.queue, "CAMSEARCH_IMAGES": settings.images}
    return running("worker", variables=ours)


@contextmanager
def running(
    *arguments: str, variables: Mapping[str, str] | None = None, stderr: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    """Run a camsearch command in a process, and terminate it afterwards."""
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", _CODE, *arguments],
        env={**os.environ, **(variables or {})},
        stderr=stderr,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def resident_mb(pid: int) -> float:
    """Resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
