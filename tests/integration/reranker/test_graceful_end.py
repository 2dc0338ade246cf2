"""A server that is told to end answers what it has taken, then goes."""

from __future__ import annotations

import http.client
import json
import multiprocessing
import os
import signal
import socket
import threading
from contextlib import closing, contextmanager

import pytest

from tests.support.clock import HANG_S, wait_for
from tests.support.forked import forked
from tests.support.serve_tiny import serve_tiny
from tests.support.tiny_service import image_text, make_gallery, re_ranked

CALLERS = 12

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("gallery")
    make_gallery(made)
    return made


@contextmanager
def process(folder, tmp_path):
    """The server, the end of its line to the test, its port and its log."""
    test, server = multiprocessing.Pipe()
    log = tmp_path / "log"
    running = forked(log, serve_tiny, folder, server)
    server.close()
    try:
        port = test.recv()
        wait_for(lambda: answers(port), "the server's first answer")
        yield running, test, port, log
    finally:
        running.kill()
        running.join()


def answers(port):
    try:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_S)) as connection:
            status, _ = asked(connection, None)
    except OSError:
        return False
    return status == 200


def asked(connection, body):
    if body is None:
        connection.request("GET", "/_camsearch/health/live")
    else:
        kind = {"content-type": "application/json"}
        connection.request("POST", "/images/_search", json.dumps(body), kind)
    answer = connection.getresponse()
    return answer.status, answer.read()


def takes_nothing_new(port):
    try:
        socket.create_connection(("127.0.0.1", port), timeout=HANG_S).close()
    except ConnectionRefusedError:
        return True
    return False


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGINT])
def test_what_was_taken_is_answered_and_nothing_new_is_taken(folder, tmp_path, end):
    body, found = re_ranked({"data": image_text(folder)}), {}
    with process(folder, tmp_path) as (running, test, port, log):
        # Connections that have been used before, as in a pool, and one of them idle.
        pool = [
            http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_S) for _ in range(CALLERS)
        ]
        idle = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_S)
        assert {asked(one, None)[0] for one in [*pool, idle]} == {200}

        def call(number):
            found[number] = asked(pool[number], body)

        threads = [threading.Thread(target=call, args=[number]) for number in range(CALLERS)]
        for thread in threads:
            thread.start()
        assert [test.recv() for _ in pool] == ["read"] * CALLERS
        os.kill(running.pid, end)
        wait_for(lambda: takes_nothing_new(port), "the end of listening")
        assert not found
        assert idle.sock.recv(1) == b""  # closed, so that its pool opens another elsewhere
        assert not found
        test.send("go on")
        for thread in threads:
            thread.join()
        assert test.recv() == "closed"
        running.join(HANG_S)
    for one in [*pool, idle]:
        one.close()
    assert [status for status, _ in found.values()] == [200] * CALLERS
    hits = {json.dumps(json.loads(text)["hits"]["hits"]) for _, text in found.values()}
    assert len(hits) == 1
    assert running.exitcode == 0
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["outcome"] for line in lines if line["event"] == "search"] == ["ranked"] * CALLERS
    assert not [line for line in lines if line["level"] in {"error", "critical"}]


def test_a_body_that_is_still_coming_is_waited_for(folder, tmp_path):
    body = json.dumps(re_ranked({"data": image_text(folder)})).encode()
    head = b"POST /images/_search HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
    with process(folder, tmp_path) as (running, test, port, _):
        with closing(socket.create_connection(("127.0.0.1", port), timeout=HANG_S)) as caller:
            caller.sendall(head + b"content-length: %d\r\n\r\n" % len(body) + body[:100])
            assert test.recv() == "part"
            os.kill(running.pid, signal.SIGTERM)
            wait_for(lambda: takes_nothing_new(port), "the end of listening")
            caller.sendall(body[100:])
            test.send("go on")
            said = b""
            while piece := caller.recv(65536):
                said += piece
        running.join(HANG_S)
    assert said.startswith(b"HTTP/1.1 200")
    assert b"connection: close" in said.lower()
