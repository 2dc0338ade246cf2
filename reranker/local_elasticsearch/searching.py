"""A search done on a gallery, and its answer in Elasticsearch's shape."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from es_mappings.documents import Document
from es_mappings.filters import And, Ids
from reranker.local_elasticsearch.knn_clause import KnnClause
from reranker.local_elasticsearch.plain_query import PlainQuery, both
from reranker.local_elasticsearch.search_body import LocalSearch

if TYPE_CHECKING:
    from es_mappings.local import LocalGallery

__all__ = ["ONE_SHARD", "nothing_found", "search"]

ONE_SHARD = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
_NO_SHARD = {"total": 0, "successful": 0, "skipped": 0, "failed": 0}


@dataclass(frozen=True)
class _Found:
    """Hits of a search: how many, the best score, and those of the page."""

    total: int
    best: float | None
    page: Sequence[tuple[Document, float]]


def search(gallery: LocalGallery, index: str, asked: LocalSearch) -> dict[str, Any]:
    """The answer to a search.

    Raises:
        Refused: the vector does not fit the gallery.
        RequestError: a filter names a field that no document can have.
    """
    start = time.perf_counter()
    if isinstance(asked.asked, KnnClause):
        found = _nearest(gallery, index, asked.asked, asked)
    else:
        found = _matching(gallery, asked.asked, asked)
    hits: dict[str, Any] = _total(found.total, asked.counted)
    hits["max_score"] = found.best if asked.size else None
    hits["hits"] = [_hit(document, score, index, asked) for document, score in found.page]
    return _answer(hits, ONE_SHARD, start)


def nothing_found() -> dict[str, Any]:
    """The answer of no index at all."""
    total = {"value": 0, "relation": "eq"}
    hits = {"total": total, "max_score": 0.0, "hits": []}
    return _answer(hits, _NO_SHARD, time.perf_counter())


def _nearest(gallery: LocalGallery, index: str, knn: KnnClause, asked: LocalSearch) -> _Found:
    knn.check(gallery.dims, index)
    hits = gallery.knn(knn.vector, knn.k, knn.matching)
    if knn.similarity is not None:
        hits = [hit for hit in hits if hit.cosine >= knn.similarity]
    scored = [(hit.id, _rounded(knn.boost * (1 + hit.cosine) / 2)) for hit in hits]
    if asked.min_score is not None:
        scored = [(id_, score) for id_, score in scored if score >= asked.min_score]
    if asked.post_filter is not None:
        kept = And((Ids(tuple(id_ for id_, _ in scored)), asked.post_filter))
        ids = {document.id for document in gallery.documents(kept)}
        scored = [(id_, score) for id_, score in scored if id_ in ids]
    page = scored[asked.start : asked.start + asked.size]
    # A document may have been deleted since the search.
    there = gallery.get([id_ for id_, _ in page])
    best = scored[0][1] if scored else None
    return _Found(len(scored), best, [(there[id_], score) for id_, score in page if id_ in there])


def _matching(gallery: LocalGallery, query: PlainQuery, asked: LocalSearch) -> _Found:
    if asked.min_score is not None and query.score < asked.min_score:
        return _Found(0, None, [])
    matching = both(query.matching, asked.post_filter)
    total = gallery.count(matching)
    page: list[Document] = []
    if asked.size and asked.start < total:
        page = list(islice(gallery.documents(matching), asked.start, asked.start + asked.size))
    score = _rounded(query.score)
    return _Found(total, score if total else None, [(document, score) for document in page])


def _hit(document: Document, score: float, index: str, asked: LocalSearch) -> dict[str, Any]:
    hit: dict[str, Any] = {"_index": index, "_id": document.id, "_score": score}
    if asked.source.shown:
        hit["_source"] = asked.source.of(document)
    fields = {} if asked.fields is None else asked.fields.of(document, index)
    if fields:
        hit["fields"] = fields
    return hit


def _total(total: int, counted: int | None) -> dict[str, Any]:
    if counted == 0:
        return {}
    if counted is None or total <= counted:
        return {"total": {"value": total, "relation": "eq"}}
    return {"total": {"value": counted, "relation": "gte"}}


def _answer(hits: dict[str, Any], shards: dict[str, int], start: float) -> dict[str, Any]:
    took = int((time.perf_counter() - start) * 1e3)
    return {"took": took, "timed_out": False, "_shards": shards, "hits": hits}


def _rounded(score: float) -> float:
    """A score with the digits of a float32, as Elasticsearch writes it."""
    return float(str(np.float32(score)))
