"""Searches in the windows of an index: query vectors of 8 bits, restricted searches, boxes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from descriptors.arrays import Box
from es_mappings.windows import BOX, REGIONS, VECTOR, levels_of

__all__ = ["REGIONS", "WINDOW_VECTOR", "among", "best_boxes", "window_levels", "windows_body"]

WINDOW_VECTOR = VECTOR
_COORDINATES = 4

# Elasticsearch's limit of num_candidates, and of hits.
_MAX_CANDIDATES = 10_000
# Indices that may have documents of the same ids.
_COPIES = 100


def window_levels(vector: Sequence[float] | np.ndarray) -> list[int]:
    """A query vector for a field of bytes: whole numbers, the largest of which is 127 or -127.

    Convention:
        Only its direction counts, since windows are compared by their cosine.
    """
    levels: list[int] = levels_of(np.asarray(vector, np.float32)).tolist()
    return levels


def among(ids: Sequence[str], windows: int) -> Iterator[Sequence[str]]:
    """Divide ids so that Elasticsearch compares all windows of each part, even with a graph.

    Args:
        ids: of documents.
        windows: of each.
    """
    most = max(1, _MAX_CANDIDATES // max(windows, 1))
    return (ids[start : start + most] for start in range(0, len(ids), most))


def windows_body(
    vector: Float32[np.ndarray, " D"],
    ids: Sequence[str],
    *,
    boxes: bool = False,
    pit: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """A search for the best window of each of these documents.

    Args:
        vector: unit vector.
        ids: of documents, a part of `among`.
        boxes: whether to return the box of that window.
        pit: point in time to search.
    """
    count = min(_MAX_CANDIDATES, len(ids) * _COPIES)
    knn = {
        "field": WINDOW_VECTOR,
        "query_vector": window_levels(vector),
        "k": count,
        "num_candidates": count,
        "filter": {"ids": {"values": list(ids)}},
    }
    if boxes:
        knn["inner_hits"] = {"size": 1, "_source": [BOX]}
    body = {"knn": knn, "size": count, "_source": False, "track_total_hits": False}
    return body if pit is None else body | {"pit": pit}


def best_boxes(response: Mapping[str, Any]) -> dict[tuple[str, str], Box]:
    """The box of the best window of each hit, by index and id, from `windows_body`'s answer."""
    found = {}
    for hit in response["hits"]["hits"]:
        inner = hit.get("inner_hits", {}).get(REGIONS, {}).get("hits", {}).get("hits", [])
        box = inner[0].get("_source", {}).get("box") if inner else None
        if isinstance(box, list) and len(box) == _COORDINATES:
            found[hit["_index"], hit["_id"]] = Box(*box)
    return found
