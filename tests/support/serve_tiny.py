"""A process of its own that serves a folder of `tiny_service`, until it is told to end.

python -m tests.support.serve_tiny FOLDER   prints its port; answers no search before it gets a line.

It prints a line for each piece of a search that it has read: "read" for the last one, else "part".
"""

from __future__ import annotations

import asyncio
import sys
import threading
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from reranker.app import make_app
from reranker.observability.logs import configure_logs
from reranker.proxy.server import end_in_order, listen, server_of
from tests.support.tiny_service import tiny_service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send


@contextmanager
def _told() -> Iterator[None]:
    """Says at the end that all before it is closed."""
    try:
        yield
    finally:
        print("closed", flush=True)  # noqa: T201


def _held(app: ASGIApp) -> ASGIApp:
    """Reads each search, says so, and hands it on once a line has come in."""
    is_free = threading.Event()
    threading.Thread(target=lambda: sys.stdin.readline() and is_free.set(), daemon=True).start()

    async def held(scope: Scope, receive: Receive, send: Send) -> None:
        async def received() -> Message:
            message = await receive()
            if message["type"] == "http.request":
                print("part" if message["more_body"] else "read", flush=True)  # noqa: T201
                if not message["more_body"]:
                    await asyncio.to_thread(is_free.wait)
            return message

        is_search = scope["type"] == "http" and scope["method"] == "POST"
        await app(scope, received if is_search else receive, send)

    return held


def main(folder: Path) -> None:
    """Serve."""
    configure_logs()
    end_in_order()
    with _told(), tiny_service(folder) as service, listen("127.0.0.1", 0) as listening:
        print(listening.getsockname()[1], flush=True)  # noqa: T201
        with suppress(KeyboardInterrupt):  # as the command does
            server_of(_held(make_app(service))).run(sockets=[listening])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
