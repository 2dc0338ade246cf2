"""`camsearch serve --check`, which compose.yaml asks."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from camsearch.commands.serve import _check


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


@pytest.mark.parametrize(("status", "expected"), [(200, 0), (503, 1)])
@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])  # noqa: S104
def test_it_is_well_if_it_is_ready(port, monkeypatch, capsys, host, status, expected):
    monkeypatch.setattr(Ready, "status", status)
    assert _check(host, port) == expected
    assert "words" in capsys.readouterr().out


def test_nothing_there_is_not_well(port, capsys):
    assert _check("127.0.0.1", 1) == 1
    assert "Nothing answers" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "values"),
    [
        ("--gallery", ["folder"]),
        ("--elasticsearch", ["http://localhost:9200"]),
        ("--index", ["images"]),
        ("--read-only", []),
        ("--preset", ["paper"]),
        ("--weights", ["w.safetensors"]),
        ("--whitening", ["w.safetensors"]),
        ("--maps", ["maps"]),
        ("--device", ["cpu"]),
        ("--precision", ["float32"]),
    ],
)
def test_what_only_a_server_has_is_refused_beside_it(camsearch, port, option, values):
    said = camsearch("serve", "--check", "--port", port, option, *values)
    assert said.status == 2
    assert option in said.err
    assert "--check" in said.err


def test_host_and_port_are_taken_beside_it(camsearch, port):
    assert camsearch("serve", "--check", "--host", "127.0.0.1", "--port", port).status == 0
