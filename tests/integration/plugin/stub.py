"""The service that the plugin asks, on a port, with answers that a test may script."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from reranker.app import make_app
from tests.support.clock import HANG_S
from tests.support.tiny_service import ask

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp

    from tests.support.house import House

__all__ = ["Asked", "Stub", "refused", "served"]

Reply = tuple[int, bytes]


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Stub:
    """Answers by the service's own endpoints, unless `instead` does, while `answers` is set."""

    app: ASGIApp
    url: str = ""
    key: str = ""
    instead: Callable[[Asked], Reply | None] = lambda asked: None
    answers: threading.Event = field(default_factory=threading.Event)  # set: it does not wait
    asked: list[Asked] = field(default_factory=list)
    one: threading.Lock = field(default_factory=threading.Lock)  # `ask` has a loop of its own

    def reset(self) -> None:
        """Answer as the service again."""
        self.key, self.instead = "", lambda asked: None
        self.answers.set()
        self.asked.clear()

    def answer(self, asked: Asked) -> Reply:
        """Status and body."""
        self.asked.append(asked)
        self.answers.wait(HANG_S)
        scripted = self.instead(asked)
        if scripted is not None:
            return scripted
        if self.key and asked.headers.get("Authorization") != f"ApiKey {self.key}":
            return refused(401, "unable to authenticate")
        # The gallery in a folder that answers here has the same documents.
        body = asked.body | ({"index": "images"} if "index" in asked.body else {})
        with self.one:
            found = ask(self.app, "POST", asked.path, json=body)
        return found.status_code, found.content


def refused(status: int, reason: str) -> Reply:
    """An error in Elasticsearch's form."""
    error = {"type": "x", "reason": reason, "root_cause": []}
    return status, json.dumps({"error": error, "status": status}).encode()


@contextmanager
def served(house: House) -> Iterator[Stub]:
    """A service over the gallery, on a port of its own."""
    with house.service() as service:
        stub = Stub(make_app(service))
        stub.reset()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                status, said = stub.answer(Asked(self.path, dict(self.headers), body))
                self.send_response(status)
                self.send_header("Content-Length", str(len(said)))
                self.end_headers()
                self.wfile.write(said)

            def log_message(self, *_: object) -> None:
                """Nothing."""

        class Server(ThreadingHTTPServer):
            request_queue_size, daemon_threads = 256, True

        with Server(("127.0.0.1", 0), Handler) as server:
            stub.url = f"http://127.0.0.1:{server.server_address[1]}"
            threading.Thread(target=server.serve_forever, daemon=True).start()
            yield stub
            server.shutdown()
