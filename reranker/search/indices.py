"""Read the method, documents and vectors of indices with the caller's credentials."""

from __future__ import annotations

import time
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import torch

from es_mappings.fields import DESCRIPTOR
from galleries.errors import FingerprintMismatch
from reranker.dialect.answers import FoundHit, read_hits
from reranker.dialect.values import about_indices, max_copies
from reranker.errors import NotOurIndex, UpstreamRefused
from reranker.http.exchange import JSON, Request, encoded_index, search_path

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from reranker.http.exchange import Answer, Ask, Headers

__all__ = ["ACCESS_DENIED", "Indices", "abouts_of", "mapping_request"]

ACCESS_DENIED = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})

_ACCEPT: Headers = ((b"accept", b"application/json"),)
_MEDIA = frozenset({b"content-type", b"accept"})
# Seconds for which a check is cached: an alias may be switched to another index.
_BELIEVED_S = 10.0
_MAX_BELIEVED = 1000
# More names would make a path longer than Elasticsearch accepts.
_MAX_PIT_INDICES = 100


class Indices:
    """Reads what a search needs from its indices, and caches which of them have the method.

    Convention:
        Requests have the caller's credentials. The cache is shared between callers, since the
        method of an index is not secret, unless a check is for one caller.
    """

    def __init__(
        self,
        ask: Ask,
        fingerprint: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Args: fingerprint of the method that describes the queries."""
        self.ask, self._fingerprint, self._clock = ask, fingerprint, clock
        # When each entry expires, in seconds of the clock.
        self._fitting: dict[tuple[str, str, str], float] = {}

    async def check(self, request: Request, index: str, caller: str = "") -> None:
        """Check that an index has vectors of the method.

        Args:
            request: whose headers and index options are used.
            index: percent-encoded; empty for all.
            caller: key of the caller, to check also that this one may read the mapping.

        Raises:
            FingerprintMismatch: another method made its vectors.
            NotOurIndex: camsearch made none of the indices.
            UpstreamRefused: the caller may not read the mapping.
        """
        key = index, about_indices(request.query), caller
        if self._fitting.get(key, float("-inf")) > self._clock():
            return
        asked = mapping_request(index, request.headers, key[1])
        refused = "Elasticsearch refused to return the mapping."
        found = abouts_of(_read(await self.ask(asked), refused))
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
                    "index, or start a server for that one. A server switches to the method of its "
                    "own index within seconds, unless its options name another."
                )
        if len(self._fitting) >= _MAX_BELIEVED:
            self._fitting.clear()
        self._fitting[key] = self._clock() + _BELIEVED_S

    async def of_pit(self, request: Request, pit: Any) -> str:
        """The indices with vectors of a point in time, percent-encoded.

        Args:
            request: whose headers are used.
            pit: value of ``pit`` in the body of a search.

        Raises:
            NotOurIndex: it has no document with a vector.
            UpstreamRefused: it does not exist, or not for this caller.

        Convention:
            Its id is opaque, so a search reads the indices. Its expiry is not changed.
        """
        body = {
            "pit": {"id": pit["id"]} if isinstance(pit, dict) and "id" in pit else pit,
            "size": 0,
            "track_total_hits": False,
            "query": {"exists": {"field": DESCRIPTOR}},
            "aggs": {"indices": {"terms": {"field": "_index", "size": _MAX_PIT_INDICES}}},
        }
        refused = "Elasticsearch refused to search the point in time."
        found = await self.search(replace(request, path=search_path(""), query=""), body, refused)
        names = [bucket["key"] for bucket in found["aggregations"]["indices"]["buckets"]]
        if not names:
            raise NotOurIndex(
                "The point in time holds no document that camsearch made: index images, then open "
                "one on the alias that `camsearch gallery create` made."
            )
        return encoded_index(",".join(names))

    async def document(
        self, request: Request, index: str, image_id: str, fields: Sequence[str]
    ) -> FoundHit | None:
        """A document as the caller may see it; None if it does not exist.

        Args:
            request: whose headers are used.
            index: percent-encoded; empty for all.
            image_id: id of the document.
            fields: names of the fields to read.

        Raises:
            UpstreamRefused: Elasticsearch refuses.
        """
        refused = f"Elasticsearch refused to search for [{image_id}]."
        asked = replace(request, path=search_path(index), query="")
        hits = read_hits(await self.search(asked, _by_id([image_id], 1, fields), refused))
        return hits[0] if hits else None

    async def documents(
        self, request: Request, index: str, ids: Sequence[str], fields: Sequence[str]
    ) -> list[FoundHit]:
        """As `document` for several ids, each of which several indices may have."""
        refused = "Elasticsearch refused to search for [ids]."
        asked = replace(request, path=search_path(index), query="")
        body = _by_id(ids, max_copies(len(ids)), fields)
        return read_hits(await self.search(asked, body, refused))

    async def vectors(
        self, request: Request, keys: Sequence[tuple[str, str]], like: Tensor
    ) -> dict[tuple[str, str], Tensor]:
        """The vectors of documents by index and id; deleted and hidden ones are left out.

        Args:
            request: the caller's search, whose path and headers are used.
            keys: index and id of each.
            like: the query's vector; vectors of other dimensions are left out.

        Raises:
            UpstreamRefused: Elasticsearch refuses.
        """
        if not keys:
            return {}
        size = max_copies(len(keys))
        body = _by_id(sorted({image_id for _, image_id in keys}), size, [DESCRIPTOR])
        refused = "Elasticsearch refused to return the vectors of hits."
        found, wanted = await self.search(request, body, refused), set(keys)
        vectors = {
            key: np.asarray(hit.get("fields", {}).get(DESCRIPTOR) or (), np.float32)
            for hit in found["hits"]["hits"]
            if (key := (hit["_index"], hit["_id"])) in wanted
        }
        return {
            key: torch.from_numpy(vector).to(like.device)
            for key, vector in vectors.items()
            if vector.shape == like.shape
        }

    async def search(
        self, request: Request, body: Mapping[str, Any], refused: str
    ) -> Mapping[str, Any]:
        """Elasticsearch's answer to a search of ours.

        Args:
            request: of the caller, whose path, index options, preference and headers are used.
            body: to search with.
            refused: sentence for the error.

        Raises:
            UpstreamRefused: Elasticsearch refuses.
        """
        others = (pair for pair in request.headers if pair[0] not in _MEDIA)
        asked = replace(
            request,
            method="POST",
            query=about_indices(request.query, "preference"),
            headers=(*JSON, *_ACCEPT, *others),
            body=orjson.dumps(body),
        )
        return _read(await self.ask(asked), refused)


def mapping_request(index: str, headers: Headers = _ACCEPT, query: str = "") -> Request:
    """A request for the mapping of an index.

    Args:
        index: percent-encoded; empty for all.
        headers: the caller's; by default without credentials.
        query: index options.
    """
    path = f"/{index}/_mapping" if index else "/_mapping"
    return Request("GET", path, query, headers)


def abouts_of(mappings: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The method metadata of each camsearch index in an answer of ``_mapping``."""
    found: dict[str, Mapping[str, Any]] = {}
    for name, index in mappings.items():
        about = index.get("mappings", {}).get("_meta", {}).get("camsearch", {})
        if isinstance(about, dict) and isinstance(about.get("fingerprint"), str):
            found[name] = about
    return found


def _by_id(ids: Sequence[str], size: int, fields: Sequence[str]) -> dict[str, Any]:
    query = {"ids": {"values": ids}}
    return {"query": query, "size": size, "_source": False, "fields": list(fields)}


def _read(answer: Answer, refused: str) -> Mapping[str, Any]:
    if answer.status != HTTPStatus.OK:
        raise UpstreamRefused(refused, answer)
    found: Mapping[str, Any] = orjson.loads(answer.body)
    return found
