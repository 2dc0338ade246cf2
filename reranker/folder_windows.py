"""Windows in the answers of a gallery in a folder, in Elasticsearch's format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32

from descriptors.errors import RequestError
from galleries.documents import Document
from reranker.dialect.values import refusal
from reranker.dialect.windows import REGIONS

__all__ = ["inner_hits", "unit_vector"]


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
        raise refusal("knn.inner_hits", "an object", asked)
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
