"""Bytes, writing and search of windows in Elasticsearch, by profile."""

from __future__ import annotations

import hashlib
import time
from functools import partial
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float32

from benchmarks.recall import empty_gallery, fill_index, like_real
from benchmarks.timing import percentiles, timed_ms
from descriptors.arrays import Size
from descriptors.classes import class_names
from descriptors.windows import window_boxes
from es_mappings.indices import IndexPlan
from es_mappings.windows import PROFILES
from galleries.documents import Document, ImageClass, Windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from elasticsearch import Elasticsearch

    from benchmarks.timing import Row
    from es_mappings.elastic import ElasticGallery
    from es_mappings.windows import Profile

__all__ = ["bench_nested"]

_WINDOWS, _CLASSES = 14, 8
_K, _WARM_UP = 100, 10
# Documents made at once: some 60 MB of vectors.
_CHUNK = 2000


def bench_nested(
    client: Elasticsearch,
    descriptors: Float32[np.ndarray, "V D"],
    counts: Sequence[int] = (2000,),
    profiles: Sequence[Profile | Literal["none"]] = ("none", *PROFILES),
    queries: int = 50,
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Bytes a document on disk, and milliseconds of searches, for each profile.

    Convention:
        Vectors come from `like_real`, 14 windows a document; one segment; the server is otherwise
        idle. The profile `none` has no windows.

    Returns:
        For each number of documents, profile and search: bytes a document, seconds of writing and
        merging, recall of the 100 documents with the most similar windows, and milliseconds.
    """
    asked = like_real(descriptors, queries, seed=2**32 - 1)
    rows: list[Row] = []
    for count in counts:
        best = _best(descriptors, count, asked)
        for profile in profiles:
            on_progress(f"{profile}: writing {count} documents")
            windows = 0 if profile == "none" else _WINDOWS
            plan = IndexPlan(replicas=0, profile="search" if profile == "search" else "rerank")
            with empty_gallery(client, descriptors.shape[1], plan, windows) as gallery:
                started = time.perf_counter()
                fill_index(client, gallery.index, _documents(descriptors, count, windows))
                about = {
                    "documents": count,
                    "profile": profile,
                    "bytes_a_document": _bytes(client, gallery.index) // count,
                    "build_seconds": round(time.perf_counter() - started, 1),
                }
                rows += [about | row for row in _searches(gallery, asked, best, windows)]
    return rows


def _made(
    descriptors: Float32[np.ndarray, "V D"], count: int
) -> Iterator[tuple[int, Float32[np.ndarray, "N M D"]]]:
    """The windows of all documents, some at a time, with the number of the first."""
    for start in range(0, count, _CHUNK):
        size = min(_CHUNK, count - start)
        made = like_real(descriptors, size * _WINDOWS, seed=start)
        yield start, made.reshape(size, _WINDOWS, -1)


def _documents(
    descriptors: Float32[np.ndarray, "V D"], count: int, windows: int
) -> Iterator[Document]:
    """Images with as many fields and classes as the default method writes."""
    rng = np.random.default_rng(1)
    numbered = (
        (start + n, rows)
        for start, made in _made(descriptors, count)
        for n, rows in enumerate(made)
    )
    for number, rows in numbered:
        size = Size(*rng.integers(480, 641, 2).tolist())
        boxes = window_boxes(_WINDOWS, size)
        chosen = rng.choice(len(class_names()), _CLASSES, replace=False).tolist()
        yield Document(
            id=_id(number),
            uri=f"/{_id(number)}",
            digest=hashlib.sha256(b"%d" % number).hexdigest(),
            width=size.width,
            height=size.height,
            descriptor=rows[0],
            classes=tuple(ImageClass(class_names()[n], round(rng.random(), 6)) for n in chosen),
            source_tag=f"{number}:1760000000",
            indexed_at="2026-01-01T00:00:00+00:00",
            windows=Windows.of(rows, boxes) if windows else None,
        )


def _id(number: int) -> str:
    return f"photos/{number:07d}.jpg"


def _best(
    descriptors: Float32[np.ndarray, "V D"], count: int, asked: Float32[np.ndarray, "Q D"]
) -> list[set[str]]:
    """Of each query, the documents with the most similar windows."""
    parts = [(made @ asked.T).max(axis=1) for _, made in _made(descriptors, count)]
    cosines = np.concatenate(parts)
    return [{_id(number) for number in np.argsort(-of_query)[:_K]} for of_query in cosines.T]


def _searches(
    gallery: ElasticGallery,
    asked: Float32[np.ndarray, "Q D"],
    best: list[set[str]],
    windows: int,
) -> Iterator[Row]:
    """Recall and milliseconds of each kind of search, in turns after a warm-up."""
    some = [_id(number) for number in range(_K)]
    kinds: dict[str, Callable[[Float32[np.ndarray, " D"]], object]] = {
        "whole images": lambda query: gallery.knn(query, _K)
    }
    if windows:
        kinds["windows"] = lambda query: gallery.knn_windows(query, _K)
        kinds["windows of 100 ids"] = lambda query: gallery.knn_windows(query, _K, among=some)
    took: dict[str, list[float]] = {kind: [] for kind in kinds}
    for query in (*asked[:_WARM_UP], *asked):  # all kinds in turn, on the same machine
        for kind, search in kinds.items():
            took[kind].append(timed_ms(partial(search, query)))
    for kind, times in took.items():
        row: Row = {"search": kind, "recall": float("nan")}
        if kind == "windows":
            found = (gallery.knn_windows(query, _K) for query in asked)
            same = [len(b & {hit.id for hit in f}) for b, f in zip(best, found, strict=True)]
            row["recall"] = sum(same) / (_K * len(asked))
        yield row | percentiles(times[min(_WARM_UP, len(asked)) :], 1)


def _bytes(client: Elasticsearch, index: str) -> int:
    client.indices.flush(index=index, wait_if_ongoing=True)
    store = client.indices.stats(index=index, metric="store")["_all"]["total"]["store"]
    return int(store["size_in_bytes"])
