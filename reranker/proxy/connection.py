"""A connection to Elasticsearch: sends requests and parses answers with httptools.

A client library does more than forwarding needs (cookies, redirects, headers as text), which
doubles the proxy's overhead on a small search. See docs/adr/0012.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import httptools

if TYPE_CHECKING:
    # Not at run time: uvloop's transports are not subclasses, and beartype would refuse them.
    from asyncio import BaseTransport, Transport
    from collections.abc import AsyncIterator

    from reranker.http.exchange import Headers

__all__ = ["BrokenOff", "Connection"]

# Bytes buffered of an answer before reading pauses.
_READ_AHEAD = 512 * 1024
_INTERIM = range(100, 200)
# Statuses without a body, whatever the headers say.
_EMPTY = frozenset({204, 304})

# After these statuses Elasticsearch ignores further requests on the connection without closing it.
_DEAF_AFTER = frozenset({400, 408, 413, 414, 417, 431})


class BrokenOff(OSError):
    """The connection ended, or the answer is malformed HTTP. Never leaves the upstream."""


class Connection(asyncio.Protocol):
    """Carries one exchange at a time.

    Attributes:
        status, headers: of the answer, after `exchange`.
        complete: whether the whole answer has arrived; `piece` returns what is buffered of it.
        used: whether it carried an exchange before this one.
        idle_since: end of the last exchange, in seconds of the loop's clock.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: Transport
        self._parser = httptools.HttpResponseParser(self)
        self._waiter: asyncio.Future[None] | None = None
        self._writable: asyncio.Future[None] | None = None
        self._error: BrokenOff | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._sender: asyncio.Task[None] | None = None
        self.used = False
        self.idle_since = 0.0
        self._begin(head_only=False, patience_s=0.0)
        self.complete = True

    def _begin(self, *, head_only: bool, patience_s: float) -> None:
        self.status, self._fields = 0, list[tuple[bytes, bytes]]()
        self._held, self._size, self._paused = list[bytes](), 0, False
        self._headed = self.complete = self._keep = False
        self._head_only, self._patience_s = head_only, patience_s
        self._heard = self._loop.time()

    @property
    def headers(self) -> Headers:
        """Headers of the answer, with lower-case names."""
        return tuple(self._fields)

    @property
    def is_open(self) -> bool:
        """Whether the connection can send a request."""
        return self._error is None and not self._transport.is_closing()

    async def exchange(
        self,
        method: bytes,
        start: bytes,
        body: bytes | AsyncIterator[bytes] | None,
        *,
        chunked: bool,
        patience_s: float,
    ) -> None:
        """Send a request and read the head of its answer.

        Args:
            method: in capitals.
            start: request line and headers, with the empty line.
            body: whole or in pieces.
            chunked: whether to frame the pieces as chunks.
            patience_s: timeout in seconds without a byte in either direction.

        Raises:
            BrokenOff: there is no answer.
        """
        self._begin(head_only=method == b"HEAD", patience_s=patience_s)
        self._timer = self._loop.call_later(patience_s, self._look_at_clock)
        if body is None or isinstance(body, bytes):
            self._transport.write(start + body if body else start)
        else:
            self._transport.write(start)
            self._sender = asyncio.create_task(self._send_pieces(body, chunked=chunked))
        while not self._headed:
            await self._news()

    async def piece(self) -> bytes:
        """The next piece of the body; waits for one if nothing is buffered.

        Raises:
            BrokenOff: the connection ended before the answer.
        """
        while not (self._held or self.complete):
            await self._news()
        found = self._held[0] if len(self._held) == 1 else b"".join(self._held)
        self._held.clear()
        self._size = 0
        if self._paused:
            self._paused = False
            self._transport.resume_reading()
        return found

    def end(self) -> bool:
        """Finish or abort the exchange; return whether the connection can be reused."""
        if self._timer is not None:
            self._timer.cancel()
        sent = self._sender is None or (self._sender.done() and not self._sender.cancelled())
        if self._sender is not None:
            self._sender.cancel()
            self._sender = None
        keep = self._keep and self.status not in _DEAF_AFTER
        reusable = sent and self.complete and keep and self.is_open
        if not reusable:
            self.close()
        self.used = True
        return reusable

    def close(self) -> None:
        """Abort the connection, so that a partly sent request does not look complete."""
        self._transport.abort()

    async def _send_pieces(self, body: AsyncIterator[bytes], *, chunked: bool) -> None:
        try:
            async for piece in body:
                if piece:
                    self._transport.write(
                        b"%x\r\n%b\r\n" % (len(piece), piece) if chunked else piece
                    )
                    self._heard = self._loop.time()
                if self._writable is not None:
                    await self._writable
            if chunked:
                self._transport.write(b"0\r\n\r\n")
        except Exception as error:  # noqa: BLE001  passed on to the reader
            self._fail(BrokenOff(f"The body broke off ({type(error).__name__})."))

    async def _news(self) -> None:
        """Wait for an event.

        Raises:
            BrokenOff: the connection has failed.
        """
        if self._error is not None:
            raise self._error
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _fail(self, error: BrokenOff) -> None:
        if self._error is None:
            self._error = error
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_exception(self._error)
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._transport.abort()

    def _look_at_clock(self) -> None:
        left = self._heard + self._patience_s - self._loop.time()
        if left <= 0 and not self._paused:
            self._fail(BrokenOff(f"Nothing came for {self._patience_s:g} s."))
        else:
            self._timer = self._loop.call_later(max(left, 0.1), self._look_at_clock)

    # asyncio's callbacks.

    def connection_made(self, transport: BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport  # type: ignore[assignment]  # of a stream

    def connection_lost(self, exc: Exception | None) -> None:
        """Complete an answer without a length, or fail."""
        if self._headed and not self.complete and exc is None and self._is_until_end():
            self.complete = True
            self._wake()
            return
        self._fail(BrokenOff("The connection ended."))

    def data_received(self, data: bytes) -> None:
        """Parse the answer."""
        self._heard = self._loop.time()
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if self.complete:  # unexpected bytes after a complete answer
                self.close()
            else:
                self._fail(BrokenOff("The answer is malformed HTTP/1.1."))
        if self._head_only and self._headed:
            # The parser would wait for the announced body, which HEAD does not have.
            self._parser = httptools.HttpResponseParser(self)
            self.complete = True
        self._wake()

    def pause_writing(self) -> None:
        """Make the sender wait."""
        self._writable = self._loop.create_future()

    def resume_writing(self) -> None:
        """Let the sender continue."""
        if self._writable is not None and not self._writable.done():
            self._writable.set_result(None)
        self._writable = None

    # httptools' callbacks.

    def on_message_begin(self) -> None:
        """Start a final or interim answer."""
        if self.complete:
            raise BrokenOff("Unexpected answer.")
        self._fields.clear()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; drop trailers."""
        if not self._headed:
            self._fields.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """Finish the head, unless it is interim."""
        self.status = self._parser.get_status_code()
        if self.status not in _INTERIM:
            self._headed, self._keep = True, self._parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        """Buffer a piece of the body, and pause reading if the buffer is full."""
        self._held.append(body)
        self._size += len(body)
        if self._size > _READ_AHEAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def on_message_complete(self) -> None:
        """Finish the answer, unless it is interim."""
        if self._headed:
            self.complete = True

    def _is_until_end(self) -> bool:
        framed = {b"content-length", b"transfer-encoding"}
        return self.status not in _EMPTY and not any(name in framed for name, _ in self._fields)
