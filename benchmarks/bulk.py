"""Speed of writing to Elasticsearch: a worker, compared with the bare client."""

from __future__ import annotations

import time
import uuid
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np
import torch
from elasticsearch import helpers
from jaxtyping import Float32

from benchmarks.recall import empty_gallery
from descriptors.arrays import Described, Encoded, FeatureMaps, Size
from descriptors.classes import class_names
from descriptors.errors import RequestError
from descriptors.machine import Machine
from es_mappings.elastic_bulk import Bulk
from es_mappings.fields import source_of
from es_mappings.indices import IndexPlan
from galleries.documents import Document, ImageClass
from indexer.documents import now
from indexer.pipeline import Run
from indexer.progress import Chunk
from indexer.reading import IndexingPlan, Prepared, tag_of
from indexer.sources import Source
from indexer.worker import GalleryWorker
from indexer.writing import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from elasticsearch import Elasticsearch

    from benchmarks.timing import Row
    from es_mappings.elastic import ElasticGallery
    from indexer.ledger import Ledger
    from indexer.progress import Progress
    from indexer.settings import IndexerSettings

__all__ = ["bench_bulk", "bulk_row"]

_BATCH = 8
_BARE = "bare streaming_bulk"
_DIGEST, _SIZE = "d" * 64, Size(640, 480)
_NO_PIXELS = torch.zeros(3, 1, 1, dtype=torch.uint8)
# As many classes as the default method writes, with six decimals.
_PROBABILITIES = torch.tensor([0.412345, 0.2, 0.098765, 0.05, 0.025, 0.0125, 0.007654, 0.004321])


def bench_bulk(
    client: Elasticsearch,
    ledger: Ledger,
    settings: IndexerSettings,
    descriptors: Float32[np.ndarray, "V D"],
    *,
    count: int = 5000,
    repeats: int = 7,
) -> list[Row]:
    """Write as a worker does, without images and network, compared with the bare client.

    Convention:
        Each way writes the same documents from arrays into its own empty index, after a warm-up.
        The order is reversed every turn, since a server's speed changes over time.

    Raises:
        RequestError: if a way does not write these documents.
    """
    with TemporaryDirectory(prefix="camsearch-bench-") as folder:
        vectors = islice(cycle(descriptors), count)
        documents = [_document(Path(folder), i, v) for i, v in enumerate(vectors)]
        stub = _Stub(client, ledger, settings, documents)
        ways: dict[str, Callable[[ElasticGallery], None]] = {
            _BARE: lambda gallery: _write_bare(client, gallery, documents),
            "worker": stub.write,
            f"worker, {settings.chunk} a task": stub.write_in_tasks,
        }
        seconds: dict[str, list[float]] = {name: [] for name in ways}
        for turn in range(repeats + 1):
            for name in ways if turn % 2 else reversed(ways):
                plan = IndexPlan("flat", replicas=0)
                with empty_gallery(client, descriptors.shape[1], plan) as gallery:
                    started = time.perf_counter()
                    ways[name](gallery)
                    took = time.perf_counter() - started
                    _check_written(name, client, gallery, documents)
                if turn:
                    seconds[name].append(took)
    return [_row(name, count, took, seconds[_BARE]) for name, took in seconds.items()]


def _row(name: str, count: int, took: Sequence[float], bare: Sequence[float]) -> Row:
    """Documents per second; the ratio to the bare client is the median over the turns."""
    ratio = None if name == _BARE else float(np.median(np.divide(bare, took)))
    speed = round(count / float(np.median(took)), 1)
    return bulk_row(name, count, speed, ratio, len(took))


def bulk_row(what: str, documents: int, speed: float, ratio: float | None, repeats: int) -> Row:
    """The row of a way of writing: documents per repeat, and documents per second."""
    return {
        "what": what,
        "documents": documents,
        "per_second": speed,
        "ratio": ratio,
        "repeats": repeats,
    }


def _document(folder: Path, number: int, vector: Float32[np.ndarray, " D"]) -> Document:
    """The document that the worker makes of an empty file."""
    path = folder / f"{number:07d}.jpg"
    path.touch()
    scores = [round(p, 6) for p in _PROBABILITIES.tolist()]
    return Document(
        id=str(path),
        uri=str(path),
        digest=_DIGEST,
        width=_SIZE.width,
        height=_SIZE.height,
        descriptor=vector,
        classes=tuple(map(ImageClass, class_names(), scores)),
        meta={"number": number},
        source_tag=tag_of(Source(str(path), str(path))),
        revision=1,
        indexed_at=now(),
    )


