"""Which headers go on: all but those that concern one connection only (RFC 9110, section 7.6.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reranker.http.exchange import Headers

__all__ = ["coming_back", "going_up", "value_of", "without_upgrade"]

_ONE_CONNECTION = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    }
)
# Of the caller's connection: Elasticsearch's own name stands instead. `Expect` is answered by the
# server before a body is read.
_NOT_UP = _ONE_CONNECTION | {b"host", b"expect", b"http2-settings"}
_NOTHING: frozenset[bytes] = frozenset()


def value_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The first value under a name in lower case; None if there is none."""
    for key, value in headers:
        if key == name:
            return value
    return None


def going_up(
    headers: Iterable[tuple[bytes, bytes]], leave_out: frozenset[bytes] = _NOTHING
) -> Headers:
    """What Elasticsearch is told of a caller's headers, in their order.

    Args:
        headers: with names in lower case, as ASGI gives them.
        leave_out: further names.
    """
    dropped = _NOT_UP | leave_out | _named_by_connection(headers)
    return tuple([pair for pair in headers if pair[0] not in dropped])


def coming_back(
    headers: Iterable[tuple[bytes, bytes]], leave_out: frozenset[bytes] = _NOTHING
) -> Headers:
    """What the caller is told of Elasticsearch's headers, in their order."""
    dropped = _ONE_CONNECTION | leave_out | _named_by_connection(headers)
    return tuple([pair for pair in headers if pair[0] not in dropped])


def without_upgrade(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of a request as if it offered no other protocol."""
    return tuple(
        (name, b",".join(word for word in value.split(b",") if word.strip().lower() != b"upgrade"))
        if name == b"connection"
        else (name, value)
        for name, value in headers
        if name != b"upgrade"
    )


# Names that `Connection` may hold but that belong to the message: taking them out would change it.
_NEVER_NAMED = frozenset(
    {b"authorization", b"content-length", b"content-type", b"content-encoding"}
)


def _named_by_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Further headers of one connection, that `Connection` lists."""
    for name, value in headers:
        if name == b"connection" and value.lower() not in {b"keep-alive", b"close"}:
            break
    else:
        return _NOTHING
    listed = b",".join(value for name, value in headers if name == b"connection")
    return frozenset(word.strip().lower() for word in listed.split(b",")) - _NEVER_NAMED
