"""An HTTP request, its answer, and the protocol of what answers it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Receive, Scope, Send

__all__ = [
    "JSON",
    "Answer",
    "Ask",
    "Headers",
    "Request",
    "Upstream",
    "Visual",
    "encoded_index",
    "search_path",
]

# As in ASGI: lower-case names, which may repeat.
Headers = tuple[tuple[bytes, bytes], ...]
JSON: Headers = ((b"content-type", b"application/json"),)


@dataclass(frozen=True)
class Request:
    """A request to Elasticsearch.

    Attributes:
        method: in capitals.
        path: percent-encoded, with its leading slash.
        query: percent-encoded query string, without the question mark.
        headers: the caller's, without hop-by-hop headers.
        body: decompressed.
        peer: the caller's address; empty if unknown.
    """

    method: str
    path: str
    query: str = ""
    headers: Headers = ()
    body: bytes = b""
    peer: str = ""


@dataclass(frozen=True)
class Answer:
    """An answer with its whole, decompressed body."""

    status: int
    headers: Headers
    body: bytes


# Sends a request to Elasticsearch, or to a gallery in a folder.
Ask: TypeAlias = "Callable[[Request], Awaitable[Answer]]"
# Answers image searches; None if the request is not one.
Visual: TypeAlias = "Callable[[Request], Awaitable[Answer | None]]"


def encoded_index(names: str) -> str:
    """Percent-encode index names for a path, except commas and stars."""
    return quote(names, safe=",*")


def search_path(index: str) -> str:
    """The path of a ``_search``; `index` is percent-encoded, empty for all."""
    return f"/{index}/_search" if index else "/_search"


class Upstream(Protocol):
    """Answers what the proxy does not answer itself."""

    async def close(self) -> None:
        """Close all connections."""
        ...

    async def ask(self, request: Request) -> Answer:
        """Send a request and read the whole answer.

        Raises:
            UpstreamUnreachable: there is no answer, or not in time.
        """
        ...

    async def forward(self, scope: Scope, receive: Receive, send: Send, body: bytes | None) -> None:
        """Forward an ASGI request, streaming both ways without changing bytes.

        Args:
            scope, receive, send: of the request.
            body: the body if it has been read already, not decompressed; None if not.
        """
        ...
