"""Encoding, re-ranking and search by windows, without servers."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import replace
from functools import partial
from itertools import cycle, islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float32

from benchmarks.timing import percentiles, take_turns, timed_ms
from benchmarks.worker import resident_mb
from descriptors.arrays import Box
from descriptors.encoder import to_working_size
from descriptors.images import read_image
from galleries.documents import Document, Windows
from galleries.features import FeatureStore
from galleries.local import LocalGallery
from indexer.encoding import encode_documents
from indexer.pipeline import index_sources
from indexer.reading import IndexingPlan
from indexer.sources import Source
from reranker.pipeline import Searcher
from reranker.ranking import SearchPlan

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.timing import Row
    from descriptors.method import Method
    from descriptors.settings import RegionSettings

__all__ = ["bench_encode", "bench_rerank", "bench_windows", "index_files"]

_BATCH = 250


def bench_encode(
    method: Method, images: Sequence[Path], batch_sizes: Sequence[int], repeats: int = 15
) -> list[Row]:
    """From pixels to descriptors, compared with the network's forward pass on the same tensors.

    Returns:
        For each batch size the forward pass, and the description with
        ratio = (images/s described) / (images/s of the forward pass); then decoding alone.
    """
    pixels = [_pixels(method, path) for path in images[:32]]
    commonest = Counter(one.shape for one in pixels).most_common(1)[0][0]
    pixels = [one for one in pixels if one.shape == commonest]
    rows = []
    for size in batch_sizes:
        batch = method.encoder.prepare(list(islice(cycle(pixels), size)))
        forward = torch.inference_mode()(
            partial(method.encoder.forward, method.encoder.normalise(batch))
        )
        bare, described = take_turns(forward, partial(method.describe_images, batch), repeats)
        ratio = float(np.median(bare) / np.median(described))
        rows += [
            _row("encode", "bare forward, a batch", size, bare),
            _row("encode", "pixels to descriptor, a batch", size, described, ratio, "bare forward"),
        ]
    decoding = [timed_ms(partial(_pixels, method, path)) for path in images]
    return [*rows, _row("encode", "read, decode and resize, an image", 1, decoding)]


def _pixels(method: Method, path: Path) -> torch.Tensor:
    image = read_image(path.read_bytes(), reduce_to=method.settings.side)
    pixels: torch.Tensor = to_working_size(image, method.settings)
    return pixels


def bench_rerank(
    method: Method,
    regions: RegionSettings,
    images: Sequence[Path],
    folder: Path,
    windows: Sequence[int],
    repeats: int = 9,
) -> list[Row]:
    """Re-ranking with stored maps, compared with maps recomputed from the images.

    Convention:
        If there are fewer images than the largest window (R), the gallery has copies with maps
        of their own. Recomputing is timed once, since it is slow and varies little.

    Returns:
        For each R: recomputed maps, and stored maps with ratio = stored / recomputed.
    """
    features = FeatureStore(str(folder / "maps"), method.fingerprint())
    originals = index_files(method, images, folder / "originals", features, regions)
    packed = features.packed([one.id for one in originals])
    gallery = LocalGallery.create(
        folder / "gallery", method.settings.dims, method.fingerprint(), {}
    )
    for copy in range(-(-max(windows) // len(originals))):
        named = {f"{one.id}#{copy}": one for one in originals}
        features.put({id_: packed[one.id] for id_, one in named.items()})
        gallery.put([replace(one, id=id_) for id_, one in named.items()])
    queries = [
        method.describe_query(read_image(path.read_bytes()), regions) for path in images[:repeats]
    ]
    kept = Searcher(method, gallery, features, regions)
    encode = partial(encode_documents, method=method, plan=IndexingPlan())
    again = Searcher(method, gallery, None, regions, encode)
    rows = []
    for window in windows:
        plan = SearchPlan(k=10, window=window, by="maps")
        slow = [again.search(queries[0], plan).milliseconds["rerank"]]
        kept.search(queries[0], plan)
        fast = [kept.search(query, plan).milliseconds["rerank"] for query in queries]
        ratio = float(np.median(fast) / np.median(slow))
        rows += [
            _row("rerank", "maps recomputed, a query", window, slow),
            _row("rerank", "kept maps, a query", window, fast, ratio, "maps recomputed"),
        ]
    for part in (kept, again, features, gallery):
        part.close()
    return rows


def bench_windows(
    folder: Path, counts: Sequence[int], dims: int = 512, windows: int = 14, repeats: int = 30
) -> list[Row]:
    """Search by windows in local galleries of made vectors, compared with whole images.

    Returns:
        For each number of images: whole images, windows with ratio = windows / whole images, the
        same restricted to the first 100 and 1,000 ids, and the process's memory after all of them.
    """
    rows, rng = [], np.random.default_rng(0)
    axes = rng.standard_normal((64, dims), dtype=np.float32)
    for count in counts:
        with LocalGallery.create(
            folder / str(count), dims, "f" * 64, {"method": {"windows": windows}}
        ) as gallery:
            for start in range(0, count, _BATCH):
                size = min(_BATCH, count - start)
                parts = _made(rng, axes, size * windows).reshape(size, windows, dims)
                gallery.put([_document(start + i, own) for i, own in enumerate(parts)])
            times = _window_times(gallery, _made(rng, axes, repeats))
            whole = float(np.median(times["whole images, k 100"]))
            memory = {"resident_mb": round(resident_mb(os.getpid()))}
            for what, took in times.items():
                ratio = None if "whole" in what else float(np.median(took)) / whole
                to = "" if ratio is None else "whole images"
                rows.append(_row("windows", what, count, took, ratio, to) | memory)
    return rows


def _made(
    rng: np.random.Generator, axes: Float32[np.ndarray, "J D"], count: int
) -> Float32[np.ndarray, "N D"]:
    """Unit vectors that are mostly within a few axes."""
    noise = 0.3 * rng.standard_normal((count, axes.shape[1]), dtype=np.float32)
    vectors = rng.standard_normal((count, len(axes)), dtype=np.float32) @ axes / 8 + noise
    unit: Float32[np.ndarray, "N D"] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _document(number: int, parts: Float32[np.ndarray, "M D"]) -> Document:
    windows = Windows.of(parts, [Box(0, 0, 640, 480)] * len(parts))
    id_ = f"{number:08d}"
    return Document(id_, id_, "d" * 64, 640, 480, descriptor=parts[0], windows=windows)


def _window_times(
    gallery: LocalGallery, queries: Float32[np.ndarray, "N D"]
) -> dict[str, list[float]]:
    """Milliseconds of each query by kind of search."""
    first = [[hit.id for hit in gallery.knn(query, 1000)] for query in queries]
    gallery.knn_windows(queries[0], 1)  # reads what it keeps in memory

    def windows(k: int, among: int | None) -> list[float]:
        return [
            timed_ms(partial(gallery.knn_windows, query, k, among=ids[:among] if among else None))
            for query, ids in zip(queries, first, strict=True)
        ]

    return {
        "whole images, k 100": [timed_ms(partial(gallery.knn, query, 100)) for query in queries],
        "windows, k 100": windows(100, None),
        "windows of 100 ids": windows(100, 100),
        "windows of 1,000 ids": windows(1000, 1000),
    }


def index_files(
    method: Method,
    images: Sequence[Path],
    folder: Path,
    features: FeatureStore | None = None,
    regions: RegionSettings | None = None,
) -> list[Document]:
    """Index image files into a local gallery in an empty folder, and return the documents."""
    plan = IndexingPlan(coarse_maps=regions is not None and regions.coarse_maps)
    sources = [Source(str(path), str(path)) for path in images]
    with LocalGallery.create(folder, method.settings.dims, method.fingerprint(), {}) as gallery:
        index_sources(sources, method, gallery, features, plan)
        return list(gallery.documents())


def _row(
    bench: str, what: str, size: int, times: list[float], ratio: float | None = None, to: str = ""
) -> Row:
    about = {"bench": bench, "what": what, "size": size}
    compared = {"ratio": ratio, "compared_with": to, "repeats": len(times)}
    return about | percentiles(times) | compared
