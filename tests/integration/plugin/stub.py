"""The seam to the service: its two paths, answered by a method on the spot, or as a test scripts them."""

from __future__ import annotations

import base64
import json
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from descriptors.arrays import Box
from descriptors.images import read_image
from tests.support.clock import HANG_S
from tests.support.house import REGIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.house import House

__all__ = ["Asked", "Stub", "served"]

Reply = tuple[int, bytes]


@dataclass(frozen=True)
class Asked:
    """A request that came."""

    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass
class Stub:
    """Answers as the service does, unless `instead` gives another answer, while `answers` is set."""

    house: House
    url: str = ""
    key: str = ""
    answers: threading.Event = field(default_factory=threading.Event)  # set: it does not wait
    instead: Callable[[Asked], Reply | None] = lambda asked: None
    asked: list[Asked] = field(default_factory=list)

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
        made = self._ranked(asked.body) if asked.path.endswith("rank") else self._vector(asked.body)
        return 200, json.dumps(made).encode()

    def _vector(self, body: dict[str, Any]) -> dict[str, Any]:
        vector = self.query(body).descriptor.tolist()
        return self._said() | {"dims": len(vector), "vector": vector}

    def _ranked(self, body: dict[str, Any]) -> dict[str, Any]:
        with self.house.service() as service:
            documents = self.house.gallery.get(body["ids"])
            matches = service.matcher.match(self.query(body), list(documents.values()), REGIONS)
        found = {i: match for i, match in matches.items() if match is not None}
        missing = [i for i in body["ids"] if i not in matches]
        scores = {i: (1 + match.score) / 2 for i, match in found.items()}
        boxes = {i: match.box.as_list() for i, match in found.items()}
        return self._said() | {"scores": scores, "boxes": boxes, "missing": missing}

    def _said(self) -> dict[str, Any]:
        return {"version": 1, "fingerprint": self.house.method.fingerprint()}

    def query(self, body: dict[str, Any]) -> Any:
        """The description of the image of a body."""
        image, box = body["image"], body.get("box")
        if "id" in image:
            data = self.house.data(int(image["id"]))
        else:
            data = base64.b64decode(image["data"])
        return self.house.method.describe_query(
            read_image(data), REGIONS, None if box is None else Box(*box)
        )


def refused(status: int, reason: str) -> Reply:
    """An error in Elasticsearch's form."""
    error = {"type": "x", "reason": reason, "root_cause": []}
    return status, json.dumps({"error": error, "status": status}).encode()


@contextmanager
def served(house: House) -> Iterator[Stub]:
    """A stub on a port of its own."""
    stub = Stub(house)
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
