"""The caller's side of one request: its body, and whether somebody still waits for the answer."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from reranker.http.headers import value_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from starlette.types import Receive

__all__ = ["Caller", "CallerGone"]


# Most answers come sooner, and are not worth a task that watches.
_SHORT_S = 0.02


class CallerGone(Exception):
    """Nobody waits for this answer any more. Never leaves the proxy."""


class Caller:
    """Reads one request's body, then watches whether its sender stays.

    Attributes:
        answered: set before the last piece of the answer is sent: what ends after it is no loss.
    """

    def __init__(self, receive: Receive, read: bytes | None) -> None:
        """Args: receive of the request; what has been read of its body, all of it, or None."""
        self._receive, self._read = receive, read
        self._all_read = asyncio.Event()
        self.gone = self.answered = False
        if read is not None:
            self._all_read.set()

    async def body(
        self, headers: Iterable[tuple[bytes, bytes]], small: int
    ) -> bytes | AsyncIterator[bytes] | None:
        """The body: whole if it is small or read already, else piece by piece; None if there is none.

        Raises:
            CallerGone: it will not come any more.
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
        """Ends what runs inside when the caller goes.

        Raises:
            CallerGone: it went.
        """
        task = asyncio.current_task()
        if task is None:  # pragma: no cover  ASGI runs in tasks
            raise RuntimeError("A request is answered within a task.")

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
