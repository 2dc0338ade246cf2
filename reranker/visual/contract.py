"""Whether an index holds vectors of the method that describes the queries."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import orjson

from es_mappings.errors import FingerprintMismatch
from reranker.dialect.values import about_indices
from reranker.errors import NotOurIndex, UpstreamRefused
from reranker.exchange import Request, encoded_index, search_path

if TYPE_CHECKING:
    from collections.abc import Mapping

    from reranker.exchange import Upstream

__all__ = ["IndexContract", "abouts_of"]

# A switched alias leads to another index; asked for again after this many seconds.
_BELIEVED_S = 10.0
_MOST_BELIEVED = 1000
_OK = 200
# A path with more names than this is longer than Elasticsearch reads.
_MAX_PIT_INDICES = 100


class IndexContract:
    """Compares the fingerprint in an index's mapping with ours, and remembers it for a while.

    Convention:
        The mapping is asked for with the caller's rights. That an index fits is no secret, so
        another caller need not ask again.
    """

    def __init__(self, upstream: Upstream, fingerprint: str) -> None:
        """Args: fingerprint of the method that describes the queries."""
        self._upstream, self._fingerprint = upstream, fingerprint
        # Until when, in seconds of the monotonic clock.
        self._fitting: dict[tuple[str, str], float] = {}

    async def check(self, request: Request, index: str) -> None:
        """Nothing, if the index fits.

        Args:
            request: whose headers are used, and what its query string says of indices.
            index: as it stands in the path, percent-encoded; empty for all.

        Raises:
            FingerprintMismatch: another method made its vectors.
            NotOurIndex: no index there was made by camsearch.
            UpstreamRefused: Elasticsearch does not show the mapping to this caller.
        """
        key = index, about_indices(request.query)
        if self._fitting.get(key, float("-inf")) > time.monotonic():
            return
        found = abouts_of(await self._mapping(request, index))
        if not found:
            raise NotOurIndex(
                f"[{index or '_all'}] names no index that camsearch made: its mapping has no "
                "_meta.camsearch. Search the alias that `camsearch gallery create` made."
            )
        for name, about in found.items():
            fingerprint = about["fingerprint"]
            if fingerprint != self._fingerprint:
                raise FingerprintMismatch(
                    f"The vectors of [{name}] were made with fingerprint {fingerprint[:16]}, this "
                    f"server describes queries with {self._fingerprint[:16]}: search another "
                    "index, or start a server for that one. A server takes up the method of its "
                    "own index within seconds, unless options name another."
                )
        if len(self._fitting) >= _MOST_BELIEVED:
            self._fitting.clear()
        self._fitting[key] = time.monotonic() + _BELIEVED_S

    async def indices_of_pit(self, request: Request, pit: Any) -> str:
        """The indices with vectors that a point in time was opened on, percent-encoded.

        Args:
            request: whose headers are used.
            pit: the value of ``pit`` in the body of a search.

        Raises:
            NotOurIndex: it holds no document with a vector.
            UpstreamRefused: Elasticsearch does not know it, or not for this caller.

        Convention:
            The id is opaque: only a search with it tells its indices. The time it is kept is
            not changed.
        """
        body = {
            "pit": {"id": pit["id"]} if isinstance(pit, dict) and "id" in pit else pit,
            "size": 0,
            "track_total_hits": False,
            "query": {"exists": {"field": "descriptor"}},
            "aggs": {"indices": {"terms": {"field": "_index", "size": _MAX_PIT_INDICES}}},
        }
        asked = replace(
            request, method="POST", path=search_path(""), query="", body=orjson.dumps(body)
        )
        answer = await self._upstream.ask(asked)
        if answer.status != _OK:
            raise UpstreamRefused("Elasticsearch refuses to search the point in time.", answer)
        names = [
            bucket["key"]
            for bucket in orjson.loads(answer.body)["aggregations"]["indices"]["buckets"]
        ]
        if not names:
            raise NotOurIndex(
                "The point in time holds no document that camsearch made: index images, then open "
                "one on the alias that `camsearch gallery create` made."
            )
        return encoded_index(",".join(names))

    async def _mapping(self, request: Request, index: str) -> Mapping[str, Any]:
        path = f"/{index}/_mapping" if index else "/_mapping"
        query = about_indices(request.query)
        asked = replace(request, method="GET", path=path, query=query, body=b"")
        answer = await self._upstream.ask(asked)
        if answer.status != _OK:
            raise UpstreamRefused("Elasticsearch does not show the index's mapping.", answer)
        mapping: Mapping[str, Any] = orjson.loads(answer.body)
        return mapping


def abouts_of(mappings: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """What the indices of an answer of ``_mapping`` say of their method; those of camsearch."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, index in mappings.items():
        about = index.get("mappings", {}).get("_meta", {}).get("camsearch", {})
        if isinstance(about, dict) and isinstance(about.get("fingerprint"), str):
            found[name] = about
    return found
