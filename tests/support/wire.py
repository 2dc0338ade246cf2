"""Servers and callers that speak bytes, for what a well-behaved client never sends."""

from __future__ import annotations

import asyncio
import contextlib
import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import uvloop
from uvicorn.server import ServerState

from reranker.proxy.server import server_of
from tests.support.clock import HANG_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine

    from starlette.types import ASGIApp, Receive, Scope, Send

    Turn = Callable[["Scripted", asyncio.StreamReader, asyncio.StreamWriter], Awaitable[bool]]

T = TypeVar("T")

OK = b"HTTP/1.1 200 OK\r\nX-elastic-product: Elasticsearch\r\ncontent-length: 2\r\n\r\nok"


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """A request as it came, chunks and all; empty at the end of the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""
    low = head.lower()
    if b"\r\ncontent-length:" in low:
        length = int(low.split(b"\r\ncontent-length:")[1].split(b"\r\n")[0])
        return head + await reader.readexactly(length)
    if b"\r\ntransfer-encoding: chunked" in low:
        while not head.endswith(b"\r\n0\r\n\r\n"):
            piece = await reader.read(65536)
            if not piece:
                raise asyncio.IncompleteReadError(head, None)
            head += piece
    return head


@dataclass
class Scripted:
    """An Elasticsearch that says what it is told to."""

    turn: Turn
    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    broken: int = 0
    _serving: set[asyncio.Task[Any]] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._serving.add(task)
        try:
            while await self.turn(self, reader, writer):
                pass
        except asyncio.IncompleteReadError:
            self.broken += 1
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._serving.discard(task)
            await closed(writer)

    async def end(self) -> None:
        """Nobody is left who serves."""
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


async def closed(writer: asyncio.StreamWriter) -> None:
    """At once: tests end with nothing left open."""
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


def run(test: Coroutine[Any, Any, T]) -> T:
    """On the loop that the service runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(test)


def on_a_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Makes a test of a coroutine."""

    @wraps(test)
    def ran(*arguments: Any, **named: Any) -> None:
        run(test(*arguments, **named))

    return ran


def answering(*answers: bytes) -> Turn:
    """The answers in turn, the last again and again; an empty one closes the connection."""

    async def turn(
        server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        request = await read_request(reader)
        if not request:
            return False
        answer = answers[min(len(server.requests), len(answers) - 1)]
        server.requests.append(request)
        writer.write(answer)
        await writer.drain()
        return bool(answer)

    return turn


@asynccontextmanager
async def scripted(turn: Turn, port: int = 0) -> AsyncIterator[Scripted]:
    """Such a server, while the block lasts."""
    script = Scripted(turn)
    server = await asyncio.start_server(script.serve, "127.0.0.1", port)
    script.port = server.sockets[0].getsockname()[1]
    try:
        yield script
    finally:
        server.close()
        await script.end()


@asynccontextmanager
async def served(app: ASGIApp) -> AsyncIterator[int]:
    """The port at which an application is served as `camsearch serve` would.

    Without uvicorn's `Server`, which looks at its switches ten times a second only.
    """
    config = server_of(app).config
    config.load()
    state = ServerState()
    make = partial(config.http_protocol_class, config, state, {})
    server = await asyncio.get_running_loop().create_server(make, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.gather(*state.tasks)
        await asyncio.sleep(0)


async def say(port: int, *pieces: bytes, wait_s: float = HANG_S) -> bytes:
    """What is answered until the other side closes, or says nothing for a moment."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answer = b""
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0.01)
        async with asyncio.timeout(wait_s):
            while not _is_whole(answer):
                piece = await reader.read(65536)
                if not piece:
                    break
                answer += piece
    finally:
        await closed(writer)
    return answer


def _is_whole(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if head.startswith(b"HTTP/1.1 100"):
        return _is_whole(body)
    if not end or b"connection: close" in head:
        return False
    if b"content-length: " in head:
        return len(body) >= int(head.split(b"content-length: ")[1].split(b"\r\n")[0])
    return b"chunked" not in head or body.endswith(b"0\r\n\r\n")


def error_of(answer: bytes) -> dict[str, Any]:
    """The error in Elasticsearch's shape, checked to be in it."""
    found: dict[str, Any] = json.loads(answer.partition(b"\r\n\r\n")[2])
    error = found["error"]
    assert answer.startswith(b"HTTP/1.1 %d" % found["status"])
    assert b"x-elastic-product: Elasticsearch" in answer
    assert error["root_cause"] == [{"type": error["type"], "reason": error["reason"]}]
    return found


async def own_app(scope: Scope, receive: Receive, send: Send) -> None:
    """Ours, as far as these tests go."""
    if scope["type"] == "lifespan":
        while True:
            kind = (await receive())["type"]
            await send({"type": f"{kind}.complete"})
            if kind == "lifespan.shutdown":
                return
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"ours"})