def _check_written(
    name: str, client: Elasticsearch, gallery: ElasticGallery, documents: Sequence[Document]
) -> None:
    """Check that all ways write the same documents."""
    client.indices.refresh(index=gallery.index)
    if gallery.count() != len(documents):
        raise RequestError(f"{name} wrote {gallery.count()} of {len(documents)} documents.")
    wanted = documents[len(documents) // 2]
    there = gallery.get([wanted.id])[wanted.id]
    # The time may differ; arrays are compared separately.
    alike = replace(there, descriptor=wanted.descriptor, indexed_at=wanted.indexed_at)
    if alike != wanted or not np.array_equal(there.descriptor, wanted.descriptor):
        raise RequestError(f"{name} wrote a different document: {there}.")


def _write_bare(
    client: Elasticsearch, gallery: ElasticGallery, documents: Sequence[Document]
) -> None:
    actions = (
        {
            "_op_type": "index",
            "_index": gallery.index,
            "_id": document.id,
            "_source": source_of(document, base64_vector=gallery.server.takes_base64),
        }
        for document in documents
    )
    for ok, item in helpers.streaming_bulk(client, actions, max_chunk_bytes=Bulk.max_bytes):
        if not ok:
            raise RequestError(f"Elasticsearch refuses a document: {item}.")


class _Stub(GalleryWorker):
    """A worker with images and descriptors made in advance."""

    def __init__(
        self,
        client: Elasticsearch,
        ledger: Ledger,
        settings: IndexerSettings,
        documents: Sequence[Document],
    ) -> None:
        super().__init__(client, ledger, settings, Machine())
        self._documents = documents
        self._sources = [Source(d.id, d.uri, d.meta, revision=1) for d in documents]
        # The network's output, made before the measurement.
        self._starts = {documents[i].id: i for i in range(0, len(documents), settings.chunk)}
        self._described = {
            start: [
                _described(documents[i : min(i + _BATCH, start + settings.chunk)])
                for i in range(start, min(start + settings.chunk, len(documents)), _BATCH)
            ]
            for start in self._starts.values()
        }

    def write(self, gallery: ElasticGallery) -> None:
        """Write all documents as one task."""
        batches = [batch for task in self._described.values() for batch in task]
        self._run(gallery, self._sources, batches)

    def write_in_tasks(self, gallery: ElasticGallery) -> None:
        """Write all documents as several tasks, without Celery."""
        for start in self._starts.values():
            sources = tuple(self._sources[start : start + self.settings.chunk])
            key = f"bench-{uuid.uuid4().hex}"
            result = self.index(Chunk(key, sources, gallery.index, run=key))
            if result.progress.indexed != len(sources):
                raise RequestError(f"A task did not index all its images: {result}.")

    def _index(self, chunk: Chunk) -> Progress:
        gallery = self.gallery(chunk.gallery)
        batches = self._described[self._starts[chunk.sources[0].id]]
        progress = self._run(gallery, chunk.sources, batches)
        self._beat(self._state.images + progress.finished)
        return progress

    def _run(
        self,
        gallery: ElasticGallery,
        sources: Sequence[Source],
        described: Sequence[Described],
    ) -> Progress:
        """As `index_sources`, including the look-up of indexed images."""
        run = Run(gallery, None, IndexingPlan(class_names=class_names()))
        fresh = run.fresh(sources)
        with Writer(run.keep_maps, run.write) as writer:
            for batch in described:
                some = islice(fresh, len(batch.descriptors))
                images = [Prepared(s, tag_of(s), _DIGEST, _SIZE, _NO_PIXELS) for s in some]
                writer.put((images, batch))
        run.write_rejects()
        return run.progress


def _described(rows: Sequence[Document]) -> Described:
    count = len(rows)
    vectors = torch.from_numpy(np.stack([row.descriptor for row in rows]))
    classes = torch.arange(len(_PROBABILITIES)).expand(count, -1)
    maps = FeatureMaps(torch.zeros(count, 1, 1, 1), torch.ones(count, 1), stride=1)
    nothing = Encoded((), maps, torch.zeros(count, 2), Size(1, 1))
    return Described(vectors, classes, _PROBABILITIES.expand(count, -1), nothing)
