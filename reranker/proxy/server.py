"""An ASGI application behind uvicorn, as Elasticsearch's clients expect a server to behave.

uvicorn's parser is strict about lengths and line ends, but takes heads without end and at any
pace, counts trailers among the headers, and loses the body of a request that offers an upgrade,
as Java's clients do.
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

# Seconds that running requests are given when the server is told to end.
END_S = 30
# Seconds after which a connection without a request is closed; longer than the pools of most
# clients keep theirs, so that it is they who close.
_IDLE_S = 75
# Connections at the same time; what comes beyond is answered 503.
_MAX_CONNECTIONS = 4096
_BACKLOG = 2048
# Elasticsearch takes 16 KiB; what is between is its to refuse.
_LONGEST_HEAD = 64 * 1024


def end_in_order() -> None:
    """Have SIGTERM close what is open, with status 0.

    uvicorn answers what it has taken and then raises the signal again, which would end the process
    on the spot: threads not joined, spans not sent.
    """
    if threading.current_thread() is threading.main_thread():  # elsewhere there are no signals
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))


def listen(host: str, port: int) -> socket.socket:
    """A socket that accepts already; its owner closes it.

    Raises:
        SettingsError: the address cannot be listened at.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise SettingsError(
            f"{host}:{port} cannot be listened at ({error}): choose another address or port, or end what "
            "holds it."
        ) from error
    listening.listen(_BACKLOG)
    return listening


def server_of(app: ASGIApp, end_s: int = END_S) -> uvicorn.Server:
    """A server not yet started; `run(sockets=[…])` and `should_exit` are its switches."""
    return uvicorn.Server(
        uvicorn.Config(
            app,
            http=StrictHttp,
            loop="uvloop",
            ws="none",
            access_log=False,
            log_config=None,
            # Elasticsearch sends neither.
            server_header=False,
            date_header=False,
            # Addresses in headers of the caller's are for Elasticsearch, not for us to believe.
            proxy_headers=False,
            timeout_keep_alive=_IDLE_S,
            timeout_graceful_shutdown=end_s,
            limit_concurrency=_MAX_CONNECTIONS,
            backlog=_BACKLOG,
        )
    )


class StrictHttp(HttpToolsProtocol):
    """uvicorn's HTTP/1.1 with bounded heads, no trailers, no upgrades, and refusals in shape.

    Attributes:
        max_head_s: seconds from the first byte of a request, or from connecting, to the end of
            its head.
    """

    max_head_s = 30.0

    _timer: asyncio.TimerHandle | None = None
    _in_head = True
    # Bytes that came without an end of a head or a piece of a body.
    _waiting = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the clock: somebody who connects and says nothing is not waited for."""
        super().connection_made(transport)
        self._start_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is left running."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and refuse what is malformed or too long."""
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
        """A request begins."""
        super().on_message_begin()
        self._in_head = True
        self._start_timer()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Trailers are dropped: among the headers they could contradict the body's length."""
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """A head is complete; one that offers an upgrade is read again without."""
        self._in_head, self._waiting = False, 0
        self._stop_timer()
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A piece of a body."""
        self._waiting = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The end of a request."""
        self._waiting = 0
        super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Refuse in Elasticsearch's shape, and close: what follows cannot be told apart."""
        self._refuse(400, "Bad Request", msg)

    def _should_upgrade(self) -> bool:
        """Makes uvicorn leave such a request to `data_received`, before anybody answers it."""
        return True

    def _go_on_without_upgrade(self, rest: bytes) -> None:
        """Read the request again as if it offered none, since the parser skips its body.

        Source:
            RFC 9110 section 7.8: a server may ignore the offer.
        """
        method, version = self.parser.get_method(), self.parser.get_http_version()
        if method == b"CONNECT":  # an upgrade by itself
            self.send_400_response("CONNECT is not served here.")
            return
        lines = [b"%b %b HTTP/%b" % (method, self.url, version.encode())]
        lines += [b"%b: %b" % pair for pair in without_upgrade(self.headers)]
        self.parser = httptools.HttpRequestParser(self)
        # As uvicorn has it: what follows a request with `Connection: close` is not read.
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
        """An answer past the application, where it cannot be taken for another's; then the end."""
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
        """Whether the next answer on this connection is that of the request being read."""
        running = self.cycle
        if running is None or running.response_complete:
            return True
        return running.more_body and not running.response_started and not self.pipeline
