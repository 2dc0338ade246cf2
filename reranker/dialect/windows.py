"""Searches in the windows of an index: query vectors of 8 bits, restricted searches, their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from descriptors.arrays import Box
from es_mappings.windows import BOX, REGIONS, VECTOR
from galleries.documents import levels_of
from reranker.dialect.values import max_copies

__all__ = ["REGIONS", "WINDOW_VECTOR", "best_boxes", "best_cosines"]
__all__ += ["window_levels", "windows_body"]

WINDOW_VECTOR = VECTOR
_COORDINATES = 4


def window_levels(vector: Sequence[float] | np.ndarray) -> list[int]:
    """A query vector for a field of bytes: whole numbers, the largest of which is 127 or -127.

    Convention:
        Only its direction counts, since windows are compared by their cosine.
    """
    levels: list[int] = levels_of(np.asarray(vector, np.float32)).tolist()
    return levels


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
        ids: of documents, a part of `parts_of`.
        boxes: whether to return the box of that window.
        pit: point in time to search.
    """
    count = max_copies(len(ids))
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


def best_cosines(response: Mapping[str, Any]) -> dict[tuple[str, str], float]:
    """The cosine of the best window of each hit, by index and id, from `windows_body`'s answer.

    Convention:
        Elasticsearch returns the best window alone. Others are inner hits, as boxes are, which
        take ten times as long for 1,000 hits.
    """
    scores = ((hit["_index"], hit["_id"], hit["_score"]) for hit in response["hits"]["hits"])
    # The score of a cosine is (1 + it) / 2.
    return {(index, id_): 2 * score - 1 for index, id_, score in scores if score is not None}


def best_boxes(response: Mapping[str, Any]) -> dict[tuple[str, str], Box]:
    """The box of the best window of each hit, by index and id, from `windows_body`'s answer."""
    found = {}
    for hit in response["hits"]["hits"]:
        inner = hit.get("inner_hits", {}).get(REGIONS, {}).get("hits", {}).get("hits", [])
        box = inner[0].get("_source", {}).get("box") if inner else None
        if isinstance(box, list) and len(box) == _COORDINATES:
            found[hit["_index"], hit["_id"]] = Box(*box)
    return found
