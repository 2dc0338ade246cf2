"""Serves a folder of `tiny_service` in a process of its own, until that is told to end."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from reranker.app import make_app
from reranker.observability.logs import configure_logs
from reranker.proxy.server import end_in_order, listen, server_of
from tests.support.tiny_service import tiny_service

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from pathlib import Path

    from starlette.types import ASGIApp, Message, Receive, Scope, Send


def serve_tiny(folder: Path, test: Connection) -> None:
    """Serve.

    Args:
        folder: of `make_gallery`.
        test: is told the port, then "read" or "part" for each piece of a search that was read (the
            last one or not), and "closed" at the end. No search is answered before it sends a word.
    """
    configure_logs()
    end_in_order()
    try:
        with tiny_service(folder) as service, listen("127.0.0.1", 0) as listening:
            test.send(listening.getsockname()[1])
            with suppress(KeyboardInterrupt):  # as the command does
                app = _held(make_app(service), test)
                server_of(app).run(sockets=[listening])
    finally:
        test.send("closed")


def _held(app: ASGIApp, test: Connection) -> ASGIApp:
    """Reads each search, says so, and hands it on once it may."""
    is_free = threading.Event()

    def wait() -> None:
        with suppress(EOFError):
            test.recv()
            is_free.set()

    threading.Thread(target=wait, daemon=True).start()

    async def held(scope: Scope, receive: Receive, send: Send) -> None:
        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                test.send("part" if message["more_body"] else "read")
                if not message["more_body"]:
                    await asyncio.to_thread(is_free.wait)
            return message

        is_search = scope["type"] == "http" and scope["method"] == "POST"
        await app(scope, received if is_search else receive, send)

    return held
