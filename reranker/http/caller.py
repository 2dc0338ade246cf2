"""The client of one request: its body, and whether it is still connected."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from reranker.http.headers import value_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from starlette.types import Receive

__all__ = ["Caller", "CallerGone"]


# Watch for disconnects only after this delay: most answers are faster.
_SHORT_S = 0.02


class CallerGone(Exception):
    """The client has disconnected. Never leaves the proxy."""


class Caller:
    """Reads one request's body, then watches for a disconnect.

    Attributes:
        gone: whether the client has disconnected.
        answered: set before the last piece of the answer is sent; later disconnects are ignored.
    """

    def __init__(self, receive: Receive, read: bytes | None) -> None:
        """Args: ASGI's receive; the whole body if it has been read already, else None."""
        self._receive, self._read = receive, read
        self._all_read = asyncio.Event()
        self.gone = self.answered = False
        if read is not None:
            self._all_read.set()

    async def body(
        self, headers: Iterable[tuple[bytes, bytes]], small: int
    ) -> bytes | AsyncIterator[bytes] | None:
        """The body: whole if it is small or was read already, else in pieces; None if empty.

        Raises:
            CallerGone: the client has disconnected.
        """
        if self._read is not None:
            return self._read or None
        first, more = await self._next()
        if more and int(value_of(headers, b"content-length") or small + 1) <= small:
            pieces = [first]
            while more:
                piece, more = await self._next()
                pieces.append(piece)
            return b"".join(pieces)
        return self._pieces(first) if more else first or None

    async def _pieces(self, first: bytes) -> AsyncIterator[bytes]:
        yield first
        more = True
        while more:
            piece, more = await self._next()
            yield piece

    async def _next(self) -> tuple[bytes, bool]:
        """The next piece, and whether another follows."""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            self.gone = True
            raise CallerGone
        more = message.get("more_body", False)
        if not more:
            self._all_read.set()
        return message.get("body", b""), more

    @asynccontextmanager
    async def watched(self) -> AsyncIterator[None]:
        """Cancel the block when the client disconnects.

        Raises:
            CallerGone: it has disconnected.
        """
        task = asyncio.current_task()
        if task is None:  # pragma: no cover  ASGI runs in tasks
            raise RuntimeError("A request must be answered within a task.")

        def end(watch: asyncio.Task[None]) -> None:
            if not (watch.cancelled() or self.answered):
                self.gone = True
                task.cancel()

        watches = []

        def begin() -> None:
            watches.append(asyncio.create_task(self._until_gone()))
            watches[0].add_done_callback(end)

        beginning = asyncio.get_running_loop().call_later(_SHORT_S, begin)
        try:
            yield
        except asyncio.CancelledError:
            if self.gone and task.uncancel() == 0:
                raise CallerGone from None
            raise
        except Exception as error:
            if self.gone:
                raise CallerGone from error
            raise
        finally:
            beginning.cancel()
            for watch in watches:
                watch.cancel()

    async def _until_gone(self) -> None:
        await self._all_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass
