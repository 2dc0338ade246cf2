"""Benchmarks: ratios measured side by side in one run, since machines are noisy."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from jaxtyping import Float32

from descriptors.encoder import to_working_size
from descriptors.images import read_image
from es_mappings.documents import Document
from es_mappings.features import FeatureStore
from es_mappings.kept_maps import pack
from es_mappings.local import LocalGallery
from indexer.encoding import encode_documents
from indexer.reading import IndexingPlan, Prepared, batches_of_one_shape, prepare_pictures
from indexer.sources import Source
from reranker.pipeline import Searcher
from reranker.ranking import SearchPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from descriptors.method import Method
    from descriptors.settings import RegionSettings

__all__ = ["BenchRow", "bench_encode", "bench_rerank", "describe_files"]


@dataclass(frozen=True)
class BenchRow:
    """One line of a benchmark.

    Attributes:
        bench: encode or rerank.
        what: what was timed.
        size: pictures a batch, or R.
        ms_p50, ms_p95: milliseconds of one batch, picture or query, as `what` says.
        ratio: to what it is compared with in the same run; None for the yardstick itself.
        compared_with: that yardstick.
        repeats: measurements.
    """

    bench: str
    what: str
    size: int
    ms_p50: float
    ms_p95: float
    ratio: float | None
    compared_with: str
    repeats: int

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def bench_encode(
    method: Method, pictures: Sequence[Path], batch_sizes: Sequence[int], repeats: int = 15
) -> list[BenchRow]:
    """Pixels to descriptor, against the bare network's forward on the same tensors.

    The two take turns, so that a slow moment of the machine falls on both.

    Returns:
        For each batch size the bare forward, and the description with
        ratio = (pictures/s described) / (pictures/s of the bare forward); then decoding apart.
    """
    rows: list[BenchRow] = []
    pixels = _pixels_of_commonest_shape(method, pictures)
    for size in batch_sizes:
        batch = method.encoder.prepare(list(islice(cycle(pixels), size)))
        bare, described = _take_turns(
            _forward(method, batch), partial(method.describe_images, batch), repeats
        )
        rows.append(_row("encode", "bare forward, a batch", size, bare, None, ""))
        ratio = float(np.median(bare) / np.median(described))
        rows.append(
            _row("encode", "pixels to descriptor, a batch", size, described, ratio, "bare forward")
        )
    decoding = [_decode(method, path) for path in pictures]
    rows.append(_row("encode", "read, decode and resize, a picture", 1, decoding, None, ""))
    return rows


def _forward(method: Method, batch: torch.Tensor) -> Callable[[], object]:
    inputs = method.encoder.normalise(batch)

    def forward() -> object:
        with torch.inference_mode():
            return method.encoder.forward(inputs)

    return forward


def _pixels_of_commonest_shape(method: Method, pictures: Sequence[Path]) -> list[torch.Tensor]:
    pixels = [
        to_working_size(read_image(path.read_bytes()), method.settings) for path in pictures[:32]
    ]
    commonest = Counter(p.shape for p in pixels).most_common(1)[0][0]
    return [p for p in pixels if p.shape == commonest]


def _decode(method: Method, path: Path) -> float:
    start = time.perf_counter()
    picture = read_image(path.read_bytes(), reduce_to=method.settings.side)
    to_working_size(picture, method.settings)
    return (time.perf_counter() - start) * 1e3


def bench_rerank(
    method: Method,
    regions: RegionSettings,
    pictures: Sequence[Path],
    folder: Path,
    windows: Sequence[int],
    repeats: int = 9,
) -> list[BenchRow]:
    """Re-ranking from kept maps, against the same with maps recomputed from the pictures.

    Args:
        method: describes pictures and matches regions.
        regions: settings of the re-ranking.
        pictures: real files; they stand several times in the gallery if they are fewer
            than the largest window, each time with maps of its own to read.
        folder: for the gallery; empty.
        windows: R.
        repeats: queries from kept maps; recomputing, slow and steady, is timed once.

    Returns:
        For each R recomputed, and kept with ratio = kept / recomputed.
    """
    plan = IndexingPlan()
    features = FeatureStore(str(folder / "maps"), method.fingerprint())
    gallery = LocalGallery.create(folder, method.settings.dims, method.fingerprint(), {})
    _fill(method, gallery, features, pictures, max(windows), coarse=regions.coarse_maps)
    queries = [
        method.describe_query(read_image(path.read_bytes()), regions) for path in pictures[:repeats]
    ]
    kept = Searcher(method, gallery, features, regions)
    again = Searcher(method, gallery, None, regions, lambda d: encode_documents(d, method, plan))
    rows = []
    for window in windows:
        search = SearchPlan(k=10, window=window)
        slow = [again.search(queries[0], search).milliseconds["rerank"]]
        kept.search(queries[0], search)
        fast = [kept.search(query, search).milliseconds["rerank"] for query in queries]
        ratio = float(np.median(fast) / np.median(slow))
        rows.append(_row("rerank", "maps recomputed, a query", window, slow, None, ""))
        rows.append(_row("rerank", "kept maps, a query", window, fast, ratio, "maps recomputed"))
    features.close()
    gallery.close()
    return rows


def _fill(
    method: Method,
    gallery: LocalGallery,
    features: FeatureStore,
    pictures: Sequence[Path],
    count: int,
    *,
    coarse: bool,
) -> None:
    """At least `count` documents: the pictures, again and again under further ids."""
    copies = -(-count // len(pictures))
    for document, packed in described_documents(method, pictures, coarse=coarse):
        named = [replace(document, id=f"{document.id}#{copy}") for copy in range(copies)]
        features.put({d.id: packed for d in named})
        gallery.put(named)


def described_documents(
    method: Method, pictures: Sequence[Path], *, coarse: bool
) -> Iterator[tuple[Document, bytes]]:
    """A document a picture that can be read, and its packed maps."""
    sources = [Source(str(path), str(path)) for path in pictures]
    outcomes = prepare_pictures(sources, method.settings, IndexingPlan())
    readable = (p for p in outcomes if isinstance(p, Prepared))
    for batch in batches_of_one_shape(readable, 8):
        described = method.describe_images(method.encoder.prepare([p.pixels for p in batch]))
        packed = pack(described.encoded, [p.digest for p in batch], coarse=coarse)
        for row, (prepared, maps) in enumerate(zip(batch, packed, strict=True)):
            document = Document(
                prepared.source.id,
                prepared.source.uri,
                prepared.digest,
                prepared.size.width,
                prepared.size.height,
                described.descriptors[row].float().cpu().numpy(),
            )
            yield document, maps


def describe_files(method: Method, pictures: Sequence[Path]) -> Float32[np.ndarray, "V D"]:
    """Descriptors of picture files, those that can be read."""
    sources = [Source(str(path), str(path)) for path in pictures]
    outcomes = prepare_pictures(sources, method.settings, IndexingPlan())
    readable = (p for p in outcomes if isinstance(p, Prepared))
    found = [
        method.describe_images(method.encoder.prepare([p.pixels for p in batch])).descriptors
        for batch in batches_of_one_shape(readable, 8)
    ]
    descriptors: Float32[np.ndarray, "V D"] = torch.cat(found).float().cpu().numpy()
    return descriptors


def _take_turns(
    one: Callable[[], object], other: Callable[[], object], repeats: int
) -> tuple[list[float], list[float]]:
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(2):
        one(), other()
    for _ in range(repeats):
        for call, kept in zip((one, other), times, strict=True):
            start = time.perf_counter()
            call()
            _wait_for_device()
            kept.append((time.perf_counter() - start) * 1e3)
    return times


def _wait_for_device() -> None:
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        torch.cuda.synchronize()


def _row(
    bench: str, what: str, size: int, times: list[float], ratio: float | None, against: str
) -> BenchRow:
    p50, p95 = np.percentile(times, [50, 95])
    return BenchRow(
        bench, what, size, round(float(p50), 3), round(float(p95), 3), ratio, against, len(times)
    )
