"""An ASGI application behind uvicorn, as Elasticsearch's clients expect a server to behave."""

from __future__ import annotations

import signal
import socket
import sys
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING

import uvicorn

from descriptors.errors import SettingsError
from reranker.proxy.http_protocol import StrictHttp

if TYPE_CHECKING:
    from starlette.types import ASGIApp

__all__ = ["ServingSettings", "end_in_order", "listen", "server_of"]

_BACKLOG = 2048


@dataclass(frozen=True)
class ServingSettings:
    """How callers are served.

    Attributes:
        host: address to listen at.
        port: 0 for a free one.
        idle_s: seconds after which a connection without a request is closed; longer than the
            pools of most clients keep theirs, so that it is they who close.
        end_s: seconds that running requests are given when the server is told to end.
        connections: at most, at the same time; what comes beyond is answered 503.
    """

    host: str = "127.0.0.1"
    port: int = 9280
    idle_s: int = 75
    end_s: int = 30
    connections: int = 4096


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


def server_of(app: ASGIApp, settings: ServingSettings) -> uvicorn.Server:
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
            timeout_keep_alive=settings.idle_s,
            timeout_graceful_shutdown=settings.end_s,
            limit_concurrency=settings.connections,
            backlog=_BACKLOG,
        )
    )
