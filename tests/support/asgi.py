"""An ASGI application asked in this process, without a server: thousands of requests a minute."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from reranker.http.exchange import Headers

JSON: Headers = ((b"content-type", b"application/json"),)


@dataclass(frozen=True)
class Answered:
    """What came back; `body` as it is on the wire."""

    status: int
    headers: Headers
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def ids(self) -> list[str]:
        """Of a search's hits."""
        return [hit["_id"] for hit in self.json["hits"]["hits"]]

    @property
    def reason(self) -> str:
        """Of an error, checked to be in Elasticsearch's shape."""
        found = self.json
        assert found["status"] == self.status
        assert {"type", "reason"} <= set(found["error"]["root_cause"][0])
        return str(found["error"]["reason"])

    def all(self, name: bytes) -> list[str]:
        """The values of a header."""
        return [value.decode() for key, value in self.headers if key == name]


async def ask(
    app: ASGIApp,
    method: str,
    target: str,
    body: object = b"",
    headers: Headers = JSON,
) -> Answered:
    """The answer to one request.

    Args:
        app: the application.
        method: of HTTP.
        target: path and query, percent-encoded.
        body: bytes, or what is written as JSON.
        headers: in lower case; the length is put to them.
    """
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    raw_path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": raw_path,
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "headers": [*headers, (b"content-length", b"%d" % len(data))],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 9280),
    }
    waiting = [{"type": "http.request", "body": data, "more_body": False}]
    sent: list[Any] = []

    async def receive() -> Any:
        if waiting:
            return waiting.pop()
        return await asyncio.get_running_loop().create_future()  # a caller who stays

    async def send(message: Any) -> None:
        sent.append(message)

    await app(scope, receive, send)  # type: ignore[arg-type]
    start, *pieces = sent
    whole = b"".join(piece.get("body", b"") for piece in pieces)
    return Answered(start["status"], tuple((k, v) for k, v in start["headers"]), whole)
