"""A server that is told to end answers what it has taken, then goes."""

from __future__ import annotations

import asyncio
import http.client
import json
import multiprocessing
import os
import signal
import socket
import threading
from contextlib import closing, contextmanager, suppress

import pytest

from reranker.app import make_app
from reranker.observability.logs import configure_logs
from reranker.proxy.server import end_in_order, listen, server_of
from tests.support.clock import HANG_S, wait_for
from tests.support.forked import forked
from tests.support.tiny_service import image_text, make_gallery, re_ranked, tiny_service

CALLERS = 12

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("gallery")
    make_gallery(made)
    return made


def serve_tiny(folder, test):
    """Serve a folder in a process of its own, until that is told to end.

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
                app = held_back(make_app(service), test)
                server_of(app).run(sockets=[listening])
    finally:
        test.send("closed")


def held_back(app, test):
    """Reads each search, says so, and hands it on once it may."""
    is_free = threading.Event()

    def wait():
        with suppress(EOFError):
            test.recv()
            is_free.set()

    threading.Thread(target=wait, daemon=True).start()

    async def held(scope, receive, send):
        async def received():
            message = await receive()
            if message["type"] == "http.request":
                test.send("part" if message["more_body"] else "read")
                if not message["more_body"]:
                    await asyncio.to_thread(is_free.wait)
            return message

        is_search = scope["type"] == "http" and scope["method"] == "POST"
        await app(scope, received if is_search else receive, send)

    return held


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
