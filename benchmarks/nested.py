"""Bytes, writing and search of windows in Elasticsearch, by profile."""

from __future__ import annotations

import hashlib
import time
from functools import partial
from typing import TYPE_CHECKING

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
    from collections.abc import Callable, Iterator

    from elasticsearch import Elasticsearch

    from benchmarks.timing import Row
    from es_mappings.elastic import ElasticGallery

__all__ = ["bench_nested"]

_WINDOWS, _CLASSES = 14, 8
_K = 100


def bench_nested(
    client: Elasticsearch,
    descriptors: Float32[np.ndarray, "V D"],
    count: int = 2000,
    queries: int = 50,
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Bytes a document on disk, and milliseconds of searches, for each profile.

    Convention:
        Vectors come from `like_real`, 14 windows a document; one segment; the server is otherwise
        idle. The profile `none` has no windows.

    Returns:
        For each profile and search: bytes a document, seconds of writing and merging, recall of
        the 100 documents with the most similar windows, and milliseconds.
    """
    made = like_real(descriptors, count * _WINDOWS + queries)
    asked, made = made[count * _WINDOWS :], made[: count * _WINDOWS]
    vectors = made.reshape(count, _WINDOWS, -1)
    best = [_best(vectors, query) for query in asked]
    rows: list[Row] = []
    for profile in ("none", *PROFILES):
        on_progress(f"{profile}: writing {count} documents")
        windows = 0 if profile == "none" else _WINDOWS
        plan = IndexPlan(replicas=0, profile="search" if profile == "search" else "rerank")
        with empty_gallery(client, vectors.shape[2], plan, windows) as gallery:
            started = time.perf_counter()
            fill_index(client, gallery.index, _documents(vectors, windows))
            about = {
                "profile": profile,
                "bytes_a_document": _bytes(client, gallery.index) // count,
                "build_seconds": time.perf_counter() - started,
            }
            rows += [about | row for row in _searches(gallery, asked, best, windows)]
    return rows


def _documents(vectors: Float32[np.ndarray, "N M D"], windows: int) -> Iterator[Document]:
    """Images with as many fields and classes as the default method writes."""
    rng = np.random.default_rng(1)
    for number, rows in enumerate(vectors):
        size = Size(*rng.integers(480, 641, 2).tolist())
        boxes = window_boxes(vectors.shape[1], size)
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


def _best(vectors: Float32[np.ndarray, "N M D"], query: Float32[np.ndarray, " D"]) -> set[str]:
    cosines = (vectors @ query).max(axis=1)
    return {_id(number) for number in np.argsort(-cosines)[:_K]}


def _searches(
    gallery: ElasticGallery,
    asked: Float32[np.ndarray, "Q D"],
    best: list[set[str]],
    windows: int,
) -> Iterator[Row]:
    """Recall and milliseconds of each kind of search, after a warm-up."""
    some = [_id(number) for number in range(_K)]
    kinds: dict[str, Callable[[Float32[np.ndarray, " D"]], object]] = {
        "whole images": lambda query: gallery.knn(query, _K)
    }
    if windows:
        kinds["windows"] = lambda query: gallery.knn_windows(query, _K)
        kinds["windows of 100 ids"] = lambda query: gallery.knn_windows(query, _K, among=some)
    for kind, search in kinds.items():
        for query in asked[:10]:
            search(query)
        row: Row = {"search": kind, "recall": float("nan")}
        if kind == "windows":
            found = (gallery.knn_windows(query, _K) for query in asked)
            same = [len(b & {hit.id for hit in f}) for b, f in zip(best, found, strict=True)]
            row["recall"] = sum(same) / (_K * len(asked))
        yield row | percentiles([timed_ms(partial(search, query)) for query in asked], 1)


def _bytes(client: Elasticsearch, index: str) -> int:
    client.indices.flush(index=index, wait_if_ongoing=True)
    store = client.indices.stats(index=index, metric="store")["_all"]["total"]["store"]
    return int(store["size_in_bytes"])
