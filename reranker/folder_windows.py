"""Windows in the answers of a gallery in a folder, in Elasticsearch's format."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float32

from descriptors.errors import RequestError
from es_mappings.fields import DESCRIPTOR
from galleries.documents import Document
from reranker.dialect.values import fits, invalid_value
from reranker.dialect.windows import REGIONS, WINDOW_VECTOR

__all__ = ["hidden_vectors", "inner_hits", "regions", "regions_fields", "unit_vector"]


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
    """What a `knn` clause with `inner_hits` adds to a hit: its best window, with the box.

    Args:
        knn: a clause that has been searched; None for none.

    Raises:
        DialectError: `inner_hits` is not an object.
    """
    asked = knn.get("inner_hits") if isinstance(knn, dict) else None
    if asked is None:
        return lambda *_: {}
    if not isinstance(asked, dict):
        raise invalid_value("knn.inner_hits", "an object", asked)
    name = str(asked.get("name", REGIONS))
    vector = unit_vector(np.asarray(knn["query_vector"], np.float32))
    return lambda index, document: {"inner_hits": {name: {"hits": _best(index, document, vector)}}}


def _best(index: str, document: Document, vector: Float32[np.ndarray, " D"]) -> dict[str, Any]:
    windows = document.windows
    if windows is None:
        return {"total": {"value": 0, "relation": "eq"}, "max_score": None, "hits": []}
    cosines = windows.cosines(vector)
    best = int(cosines.argmax())
    score = float((1 + cosines[best]) / 2)
    hit = {
        "_index": index,
        "_id": document.id,
        "_nested": {"field": REGIONS, "offset": best},
        "_score": score,
        "_source": {"box": windows.boxes[best].tolist()},
    }
    total = {"value": len(cosines), "relation": "eq"}
    return {"total": total, "max_score": score, "hits": [hit]}
