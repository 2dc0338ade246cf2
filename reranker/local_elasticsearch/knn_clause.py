"""A `knn` clause, wherever it stands: at the top, in `query` or in `retriever`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float32

from es_mappings.fields import DESCRIPTOR
from es_mappings.filters import Filter, parse_filter
from reranker.local_elasticsearch.json_values import boost_of, number, whole_number
from reranker.local_elasticsearch.refusals import Refused, bad_request, missing, shards_failed

__all__ = ["MOST_CANDIDATES", "KnnClause", "knn_clause"]

# Elasticsearch's own limit.
MOST_CANDIDATES = 10_000
_CANDIDATES_PER_HIT = 1.5

# So far may the square of a query vector's length be from 1, as Elasticsearch checks it.
_UNIT_TOLERANCE = 1e-3
_PREVIEW = 5

# Search is exact here: what trades speed for exactness changes nothing.
_WITHOUT_EFFECT = frozenset({"rescore_vector", "visit_percentage", "_name"})
_KEYS = frozenset({"field", "query_vector", "k", "num_candidates", "filter", "similarity"})


@dataclass(frozen=True)
class KnnClause:
    """The nearest documents to a vector.

    Attributes:
        field: of the vectors.
        vector: as it was sent.
        k: hits wanted.
        matching: only documents that match this.
        similarity: only hits with at least this cosine.
        boost: factor of the score.
    """

    field: str
    vector: Float32[np.ndarray, " D"]
    k: int
    matching: Filter | None = None
    similarity: float | None = None
    boost: float = 1.0

    def check(self, dims: int, index: str) -> None:
        """Refuse a vector that the index cannot be searched with.

        Raises:
            Refused: it has other dimensions, or is no unit vector.
        """
        if self.field != DESCRIPTOR:
            raise missing(f"A search in another field than [{DESCRIPTOR}] ([{self.field}])")
        if self.vector.shape != (dims,):
            raise _impossible(
                f"The query vector has a different number of dimensions [{len(self.vector)}] than "
                f"the document vectors [{dims}].",
                index,
            )
        square = float(self.vector.astype(np.float64) @ self.vector.astype(np.float64))
        # So written that what is not a number is refused too.
        if not abs(square - 1) <= _UNIT_TOLERANCE:
            preview = ", ".join(str(float(one)) for one in self.vector[:_PREVIEW])
            raise _impossible(
                "The [dot_product] similarity can only be used with unit-length vectors. Preview "
                f"of invalid vector: [{preview}]",
                index,
            )


def knn_clause(
    body: object, size: int, *, of_retriever: bool = False, of_query: bool = False
) -> KnnClause:
    """Read a clause.

    Args:
        body: decoded JSON.
        size: hits the search asks for, which is `k` where the clause does not say it.
        of_retriever: both numbers must be there, and there is no boost.
        of_query: without `k` every candidate counts.

    Raises:
        Refused: it cannot be read, or asks for what is missing here.
        RequestError: its filter cannot be read.
    """
    if not isinstance(body, Mapping):
        raise bad_request("parsing_exception", "[knn] must be an object.")
    known = _KEYS if of_retriever else _KEYS | {"boost"}
    for key in body:
        if key not in known | _WITHOUT_EFFECT:
            raise missing(f"[{key}] of [knn]")
    for key in ("field", "k", "num_candidates") if of_retriever else ("field",):
        if key not in body:
            raise bad_request("illegal_argument_exception", f"Required [{key}]")
    similarity = body.get("similarity")
    return KnnClause(
        field=str(body["field"]),
        vector=_vector(body.get("query_vector")),
        k=_hits_wanted(body, size, of_query=of_query),
        matching=parse_filter(body["filter"]) if body.get("filter") else None,
        similarity=None if similarity is None else number(similarity, "similarity"),
        boost=boost_of(body),
    )


def _hits_wanted(body: Mapping[str, Any], size: int, *, of_query: bool) -> int:
    k = whole_number(body.get("k", size), "k")
    if k < 1 and "k" in body:
        raise bad_request("illegal_argument_exception", "[k] must be greater than 0")
    default = min(round(_CANDIDATES_PER_HIT * k), MOST_CANDIDATES)
    candidates = whole_number(body.get("num_candidates", max(default, 1)), "num_candidates")
    if candidates < k:
        raise bad_request("illegal_argument_exception", "[num_candidates] cannot be less than [k]")
    if candidates > MOST_CANDIDATES:
        raise bad_request(
            "illegal_argument_exception", f"[num_candidates] cannot exceed [{MOST_CANDIDATES}]"
        )
    return candidates if of_query and "k" not in body else k


def _vector(said: object) -> Float32[np.ndarray, " D"]:
    """Numbers, or base64 of big-endian float32."""
    if said is None:
        raise bad_request(
            "illegal_argument_exception",
            "either [query_vector_builder] or [query_vector] must be provided",
        )
    if isinstance(said, str):
        return _vector_in_base64(said)
    if not isinstance(said, list) or not all(
        isinstance(one, int | float) and not isinstance(one, bool) for one in said
    ):
        raise bad_request(
            "x_content_parse_exception",
            "[knn] failed to parse field [query_vector]: it must be a list of numbers.",
        )
    with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as such
        return np.asarray(said, dtype=np.float64).astype(np.float32)


def _vector_in_base64(text: str) -> Float32[np.ndarray, " D"]:
    try:
        return np.frombuffer(base64.b64decode(text, validate=True), dtype=">f4").astype(np.float32)
    except (binascii.Error, ValueError) as error:
        raise bad_request(
            "illegal_argument_exception",
            "failed to parse field [query_vector]: it must be a list of numbers, or base64 of "
            "float32 values, the highest byte first.",
        ) from error


def _impossible(reason: str, index: str) -> Refused:
    return shards_failed("query_shard_exception", f"failed to create query: {reason}", index)
