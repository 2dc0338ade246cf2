"""What is answered while there is nothing yet to answer with."""

from __future__ import annotations

import asyncio
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import orjson

from reranker.http.error_answers import in_shape
from reranker.http.exchange import JSON, Answer
from reranker.proxy.serving import server_of

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Coroutine

    from starlette.types import Receive, Scope, Send

    from reranker.proxy.serving import ServingSettings

    Told = Callable[[str], None]

__all__ = ["answer_until"]

T = TypeVar("T")

_LIVE, _READY = "/_camsearch/health/live", "/_camsearch/health/ready"
_AGAIN = (b"retry-after", b"1")


def answer_until(
    wait: Callable[[Told], Coroutine[Any, Any, T]],
    listening: socket.socket,
    settings: ServingSettings,
) -> T:
    """Answer that nothing is ready until what is waited for is there, and return that.

    Args:
        wait: is told where to say what it waits for.
        listening: stays open: who comes between this server and the next waits in line.
        settings: how callers are served.

    Raises:
        Exception: what the waiting ends with.
    """
    app = _NotYet(wait)
    server = server_of(app, settings)

    def end(_: object) -> None:
        server.should_exit = True

    app.ended = end
    server.run(sockets=[listening.dup()])
    return app.found()


class _NotYet(Generic[T]):
    """An ASGI application that waits."""

    ended: Callable[[object], None]

    def __init__(self, wait: Callable[[Told], Coroutine[Any, Any, T]]) -> None:
        self._wait, self._said = wait, "It has not been asked yet."
        self._waiting: asyncio.Task[T] | None = None

    def found(self) -> T:
        """What was waited for."""
        if self._waiting is None:
            raise RuntimeError("The server did not start.")
        return self._waiting.result()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Wait from the server's start to its end; answer requests meanwhile."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        answer = self._answer(scope["path"])
        length = (b"content-length", b"%d" % len(answer.body))
        headers = [*answer.headers, length]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        self._waiting = asyncio.create_task(self._wait(self._tell))
        self._waiting.add_done_callback(self.ended)
        await send({"type": "lifespan.startup.complete"})
        await receive()
        self._waiting.cancel()  # does nothing where it has ended
        await send({"type": "lifespan.shutdown.complete"})

    def _tell(self, said: str) -> None:
        self._said = said

    def _answer(self, path: str) -> Answer:
        if path == _LIVE:
            return _json(HTTPStatus.OK, {"status": "live"})
        if path == _READY:
            check = {"name": "elasticsearch", "passed": False, "said": self._said}
            unknown = dict.fromkeys(("fingerprint", "weights", "whitening"), "")
            return _json(
                HTTPStatus.SERVICE_UNAVAILABLE,
                {"status": "not ready", "checks": [check], **unknown},
            )
        refused = in_shape(
            HTTPStatus.SERVICE_UNAVAILABLE, "connect_transport_exception", self._said
        )
        return Answer(refused.status, (*refused.headers, _AGAIN), refused.body)


def _json(status: int, body: dict[str, Any]) -> Answer:
    return Answer(status, JSON, orjson.dumps(body))
