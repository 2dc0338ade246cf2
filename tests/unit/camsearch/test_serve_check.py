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
