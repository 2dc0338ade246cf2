"""One HTTP request and its answer, and who answers it: Elasticsearch, or a gallery in a folder."""

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

# As ASGI has them: names in lower case, any name may come several times.
Headers = tuple[tuple[bytes, bytes], ...]
# Of an answer of ours.
JSON: Headers = ((b"content-type", b"application/json"),)


@dataclass(frozen=True)
class Request:
    """What is asked of an Elasticsearch.

    Attributes:
        method: in capitals.
        path: as it stands in the request line, percent-encoded, with its slash.
        query: what follows the question mark, percent-encoded; empty if there is none.
        headers: those that go up: the caller's, without those of one connection.
        body: not compressed.
        peer: address that the caller connected from; empty where it is not known.
    """

    method: str
    path: str
    query: str = ""
    headers: Headers = ()
    body: bytes = b""
    peer: str = ""


@dataclass(frozen=True)
class Answer:
    """What came back, body not compressed and whole."""

    status: int
    headers: Headers
    body: bytes


# Asks Elasticsearch, or whoever answers in its place.
Ask: TypeAlias = "Callable[[Request], Awaitable[Answer]]"
# Answers searches that name us; None for one that does not after all.
Visual: TypeAlias = "Callable[[Request], Awaitable[Answer | None]]"


def encoded_index(names: str) -> str:
    """Names of indices as they stand in a path, with commas and stars as they are."""
    return quote(names, safe=",*")


def search_path(index: str) -> str:
    """The path of a ``_search``; index is percent-encoded, empty for all."""
    return f"/{index}/_search" if index else "/_search"


class Upstream(Protocol):
    """Who answers what the proxy does not answer itself."""

    async def close(self) -> None:
        """End all connections."""
        ...

    async def ask(self, request: Request) -> Answer:
        """The answer to a request of bounded size.

        Raises:
            UpstreamUnreachable: there is none, or it did not come in time.
        """
        ...

    async def forward(self, scope: Scope, receive: Receive, send: Send, body: bytes | None) -> None:
        """Pass an ASGI request through, streamed both ways, bytes as they are.

        Args:
            scope, receive, send: of the request.
            body: what has been read of it already, as it came; None if nothing has been.
        """
        ...
