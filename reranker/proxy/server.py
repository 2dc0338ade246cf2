"""uvicorn, with stricter HTTP/1.1 as Elasticsearch's clients expect it.

uvicorn does not limit the size or duration of a request's head, adds trailers to the headers, and
loses the body of a request that offers an upgrade, as Java's clients do.
"""

from __future__ import annotations

import signal
import socket
import sys
import threading
from typing import TYPE_CHECKING

import httptools
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from descriptors.errors import SettingsError
from reranker.http.error_answers import in_shape
from reranker.http.headers import without_upgrade

if TYPE_CHECKING:
    import asyncio

    from starlette.types import ASGIApp

__all__ = ["END_S", "StrictHttp", "end_in_order", "listen", "server_of"]

# Seconds that running requests get on shutdown.
END_S = 30
# Seconds after which idle connections are closed; longer than the pools of most clients keep
# theirs, so that clients close first.
_IDLE_S = 75
# Concurrent connections; further ones are answered 503.
_MAX_CONNECTIONS = 4096
_BACKLOG = 2048
# Elasticsearch's own limit is 16 KiB.
_LONGEST_HEAD = 64 * 1024


def end_in_order() -> None:
    """Make SIGTERM exit normally, with status 0.

    uvicorn finishes running requests and raises the signal again, which would end the process
    without joining threads and sending spans.
    """
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def listen(host: str, port: int) -> socket.socket:
    """Open a listening socket; the caller closes it.

    Raises:
        SettingsError: the address is not available.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SettingsError(
            f"{host}:{port} is not available ({error}): choose another address or port, or stop "
            "the process that uses it."
        ) from error
    listening.listen(_BACKLOG)
    return listening


def server_of(app: ASGIApp, end_s: int = END_S) -> uvicorn.Server:
    """Make a server; start it with `run(sockets=[…])` and stop it with `should_exit`."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=StrictHttp,
            loop="uvloop",
            ws="none",
            access_log=False,
            log_config=None,
            # As Elasticsearch, which sends neither.
            server_header=False,
            date_header=False,
            # Do not trust addresses in callers' headers.
            proxy_headers=False,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=end_s,
            limit_concurrency=_MAX_CONNECTIONS,
            backlog=_BACKLOG,
        )
    )


class StrictHttp(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with limited heads, no trailers, no upgrades, and JSON errors.

    Attributes:
        max_head_s: seconds from the first byte of a request, or from connecting, to the end of
            its head.
    """

    max_head_s = 30.0

    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    # Bytes received since the last complete head or piece of a body.
    _waiting = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the timer of the first head."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timer."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse malformed or too long heads."""
        self._unset_keepalive_if_required()
        self._waiting += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._go_on_without_upgrade(data[upgrade.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("The request is malformed HTTP/1.1.")
        else:
            if self._waiting > _LONGEST_HEAD:
                self.send_400_response(f"A head has more than {_LONGEST_HEAD} bytes.")

    def on_message_begin(self) -> None:
        """Start the timer of a head."""
        super().on_message_begin()
        self._in_head = True
        self._start_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Add a header; drop trailers, which could contradict the body's length."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Stop the timer."""
        self._in_head, self._waiting = False, 0
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Pass on a piece of a body."""
        self._waiting = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Finish a request."""
        self._waiting = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer 400 in Elasticsearch's format, and close the connection."""
        self._refuse(400, "Bad Request", msg)

    def _should_upgrade(self) -> bool:
        """Tell uvicorn not to answer a request with an upgrade; `data_received` does."""
        return True

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Parse a request again without its offer of an upgrade, since the parser skips its body.

        Source:
            RFC 9110 section 7.8: a server may ignore the offer.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method == b"CONNECT":
            self.send_400_response("CONNECT is not supported.")
            return
        lines = [b"%b %b HTTP/%b" % (method, self.url, version.encode())]
        lines += [b"%b: %b" % pair for pair in without_upgrade(self.headers)]
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn: ignore what follows a request with `Connection: close`.
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.data_received(b"\r\n".join(lines) + b"\r\n\r\n" + rest)

    def _start_timer(self) -> None:
        self._stop_timer()
        self._timer = self.loop.call_later(self.max_head_s, self._too_slow)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_slow(self) -> None:
        self._refuse(408, "Request Timeout", f"No request came in {self.max_head_s:.0f} s.")

    def _refuse(self, status: int, phrase: str, reason: str) -> None:
        """Send an error, unless an earlier request is still unanswered, and close."""
        if self.transport.is_closing():
            return
        if self._is_turn():
            answer = in_shape(status, "illegal_argument_exception", reason)
            length = b"%d" % len(answer.body)
            headers = (
                *answer.headers,
                (b"content-length", length),
                (b"connection", b"close"),
            )
            head = b"".join(b"%b: %b\r\n" % pair for pair in headers)
            start = b"HTTP/1.1 %d %b\r\n" % (status, phrase.encode())
            self.transport.write(start + head + b"\r\n" + answer.body)
        if self.cycle is not None:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        self.transport.close()

    def _is_turn(self) -> bool:
        """Whether the next answer on this connection belongs to the request being read."""
        running = self.cycle
        if running is None or running.response_complete:
            return True
        return running.more_body and not running.response_started and not self.pipeline
