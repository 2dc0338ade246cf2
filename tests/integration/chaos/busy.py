"""An Elasticsearch that is too busy for a third of what it is sent: a small HTTP proxy."""

from __future__ import annotations

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.support.clock import HANG_S

_BUSY = {"type": "es_rejected_execution_exception", "reason": "the tests' queue is full"}
_PASSED_ON = ("content-type", "x-elastic-product")


class BusyServer:
    """Passes requests on; refuses every third item of bulk writes, and every fifth one wholly."""

    def __init__(self, url: str) -> None:
        server = urlsplit(url)
        assert server.hostname
        assert server.port
        self.behind = (server.hostname, server.port)
        self.items = self.refused = self.bulks = 0
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def close(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def refuses_all(self) -> bool:
        with self._lock:
            self.bulks += 1
            return self.bulks % 5 == 0

    def refuses_item(self) -> bool:
        with self._lock:
            self.items += 1
            refused = self.items % 3 == 0
            self.refused += refused
            return refused


Answer = tuple[int, dict[str, str], bytes]


def bulk(busy: BusyServer, path: str, headers: dict[str, str], body: bytes) -> Answer:
    """What is taken goes to the server; the answers stand in the order of the items."""
    json_type = {"content-type": "application/json", "x-elastic-product": "Elasticsearch"}
    if busy.refuses_all():
        said = {"error": _BUSY, "status": 429}
        return 429, json_type, json.dumps(said).encode()
    taken, answers = [], []
    for lines in _items(body):
        ((verb, action),) = json.loads(lines[0]).items()
        if busy.refuses_item():
            answers.append({verb: {**action, "status": 429, "error": _BUSY}})
        else:
            taken += lines
            answers.append(None)
    if not taken:
        return 200, json_type, json.dumps({"errors": True, "items": answers}).encode()
    status, kept, data = pass_on(busy, "POST", path, headers, b"\n".join(taken) + b"\n")
    answer: dict[str, Any] = json.loads(data)
    given = iter(answer["items"])
    answer["items"] = [next(given) if item is None else item for item in answers]
    answer["errors"] = True
    return status, kept, json.dumps(answer).encode()


def _items(body: bytes) -> list[list[bytes]]:
    lines = iter([line for line in body.split(b"\n") if line])
    return [[line] if b'{"delete"' in line[:12] else [line, next(lines)] for line in lines]


def pass_on(
    busy: BusyServer, method: str, path: str, headers: dict[str, str], body: bytes | None
) -> Answer:
    connection = http.client.HTTPConnection(*busy.behind, timeout=HANG_S)
    try:
        connection.request(method, path, body, headers)
        answer = connection.getresponse()
        kept = {k: v for k, v in answer.getheaders() if k.lower() in _PASSED_ON}
        return answer.status, kept, answer.read()
    finally:
        connection.close()


def _handler(busy: BusyServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *args: object) -> None:
            """Nothing: it would fill the tests' output."""

        def _answer(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            body = self.rfile.read(length) if length else None
            dropped = ("host", "content-length", "connection", "accept-encoding")
            headers = {k: v for k, v in self.headers.items() if k.lower() not in dropped}
            if "/_bulk" in self.path and body:
                status, kept, data = bulk(busy, self.path, headers, body)
            else:
                status, kept, data = pass_on(busy, self.command, self.path, headers, body)
            self.send_response(status)
            for name, value in kept.items():
                self.send_header(name, value)
            self.send_header("content-length", str(len(data)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(data)

        do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = _answer  # noqa: N815

    return Handler
