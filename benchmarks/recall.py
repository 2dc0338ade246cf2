"""Recall, speed and size of Elasticsearch's index types."""

from __future__ import annotations

import time
import uuid
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from elasticsearch import helpers
from jaxtyping import Float32

from benchmarks.timing import percentiles
from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_bulk import Bulk
from es_mappings.elastic_client import Server
from es_mappings.fields import DESCRIPTOR, source_of
from es_mappings.indices import OVERSAMPLE, IndexPlan, create_gallery, drop_gallery, rejects_index
from galleries.documents import Document, ImageClass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from elasticsearch import Elasticsearch

    from benchmarks.timing import Row
    from es_mappings.indices import Graph

__all__ = ["bench_recall", "empty_gallery", "fill_index", "like_real"]

_K = 100


def like_real(
    descriptors: Float32[np.ndarray, "V D"], count: int, seed: int = 0
) -> Float32[np.ndarray, "W D"]:
    """Synthetic vectors distributed like real descriptors.

    Returns:
        Unit vectors: mixtures of a descriptor with one of its nearest neighbours, plus noise of
        a tenth of their length. No graph can index independent noise.
    """
    rng = np.random.default_rng(seed)
    made = np.empty((count, descriptors.shape[1]), np.float32)
    near = np.argsort(-(descriptors @ descriptors.T), axis=1)[:, 1:11]
    for start in range(0, count, 10_000):
        size = min(10_000, count - start)
        first = rng.integers(len(descriptors), size=size)
        other = near[first, rng.integers(near.shape[1], size=size)]
        share = rng.random((size, 1), dtype=np.float32)
        mixed = share * descriptors[first] + (1 - share) * descriptors[other]
        noise = rng.standard_normal(mixed.shape, dtype=np.float32)
        noise *= 0.1 / np.linalg.norm(noise, axis=1, keepdims=True)
        mixed = mixed / np.linalg.norm(mixed, axis=1, keepdims=True) + noise
        made[start : start + size] = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    return made


def bench_recall(
    client: Elasticsearch,
    descriptors: Float32[np.ndarray, "V D"],
    count: int = 100_000,
    queries: int = 100,
    graphs: Sequence[Graph] = ("int8_hnsw", "bbq_hnsw", "hnsw", "flat"),
    on_progress: Callable[[str], None] = lambda _: None,
) -> list[Row]:
    """Recall at 100 compared with exact search, milliseconds and bytes, for several graphs.

    Convention:
        Vectors and queries come from `like_real`; the server is otherwise idle; rescoring is as
        in a gallery.

    Returns:
        For each graph: hits rescored with full vectors, as a multiple of k (0 for none); the
        share of the exact k nearest that it finds; milliseconds with one client; bytes on disk,
        and bytes that a search reads (quantised vectors and graph); seconds to build it.
    """
    vectors = like_real(descriptors, count + queries)
    asked, vectors = vectors[count:], vectors[:count]
    exact = [set(np.argpartition(-(vectors @ q), _K)[:_K].tolist()) for q in asked]
    rows = []
    for graph in graphs:
        on_progress(f"{graph}: writing {count} vectors")
        with empty_gallery(client, vectors.shape[1], IndexPlan(graph, replicas=0)) as gallery:
            started = time.perf_counter()
            fill_index(client, gallery.index, map(_document, range(count), vectors))
            built = time.perf_counter() - started
            on_progress(f"{graph}: searching")
            recall, took = _search(client, gallery.index, asked, exact)
            about = {"graph": graph, "rescored": OVERSAMPLE.get(graph, 0), "vectors": count}
            row = about | {"k": _K, "recall": recall} | percentiles(took, 2)
            rows.append(row | _bytes(client, gallery.index) | {"build_seconds": built})
    return rows


def _document(number: int, vector: Float32[np.ndarray, " D"]) -> Document:
    return Document(
        id=str(number),
        uri=f"/photos/{number:07d}.jpg",
        digest="d" * 64,
        width=640,
        height=480,
        descriptor=vector,
        classes=(ImageClass("one", 0.5), ImageClass("two", 0.5)),
        meta={"number": number},
        indexed_at="2026-01-01T00:00:00+00:00",
    )


def fill_index(client: Elasticsearch, index: str, documents: Iterable[Document]) -> None:
    """Write documents and merge them into one segment."""
    in_base64 = Server.of(client).takes_base64
    actions = (
        {"_index": index, "_id": one.id, "_source": source_of(one, base64_vector=in_base64)}
        for one in documents
    )
    patient = client.options(request_timeout=3600)
    for _ in helpers.streaming_bulk(patient, actions, max_chunk_bytes=Bulk.max_bytes):
        pass
    patient.indices.forcemerge(index=index, max_num_segments=1)
    patient.indices.refresh(index=index)


def _search(
    client: Elasticsearch,
    index: str,
    asked: Float32[np.ndarray, "Q D"],
    exact: Sequence[set[int]],
) -> tuple[float, list[float]]:
    """Recall, and milliseconds of each search after a warm-up."""
    took, found, warm_up = [], 0, min(20, len(asked))
    for number in (*range(warm_up), *range(len(asked))):
        knn: dict[str, Any] = {
            "field": DESCRIPTOR,
            "query_vector": asked[number].tolist(),
            "k": _K,
            "num_candidates": 2 * _K,
        }
        started = time.perf_counter()
        hits = client.search(index=index, knn=knn, size=_K, source=False)["hits"]["hits"]
        took.append((time.perf_counter() - started) * 1e3)
        if len(took) > warm_up:
            found += len(exact[number] & {int(hit["_id"]) for hit in hits})
    return found / (_K * len(asked)), took[warm_up:]


def _bytes(client: Elasticsearch, index: str) -> Row:
    """Bytes of the index, and of quantised vectors and graph."""
    whole = client.indices.stats(index=index, metric="store")["_all"]["total"]["store"]
    stats = client.indices.stats(index=index, metric="dense_vector")["_all"]["total"]
    off_heap = stats["dense_vector"].get("off_heap", {})
    full = int(off_heap.get("total_vec_size_bytes", 0))
    return {
        "index_bytes": int(whole["size_in_bytes"]),
        "vector_bytes": int(off_heap.get("total_size_bytes", 0)) - full,
    }


@contextmanager
def empty_gallery(
    client: Elasticsearch, dims: int, plan: IndexPlan, windows: int = 0
) -> Iterator[ElasticGallery]:
    """An empty gallery for images of so many windows, dropped afterwards."""
    name = f"camsearch-bench-{uuid.uuid4().hex[:8]}"
    about = {"fingerprint": "b" * 64, "dims": dims, "method": {"windows": windows}}
    index = create_gallery(client, name, about, dims, plan)
    try:
        yield ElasticGallery(client, index, rejects_index(name))
    finally:
        drop_gallery(client, name)
