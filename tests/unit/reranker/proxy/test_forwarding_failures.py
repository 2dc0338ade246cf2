"""What a caller is told when Elasticsearch, or the line, or he himself fails."""

from __future__ import annotations

import asyncio
import gzip
import logging

import pytest

from reranker.proxy.proxy import Proxy
from reranker.proxy.upstream import ElasticsearchUpstream, UpstreamSettings
from tests.support.clock import HANG_S
from tests.support.wire import (
    OK,
    answering,
    closed,
    error_of,
    on_a_loop,
    own_app,
    run,
    say,
    scripted,
    served,
)
from tests.unit.reranker.proxy.passing import BIG, CHUNKED, not_visual, passed, passing


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 600000\r\n\r\n" + b"x" * 400_000,
        CHUNKED + b"493e0\r\n" + b"x" * 300_000 + b"\r\n",
    ],
)
def test_an_answer_that_breaks_off_does_not_look_complete(answer):
    async def turn(server, reader, writer):
        await answering(answer)(server, reader, writer)
        return False

    async def test():
        async with passing(turn) as (port, _):
            return await say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    got = run(test())
    assert got.startswith(b"HTTP/1.1 200 OK")
    assert not got.endswith(b"0\r\n\r\n")
    assert got.count(b"x") < 600_000


def test_an_answer_that_breaks_off_early_is_503():
    async def turn(server, reader, writer):
        await answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx")(server, reader, writer)
        return False

    async def test():
        async with passing(turn) as (port, _):
            return await say(port, b"POST /a/_doc HTTP/1.1\r\nHost: x\r\n\r\n")

    assert error_of(run(test()))["status"] == 503


def test_an_answer_that_is_no_http_is_503():
    answer, _ = passed(b"POST /a HTTP/1.1\r\nHost: x\r\n\r\n", answers=(b"SSH-2.0-x\r\n\r\n",))
    assert error_of(answer)["status"] == 503


PACKED = gzip.compress(b'{"query": {"match_all": {}}}', mtime=0)
DAMAGED = PACKED[:12] + b"\xff\xff\xff" + PACKED[15:]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        (b"/a/_search", b"no gzip", 400),
        (b"/_bulk", DAMAGED, 400),
        (b"/a/_search", PACKED[:-8] + bytes(8), 400),
        (b"/_bulk", PACKED, 503),
    ],
    ids=["no gzip", "damaged", "wrong checksum", "whole"],
)
def test_a_damaged_body_that_elasticsearch_hangs_up_on_is_the_caller_s_fault(path, body, status):
    """Elasticsearch closes the connection of a body that it cannot unpack, and says nothing."""
    head = b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n" % path
    head += b"Content-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer, _ = passed(head + body, answers=(b"",))
    error = error_of(answer)
    assert error["status"] == status
    assert ("gzip" in error["error"]["reason"]) == (status == 400)


@pytest.mark.parametrize(
    ("request_line", "status", "times"),
    [
        (b"GET /a/_doc/1", b"200", 2),
        (b"POST /a/_search", b"200", 2),
        (b"POST /_bulk", b"503", 1),
        (b"PUT /_bulk", b"503", 1),
        (b"DELETE /a/_doc/1", b"503", 1),
    ],
)
def test_on_a_dead_connection_only_what_reads_is_sent_again(request_line, status, times):
    async def test():
        async with passing(answering(OK, b"", OK)) as (port, server):
            await say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            request = request_line + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
            return await say(port, request), server.requests[1:]

    answer, requests = run(test())
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert len(requests) == times
    assert len(set(requests)) == 1


@on_a_loop
async def test_an_unreachable_server_is_503_and_found_again_when_it_is_back():
    async with scripted(answering(OK)) as server:
        port, url = server.port, server.url
    upstream = ElasticsearchUpstream(UpstreamSettings(url, connect_s=HANG_S))
    async with served(Proxy(upstream, own_app, not_visual)) as proxy:
        error = error_of(await say(proxy, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
        assert error["status"] == 503
        assert error["error"]["reason"].startswith(f"Elasticsearch at {url} does not answer.")
        async with scripted(answering(OK), port):
            assert (await say(proxy, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"ok")
    await upstream.close()


def test_a_caller_who_goes_ends_the_request_behind(caplog):
    begun, gone = asyncio.Event(), asyncio.Event()

    async def waiting(server, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        begun.set()
        await reader.read()
        gone.set()
        return False

    async def test():
        async with asyncio.timeout(HANG_S), passing(waiting) as (port, _):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n")
            await begun.wait()
            await closed(writer)
            await gone.wait()

    with caplog.at_level(logging.INFO):
        run(test())
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def test_a_body_that_breaks_off_does_not_look_complete_behind():
    begun, gone = asyncio.Event(), asyncio.Event()

    async def reading(server, reader, writer):
        await reader.readuntil(b"abc")
        begun.set()
        try:
            server.requests.append(await reader.read())
        finally:
            gone.set()
        return False

    async def test():
        async with asyncio.timeout(HANG_S), passing(reading) as (port, server):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            start = b"POST /_bulk HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(start + b"3\r\nabc\r\n3\r\nde")
            await begun.wait()
            await closed(writer)
            await gone.wait()
            return server.requests

    # Empty where the connection was reset.
    assert all(b"\r\n0\r\n" not in rest for rest in run(test()))


def test_an_early_refusal_of_a_long_body_comes_through():
    refused = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

    async def early(server, reader, writer):
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refused)
        await writer.drain()
        await reader.read()  # until the proxy has it: what is closed before may get lost
        return False

    async def test():
        async with passing(early) as (port, _):
            head = b"POST /_bulk HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (8 * BIG)
            return await say(port, head, b"x" * 1000)

    assert run(test()).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(("status", "connections"), [(b"200", 1), (b"404", 1), (b"400", 2)])
def test_a_connection_on_which_elasticsearch_may_have_gone_deaf_is_not_used_again(
    status, connections
):
    async def test():
        async with passing(answering(OK.replace(b"200", status), OK)) as (port, server):
            for _ in range(2):
                await say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return server.connections

    assert run(test()) == connections


def test_bytes_after_an_answer_are_not_the_next_answer():
    async def test():
        async with passing(answering(OK + OK.replace(b"ok", b"no"), OK)) as (port, _):
            first = await say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return first, await say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert all(answer.endswith(b"ok") for answer in run(test()))
