"""What Elasticsearch is asked, for a search that names us."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson

from reranker.dialect.clauses import Path
from reranker.dialect.parameters import without
from reranker.dialect.searches import PictureQuery, VisualSearch

__all__ = ["Vectors", "again_body", "first_body", "forwarded_query"]

Vectors = Mapping[PictureQuery, Sequence[float] | np.ndarray]

# What we do ourselves, since only the final hits may be paged, filtered and set.
_OURS = ("from", "size", "filter_path", "pretty")
# What the first search has answered already.
_ONCE = ("aggs", "aggregations", "suggest", "profile")


def first_body(search: VisualSearch, vectors: Vectors) -> bytes:
    """The body of the first search.

    Args:
        search: understood.
        vectors: of each picture of its slots.

    Convention:
        Without re-ranking and expansion only the vectors are put in. With them as many hits
        are asked for as any stage needs, from the first on, with the fields that tell where
        their maps are; and `min_score` waits for the final scores.
    """
    return orjson.dumps(_asked(search, vectors), option=orjson.OPT_SERIALIZE_NUMPY)


def again_body(search: VisualSearch, vectors: Vectors) -> bytes:
    """The body of the second search: as the first, without what is answered already.

    Args:
        search: understood.
        vectors: of each picture, the expanded one for the search's own.
    """
    body = {k: v for k, v in _asked(search, vectors).items() if k not in _ONCE}
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def forwarded_query(search: VisualSearch) -> str:
    """The query string for both searches, without what we do ourselves."""
    return without(search.query, _OURS) if search.ranks else search.query


def _asked(search: VisualSearch, vectors: Vectors) -> dict[str, Any]:
    body = dict(search.body)
    for slot in search.slots:
        body = _put(body, slot.path, vectors[slot.picture])
    if not search.ranks:
        return body
    for key in ("from", "min_score"):
        body.pop(key, None)
    body["size"] = search.first_hits
    if search.added_fields and isinstance(body.get("fields", []), list):
        body["fields"] = [*body.get("fields", []), *search.added_fields]
    return body


def _put(container: Any, path: Path, vector: Sequence[float] | np.ndarray) -> Any:
    """The container with a vector in the clause at the path; only what lies on the way is copied."""
    if not path:
        return {**container, "query_vector": vector}
    copied = container.copy()
    copied[path[0]] = _put(container[path[0]], path[1:], vector)
    return copied
