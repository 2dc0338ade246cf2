"""`camsearch serve --check`, which compose.yaml asks."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest


class Ready(BaseHTTPRequestHandler):
    status = 200

    def do_GET(self):
        assert self.path == "/_camsearch/health/ready"
        self.send_response(self.status)
        self.send_header("content-length", "5")
        self.end_headers()
        self.wfile.write(b"words")

    def log_message(self, *_):
        pass


@pytest.fixture
def port():
    with HTTPServer(("127.0.0.1", 0), Ready) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("host", "status", "expected"),
    [("127.0.0.1", 200, 0), ("0.0.0.0", 200, 0), ("127.0.0.1", 503, 1)],  # noqa: S104
)
def test_check_passes_if_the_server_is_ready(camsearch, port, monkeypatch, host, status, expected):
    monkeypatch.setattr(Ready, "status", status)
    said = camsearch("serve", "--check", "--host", host, "--port", port)
    assert said.status == expected
    assert "words" in said.out


def test_check_fails_without_a_server(camsearch):
    said = camsearch("serve", "--check", "--port", 1)
    assert said.status == 1
    assert "Nothing answers" in said.err


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--gallery", ["folder"]),
        ("--elasticsearch", ["http://localhost:9200"]),
        ("--read-only", []),
        ("--precision", ["float32"]),
    ],
)
def test_check_refuses_options_of_the_server(camsearch, port, option, values):
    said = camsearch("serve", "--check", "--port", port, option, *values)
    assert said.status == 2
    assert option in said.err
    assert "--check" in said.err
