"""The bodies of a second search, which has the vector of the expanded query."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from es_mappings.windows import MAX_HITS
from galleries.gallery import FIRST_DOCUMENTS
from reranker.dialect.searches import QueryVectors, VisualSearch, asked_body, changed
from reranker.dialect.values import max_copies

__all__ = ["again_body", "documents_body", "shown_at_most", "wide_body"]

# Sections that only the first search sends.
_ONCE = ("aggs", "aggregations", "suggest", "profile")
# Sections that say what is returned of a hit.
_OF_HITS = ("fields", "docvalue_fields", "script_fields", "stored_fields", "highlight", "explain")
_ABOUT_HITS = ("version", "seq_no_primary_term", "track_total_hits", "_source", "size")

_WIDE_CANDIDATES = 1500


def again_body(search: VisualSearch, vectors: QueryVectors) -> bytes:
    """As `first_body` with the expanded vector, without aggregations, suggestions and profile."""
    return orjson.dumps(_again(search, vectors), option=orjson.OPT_SERIALIZE_NUMPY)


def wide_body(search: VisualSearch, vectors: QueryVectors) -> dict[str, Any]:
    """A search for the ids of the first 1,000 hits by whole images, with the caller's filters.

    Args:
        search: which is by vectors alone.
        vectors: of the image of each slot.
    """
    body = {k: v for k, v in _again(search, vectors).items() if k not in (*_OF_HITS, *_ABOUT_HITS)}
    [slot] = search.slots
    clause = _at(body, slot.path)
    k = max(FIRST_DOCUMENTS, shown_at_most(search))
    candidates = max(_WIDE_CANDIDATES, k, clause.get("num_candidates", 0))
    wide = {
        "query_vector": [float(one) for one in clause["query_vector"]],
        "k": k,
        "num_candidates": min(candidates, MAX_HITS),
    }
    body = changed(body, slot.path, wide)
    return {**body, "size": k, "_source": False, "track_total_hits": False}


def documents_body(search: VisualSearch, vectors: QueryVectors, ids: Sequence[str]) -> bytes:
    """As `again_body`, but only for documents with these ids, which may be in several indices."""
    body = _again(search, vectors)
    [slot] = search.slots
    own = _at(body, slot.path).get("filter", [])
    filters = own if isinstance(own, list) else [own]
    count = max_copies(len(ids))
    only = {
        "filter": [*filters, {"ids": {"values": list(ids)}}],
        "k": count,
        "num_candidates": count,
    }
    body = {**changed(body, slot.path, only), "size": count}
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def shown_at_most(search: VisualSearch) -> int:
    """The number of hits that the first search may find, and so may the second."""
    [slot] = search.slots
    k = _at(search.body, slot.path).get("k")
    return search.first_hits if k is None else min(k, search.first_hits)


def _again(search: VisualSearch, vectors: QueryVectors) -> dict[str, Any]:
    return {k: v for k, v in asked_body(search, vectors).items() if k not in _ONCE}


def _at(body: Mapping[str, Any], path: Sequence[str | int]) -> Mapping[str, Any]:
    found: Any = body
    for key in path:
        found = found[key]
    clause: Mapping[str, Any] = found
    return clause
