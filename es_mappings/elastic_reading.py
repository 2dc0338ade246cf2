"""Read from Elasticsearch: documents by id, listings in order of ids, kNN searches."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int8

from es_mappings.elastic_client import answered
from es_mappings.fields import DESCRIPTOR
from es_mappings.windows import MAX_HITS, VECTOR
from galleries.documents import FirstHit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from elasticsearch import Elasticsearch

__all__ = ["listing", "nearest", "read_by_id"]

# num_candidates per hit, and in total; `python -m benchmarks recall` measures cost and recall.
_CANDIDATES_PER_HIT = {DESCRIPTOR: 2, VECTOR: 5}
_MIN_CANDIDATES = {DESCRIPTOR: 200, VECTOR: 500}

_PAGE = 500
_ASK_AT_ONCE = 1000
_KEEP_LISTING = "5m"

# `_id` stands beside `_source`, which would be read and uncompressed for each hit.
_ONLY_IDS: Mapping[str, Any] = {"stored_fields": "_none_", "docvalue_fields": ["id"]}

_JSON = {"accept": "application/json", "content-type": "application/json"}


def read_by_id(
    client: Elasticsearch, places: Sequence[Mapping[str, str]], wanted: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """Existing documents at some places, read in real time.

    Args:
        client: of the server.
        places: any number, with ``_index`` and ``_id``.
        wanted: parameters of the request that select fields of `_source`.
    """
    # Leaves missing documents out of the response: often that is all of them.
    parameters = {"filter_path": "docs._version,docs._source", **wanted}
    for start in range(0, len(places), _ASK_AT_ONCE):
        body = {"docs": places[start : start + _ASK_AT_ONCE]}
        with answered("documents by id"):
            answer = client.perform_request(
                "POST", "/_mget", params=parameters, headers=_JSON, body=body
            )
        yield from answer.body.get("docs", [])


def listing(
    client: Elasticsearch, index: str, query: Mapping[str, Any], **more: Any
) -> Iterator[dict[str, Any]]:
    """Every `_source` in order of ids, at one point in time; `more` is added to each search."""
    with answered("a listing"):
        # Otherwise a rebuild could miss the last seconds.
        client.indices.refresh(index=index)
        pit = client.open_point_in_time(index=index, keep_alive=_KEEP_LISTING)["id"]
    try:
        while True:
            with answered("a listing"):
                answer = client.search(
                    pit={"id": pit, "keep_alive": _KEEP_LISTING},
                    query=query,
                    sort=[{"id": "asc"}],
                    size=_PAGE,
                    track_total_hits=False,
                    **more,
                )
            hits, pit = answer["hits"]["hits"], answer.get("pit_id", pit)
            yield from (hit["_source"] for hit in hits)
            if len(hits) < _PAGE:
                return
            more["search_after"] = hits[-1]["sort"]
    finally:
        with answered("a listing"):
            client.close_point_in_time(id=pit)


def nearest(
    client: Elasticsearch,
    index: str,
    vector: Float32[np.ndarray, " D"] | Int8[np.ndarray, " D"],
    k: int,
    query: Mapping[str, Any],
    *,
    candidates: int = 0,
) -> list[FirstHit]:
    """The k hits of a kNN search among the documents that match a query, best first.

    Args:
        client: of the server.
        index: to search.
        vector: floats are compared with descriptors, 8-bit levels with windows.
        k: hits wanted, at most `MAX_HITS`.
        query: filter on documents.
        candidates: of each shard, at least.
    """
    field = DESCRIPTOR if vector.dtype == np.float32 else VECTOR
    enough = max(candidates, _CANDIDATES_PER_HIT[field] * k, _MIN_CANDIDATES[field])
    knn: dict[str, Any] = {
        "field": field,
        "query_vector": vector.tolist(),
        "k": k,
        "num_candidates": min(enough, MAX_HITS),
    }
    if "match_all" not in query:
        knn["filter"] = query
    with answered("a kNN search"):
        answer = client.search(
            index=index, knn=knn, size=k, source=False, track_total_hits=False, **_ONLY_IDS
        )
    # The score of a dot product or cosine is (1 + it) / 2.
    return [
        FirstHit(hit["fields"]["id"][0], 2 * hit["_score"] - 1) for hit in answer["hits"]["hits"]
    ]
