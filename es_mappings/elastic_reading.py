"""What a gallery in Elasticsearch is asked: documents by id, all in order, the nearest ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from es_mappings.elastic_client import answered
from es_mappings.fields import DESCRIPTOR
from galleries.documents import FirstHit

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from elasticsearch import Elasticsearch

__all__ = ["MAX_HITS", "listing", "nearest", "read_by_id"]

# Elasticsearch's own limit of k and of num_candidates.
MAX_HITS = 10_000

# A graph search looks at this many candidates for each hit wanted, and at no fewer than this:
# what it costs and finds is measured by `python -m benchmarks recall`.
_CANDIDATES_PER_HIT = 2
_MIN_CANDIDATES = 200

_PAGE = 500
_ASK_AT_ONCE = 1000
_KEEP_LISTING = "5m"
_JSON = {"accept": "application/json", "content-type": "application/json"}


def read_by_id(
    client: Elasticsearch, places: Sequence[Mapping[str, str]], wanted: Mapping[str, str]
) -> Iterator[dict[str, Any]]:
    """What is there at some places, each an index and an id; read in real time.

    Args:
        client: of the server.
        places: any number, with ``_index`` and ``_id``.
        wanted: parameters of the request that choose fields of `_source`.
    """
    # Of what is not there nothing is answered: mostly that is everything.
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
    """Every `_source` in order of ids, as of one moment; `more` goes with each search."""
    with answered("a listing"):
        # A listing that leaves out the last seconds would let a rebuild leave them out, too.
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
    vector: Float32[np.ndarray, " D"],
    k: int,
    query: Mapping[str, Any],
) -> list[FirstHit]:
    """The k hits of a kNN search among the documents that a query finds, best first."""
    knn: dict[str, Any] = {
        "field": DESCRIPTOR,
        "query_vector": vector.tolist(),
        "k": k,
        "num_candidates": min(max(_CANDIDATES_PER_HIT * k, _MIN_CANDIDATES), MAX_HITS),
    }
    if "match_all" not in query:
        knn["filter"] = query
    with answered("a kNN search"):
        answer = client.search(index=index, knn=knn, size=k, source=False, track_total_hits=False)
    # The score of a dot product is (1 + dot) / 2.
    return [FirstHit(hit["_id"], 2 * hit["_score"] - 1) for hit in answer["hits"]["hits"]]
