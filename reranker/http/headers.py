"""Forwarding of headers: all but hop-by-hop ones (RFC 9110 section 7.6.1)."""

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
# `Host` becomes Elasticsearch's. The server answers `Expect` before it reads a body.
_NOT_UP = _ONE_CONNECTION | {b"host", b"expect", b"http2-settings"}
_NOTHING: frozenset[bytes] = frozenset()


def value_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The first value of a header, by its lower-case name; None if it is missing."""
    for key, value in headers:
        if key == name:
            return value
    return None


def going_up(
    headers: Iterable[tuple[bytes, bytes]], leave_out: frozenset[bytes] = _NOTHING
) -> Headers:
    """The request headers to forward to Elasticsearch, in their order.

    Args:
        headers: with lower-case names.
        leave_out: names of further headers to drop.
    """
    dropped = _NOT_UP | leave_out | _named_by_connection(headers)
    return tuple([pair for pair in headers if pair[0] not in dropped])


def coming_back(
    headers: Iterable[tuple[bytes, bytes]], leave_out: frozenset[bytes] = _NOTHING
) -> Headers:
    """The response headers to return to the caller, in their order."""
    dropped = _ONE_CONNECTION | leave_out | _named_by_connection(headers)
    return tuple([pair for pair in headers if pair[0] not in dropped])


def without_upgrade(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of a request without its offer of another protocol."""
    return tuple(
        (name, b",".join(word for word in value.split(b",") if word.strip().lower() != b"upgrade"))
        if name == b"connection"
        else (name, value)
        for name, value in headers
        if name != b"upgrade"
    )


# End-to-end headers that are forwarded even if `Connection` lists them.
_NEVER_NAMED = frozenset(
    {b"authorization", b"content-length", b"content-type", b"content-encoding"}
)


def _named_by_connection(headers: Iterable[tuple[bytes, bytes]]) -> frozenset[bytes]:
    """Further hop-by-hop headers, listed in `Connection`."""
    for name, value in headers:
        if name == b"connection" and value.lower() not in {b"keep-alive", b"close"}:
            break
    else:
        return _NOTHING
    listed = b",".join(value for name, value in headers if name == b"connection")
    return frozenset(word.strip().lower() for word in listed.split(b",")) - _NEVER_NAMED
