"""A line between a client and a server that a test can cut, or encrypt: a small TCP proxy."""

from __future__ import annotations

import select
import socket
import threading
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from ssl import PROTOCOL_TLS_SERVER, SSLContext
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.support.clock import HANG_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import trustme

_CHUNK = 65536
_POLL_S = 0.05


@dataclass
class _Connection:
    near: socket.socket
    far: socket.socket
    lost: bool  # what is sent goes nowhere, and nobody is told

    def hang_up(self) -> None:
        for end in (self.near, self.far):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


class Line:
    """Passes bytes on to a server, until it is cut.

    A line that is *broken* tells both ends, and takes no new connection. A *silent* one tells
    nobody: what is sent into it is lost, as with a cable pulled or a firewall that forgot.
    With `tls` it ends the encryption of its clients; the server is reached in plain text. `opened`
    counts the connections that were passed on, after the handshake if there is one.
    """

    def __init__(self, host: str, port: int, tls: SSLContext | None = None) -> None:
        self._server, self._tls, self.opened = (host, port), tls, 0
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._listening.settimeout(_POLL_S)
        self._connections: list[_Connection] = []
        self._lock = threading.Lock()
        self._broken = self._silent = self._closed = False
        self._words = b""
        self._cut: Callable[[Line], None] = Line.fall_silent
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    @property
    def port(self) -> int:
        return int(self._listening.getsockname()[1])

    @property
    def is_cut(self) -> bool:
        return self._broken or self._silent

    def break_off(self) -> None:
        self._broken = True
        self._hang_up()

    def fall_silent(self) -> None:
        with self._lock:
            self._silent = True
            for connection in self._connections:
                connection.lost = True

    def cut_at(self, words: bytes, cut: Callable[[Line], None]) -> None:
        """As soon as one end says this, which arrives nowhere any more."""
        self._words, self._cut = words, cut

    def mend(self) -> None:
        """New connections work; of those from the silence nobody ever hears again."""
        with self._lock:
            self._broken = self._silent = False

    def close(self) -> None:
        self._closed = True
        self._accepting.join()
        self._listening.close()
        self._hang_up()

    def _hang_up(self) -> None:
        with self._lock:
            connections, self._connections = self._connections, []
        for connection in connections:
            connection.hang_up()

    def _accept(self) -> None:
        while not self._closed:
            try:
                near, _ = self._listening.accept()
            except TimeoutError:
                continue
            if self._broken:
                near.close()
                continue
            try:
                if self._tls is not None:
                    near.settimeout(HANG_S)
                    near = self._tls.wrap_socket(near, server_side=True)
                far = socket.create_connection(self._server, timeout=HANG_S)
            except OSError:
                near.close()
                continue
            far.settimeout(None)
            self._connect(near, far)

    def _connect(self, near: socket.socket, far: socket.socket) -> None:
        with self._lock:
            made = _Connection(near, far, self._silent)
            self._connections.append(made)
            self.opened += 1
        if self._tls is not None:
            threading.Thread(target=self._pass_in_turn, args=(made,), daemon=True).start()
            return
        for ends in ((near, far), (far, near)):
            threading.Thread(target=self._pass_on, args=(made, *ends), daemon=True).start()

    def _pass_on(self, made: _Connection, source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError, ValueError):  # one of the ends has gone, or was closed by a cut
            while data := source.recv(_CHUNK):
                if self._words and self._words in data:
                    self._words = b""
                    self._cut(self)
                if not made.lost:
                    sink.sendall(data)
            if not made.lost:
                sink.shutdown(socket.SHUT_WR)

    def _pass_in_turn(self, made: _Connection) -> None:
        """Both directions in one thread: a TLS connection may not be read and written at once."""
        with suppress(OSError, ValueError):
            while True:
                for source in select.select([made.near, made.far], [], [])[0]:
                    sink = made.far if source is made.near else made.near
                    if not (data := source.recv(_CHUNK)):
                        made.hang_up()
                        return
                    sink.sendall(data)


@contextmanager
def encrypted(url: str, authority: trustme.CA, *names: str) -> Iterator[Line]:
    """A line to a plain server, with a certificate for these names and addresses."""
    server, tls = urlsplit(url), SSLContext(PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(tls)
    with closing(Line(str(server.hostname), server.port or 0, tls)) as line:
        yield line
