"""Read and decompress bodies, and decide which of them may be image searches."""

from __future__ import annotations

import asyncio
import zlib
from typing import TYPE_CHECKING

from reranker.errors import BodyTooLarge
from reranker.http.caller import CallerGone
from reranker.http.headers import value_of
from reranker.http.paths import words_of

if TYPE_CHECKING:
    from starlette.types import Receive, Scope

    from reranker.http.exchange import Headers

__all__ = ["is_damaged", "is_search", "plain", "read_whole", "wants_looking_into"]

_JSON = frozenset(
    {
        b"",
        b"application/json",
        b"application/x-ndjson",
        b"application/vnd.elasticsearch+json",
        b"application/vnd.elasticsearch+x-ndjson",
    }
)
# Elasticsearch decompresses these; zlib detects which one it is.
_PACKED = frozenset({b"gzip", b"x-gzip", b"deflate"})
_GZIP_OR_ZLIB = zlib.MAX_WBITS | 32
# Path segments of endpoints that take a query but cannot search by image.
_TAKING_QUERIES = frozenset(
    {
        "_async_search",
        "_count",
        "_delete_by_query",
        "_eql",
        "_explain",
        "_field_caps",
        "_fleet",
        "_knn_search",
        "_msearch",  # its templates
        "_mvt",
        "_rank_eval",
        "_reindex",
        "_search",  # its templates
        "_search_shards",
        "_update_by_query",
        "_validate",
    }
)
# Limits of decompression when checking for damage: a megabyte may expand to a gigabyte.
_MAX_LOOKED_AT = 100 * 1024 * 1024
_AT_ONCE = 1024 * 1024
# Larger bodies are decompressed in a thread.
_LONG = 64 * 1024


def wants_looking_into(scope: Scope) -> bool:
    """Whether the body of a request may contain a search as JSON.

    Convention:
        Splits the path as Elasticsearch does.
    """
    if scope["method"] not in {"POST", "GET"}:
        return False
    path = scope["raw_path"].decode("ascii")
    # Later segments are names, as in `/images/_doc/_count`.
    if not is_search(path) and _TAKING_QUERIES.isdisjoint(words_of(path)[:2]):
        return False
    headers: Headers = scope["headers"]
    kind = (value_of(headers, b"content-type") or b"").split(b";", 1)[0].strip().lower()
    return kind in _JSON and _coding(headers) in {b"", b"identity", *_PACKED}


def _coding(headers: Headers) -> bytes:
    return (value_of(headers, b"content-encoding") or b"").strip().lower()


def is_search(path: str) -> bool:
    """Whether a path is that of a ``_search`` or ``_msearch``."""
    words = words_of(path)
    return 0 < len(words) <= 2 and words[-1] in {"_search", "_msearch"}  # noqa: PLR2004


async def read_whole(receive: Receive, headers: Headers, most: int) -> bytes:
    """Read a body, not decompressed.

    Raises:
        BodyTooLarge: it has more than `most` bytes.
        CallerGone: the client disconnected before its end.
    """
    if int(value_of(headers, b"content-length") or 0) > most:
        raise _too_large(most)
    pieces, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise CallerGone
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > most:
            raise _too_large(most)
        more = message.get("more_body", False)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


async def plain(body: bytes, headers: Headers, most: int) -> bytes | None:
    """Decompress a body; None if it is damaged or truncated.

    Raises:
        BodyTooLarge: it has more than `most` bytes, decompressed.
    """
    if _coding(headers) not in _PACKED:
        return body
    if len(body) > _LONG:
        return await asyncio.to_thread(_unpacked, body, most)
    return _unpacked(body, most)


def _unpacked(body: bytes, most: int) -> bytes | None:
    unpacking = zlib.decompressobj(_GZIP_OR_ZLIB)
    try:
        found = unpacking.decompress(body, most + 1)
    except zlib.error:
        return None
    if len(found) > most:
        raise _too_large(most)
    return found if unpacking.eof else None


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body has more than {most} bytes: send less at once.")


async def is_damaged(body: bytes, headers: Headers) -> bool:
    """Whether a body contradicts its ``Content-Encoding``; a truncated one does not."""
    return _coding(headers) in _PACKED and await asyncio.to_thread(_cannot_be_unpacked, body)


def _cannot_be_unpacked(body: bytes) -> bool:
    unpacking = zlib.decompressobj(_GZIP_OR_ZLIB)
    rest, seen = body, 0
    try:
        while rest and not unpacking.eof and seen < _MAX_LOOKED_AT:
            seen += len(unpacking.decompress(rest, _AT_ONCE))
            rest = unpacking.unconsumed_tail
    except zlib.error:
        return True
    return False
