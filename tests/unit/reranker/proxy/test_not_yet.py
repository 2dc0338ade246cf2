"""What is answered before there is anything to answer with."""

from __future__ import annotations

import asyncio
import threading
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx

from reranker.proxy.not_yet import answer_until
from reranker.proxy.serving import ServingSettings, listen
from tests.support.clock import HANG_S

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterator


class Gone(Exception):
    """What was waited for will not come."""


class Waited:
    """Something that comes when it is let."""

    def __init__(self) -> None:
        self.comes, self.says, self.fails = threading.Event(), "", False

    async def wait(self, told: Callable[[str], None]) -> int:
        while not self.comes.is_set():
            if self.says:
                told(self.says)
            await asyncio.sleep(0.005)
        if self.fails:
            raise Gone
        return 7


@contextmanager
def waiting(waited: Waited) -> Iterator[tuple[str, socket.socket, list[object]]]:
    """Where it answers, its socket, and what came of it."""
    found: list[object] = []

    def run(listening: socket.socket) -> None:
        try:
            found.append(answer_until(waited.wait, listening, ServingSettings()))
        except Gone as error:
            found.append(error)

    with listen("127.0.0.1", 0) as listening:
        thread = threading.Thread(target=run, args=(listening,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}", listening, found
        finally:
            waited.comes.set()
            thread.join(10)


def test_it_lives_and_is_not_ready_and_says_why() -> None:
    waited = Waited()
    waited.says = "Elasticsearch at http://nowhere does not answer."
    with waiting(waited) as (url, _, _):
        assert httpx.get(f"{url}/_camsearch/health/live").json() == {"status": "live"}
        until = time.monotonic() + HANG_S
        while waited.says not in (ready := httpx.get(f"{url}/_camsearch/health/ready")).text:
            assert time.monotonic() < until
        assert ready.status_code == 503
        assert ready.json()["status"] == "not ready"
        [check] = ready.json()["checks"]
        assert check == {"name": "elasticsearch", "passed": False, "said": waited.says}
        for method, path in (("POST", "/images/_search"), ("PUT", "/a/_doc/1"), ("GET", "/")):
            refused = httpx.request(method, url + path, content=b"{}")
            assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
            assert refused.headers["x-elastic-product"] == "Elasticsearch"
            error = refused.json()["error"]
            assert (error["type"], error["reason"]) == ("connect_transport_exception", waited.says)
        assert httpx.head(url).content == b""


def test_who_comes_between_two_servers_waits_in_line() -> None:
    waited = Waited()
    with waiting(waited) as (url, listening, found):
        assert httpx.get(url).status_code == 503
        waited.comes.set()
        until = time.monotonic() + HANG_S
        while not found:
            assert time.monotonic() < until
            time.sleep(0.005)
        assert found == [7]
        late = threading.Thread(target=_answer_one, args=(listening,))
        late.start()
        assert httpx.get(url).text == "here"
        late.join()


def test_what_the_waiting_ends_with_is_raised() -> None:
    waited = Waited()
    waited.fails = True
    with waiting(waited) as (_, _, found):
        waited.comes.set()
    [error] = found
    assert isinstance(error, Gone)


def _answer_one(listening: socket.socket) -> None:
    listening.setblocking(True)
    connection, _ = listening.accept()
    with connection:
        connection.recv(65536)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhere")
