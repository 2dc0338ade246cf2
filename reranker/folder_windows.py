"""Windows in the answers of a gallery in a folder, in Elasticsearch's format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from descriptors.errors import RequestError
from es_mappings.fields import DESCRIPTOR
from galleries.documents import Document
from reranker.dialect.values import a_whole_number, an_object, fits
from reranker.dialect.windows import REGIONS, WINDOW_VECTOR

__all__ = ["hidden_vectors", "inner_hits", "regions", "regions_fields", "unit_vector"]

# Elasticsearch's default and limit of inner hits.
_INNER_SIZE, _MAX_INNER_SIZE = 3, 100


def regions(document: Document) -> dict[str, Any]:
    """What `_source` has of a document's windows: vectors as numbers, and boxes."""
    windows = document.windows
    if windows is None:
        return {}
    rows = zip(windows.vectors, windows.boxes.tolist(), strict=True)
    return {REGIONS: [{"vector": vector, "box": box} for vector, box in rows]}


def hidden_vectors(includes: Sequence[str]) -> list[str]:
    """The vectors that `_source` does not show, since no path asks for them."""
    return [
        vector
        for vector in (DESCRIPTOR, WINDOW_VECTOR)
        if not any(fits(one, vector) or fits(f"{one}.*", vector) for one in includes)
    ]


def regions_fields(source: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """What `fields` has of windows: those of one window together."""
    asked = [
        key for key in ("vector", "box") if any(fits(name, f"{REGIONS}.{key}") for name in names)
    ]
    shown = [{key: one[key] for key in asked} for one in source.get(REGIONS, ()) if asked]
    return {REGIONS: shown} if shown else {}


def unit_vector(vector: Float32[np.ndarray, " D"]) -> Float32[np.ndarray, " D"]:
    """The direction of a vector of whole numbers.

    Raises:
        RequestError: it has none.
    """
    length = np.linalg.norm(vector)
    if not np.isfinite(length) or length == 0:
        raise RequestError(
            "[knn.query_vector] has no direction: give whole numbers from -128 to 127 that are "
            "not all 0."
        )
    unit: Float32[np.ndarray, " D"] = (vector / length).astype(np.float32)
    return unit


def inner_hits(knn: Any) -> Callable[[str, Document], dict[str, Any]]:
    """What a `knn` clause with `inner_hits` adds to a hit: its best windows, with their boxes.

    Args:
        knn: a clause that has been searched; None for none.

    Raises:
        DialectError: `inner_hits` is not valid.

    Convention:
        `_source` of an inner hit is its box, whatever is asked for.
    """
    asked = knn.get("inner_hits") if isinstance(knn, dict) else None
    if asked is None:
        return lambda *_: {}
    asked = an_object(asked, "knn.inner_hits", ("name", "size", "_source"))
    name = str(asked.get("name", REGIONS))
    size = a_whole_number(asked.get("size", _INNER_SIZE), "knn.inner_hits.size", 0, _MAX_INNER_SIZE)
    vector = unit_vector(np.asarray(knn["query_vector"], np.float32))
    return lambda index, document: {
        "inner_hits": {name: {"hits": _best(index, document, vector, size)}}
    }


def _best(
    index: str, document: Document, vector: Float32[np.ndarray, " D"], size: int
) -> dict[str, Any]:
    windows = document.windows
    if windows is None:
        return {"total": {"value": 0, "relation": "eq"}, "max_score": None, "hits": []}
    scores = (1 + windows.cosines(vector)) / 2
    hits = [
        {
            "_index": index,
            "_id": document.id,
            "_nested": {"field": REGIONS, "offset": place},
            "_score": float(scores[place]),
            "_source": {"box": windows.boxes[place].tolist()},
        }
        for place in np.argsort(-scores, kind="stable")[:size].tolist()
    ]
    total = {"value": len(scores), "relation": "eq"}
    return {"total": total, "max_score": float(scores.max()) if hits else None, "hits": hits}
