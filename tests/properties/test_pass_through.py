"""Whatever is searched for without our names reaches the server byte for byte."""

from __future__ import annotations

import gzip
import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from hypothesis import given, strategies

from reranker.http.caller import Caller
from reranker.http.exchange import Answer, Request
from reranker.proxy.proxy import Proxy
from tests.support.wire import own_app, run

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

names = strategies.text(max_size=8).filter(lambda name: "camsearch" not in name)
values = strategies.recursive(
    strategies.none() | strategies.booleans() | strategies.floats(allow_nan=False) | names,
    lambda inner: strategies.lists(inner, max_size=3) | strategies.dictionaries(names, inner),
    max_leaves=8,
)
written = strategies.builds(
    lambda value, indent, ascii_only: json.dumps(
        value, indent=indent, ensure_ascii=ascii_only
    ).encode("utf-8", "surrogatepass"),
    values,
    strategies.sampled_from([None, 1]),
    strategies.booleans(),
)
bodies = written | strategies.binary(max_size=200)


class Noted:
    """The server's end: whole bodies."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []

    async def ask(self, request: Request) -> Answer:
        raise NotImplementedError

    async def forward(self, scope: Scope, receive: Receive, send: Send, body: bytes | None) -> None:
        found = await Caller(receive, body).body(scope["headers"], 1 << 20)
        if found is not None and not isinstance(found, bytes):
            found = b"".join([piece async for piece in found])
        self.bodies.append(found or b"")
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b""})


async def not_ours(request: Request) -> Answer | None:
    """As the real one does with a body that does not name us."""
    return None


@given(
    body=bodies,
    path=strategies.sampled_from([b"/_search", b"/images/_search", b"/_msearch", b"/_bulk"]),
    cuts=strategies.lists(strategies.integers(0, 200), max_size=3),
    packed=strategies.booleans(),
    length_known=strategies.booleans(),
)
def test_a_body_without_our_names_arrives_byte_for_byte(
    body: bytes, path: bytes, cuts: list[int], packed: bool, length_known: bool
) -> None:
    sent = gzip.compress(body) if packed else body
    headers = [(b"content-type", b"application/json")]
    if packed:
        headers.append((b"content-encoding", b"gzip"))
    if length_known:
        headers.append((b"content-length", b"%d" % len(sent)))
    edges = [0, *sorted(min(cut, len(sent)) for cut in cuts), len(sent)]
    pieces = [sent[a:b] for a, b in pairwise(edges)]
    assert arrived(pieces, path, headers) == [sent]


def arrived(pieces: list[bytes], path: bytes, headers: list[tuple[bytes, bytes]]) -> list[bytes]:
    upstream = Noted()
    scope: dict[str, Any] = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "path": path.decode(),
        "raw_path": path,
        "query_string": b"",
        "headers": headers,
    }
    waiting = [
        {"type": "http.request", "body": piece, "more_body": i < len(pieces) - 1}
        for i, piece in enumerate(pieces)
    ]

    async def receive() -> Any:
        return waiting.pop(0)

    async def send(message: Any) -> None:
        pass

    run(Proxy(upstream, own_app, not_ours)(scope, receive, send))
    return upstream.bodies
