"""Asking and passing through, against a server that says what it is told to."""

from __future__ import annotations

import asyncio
import logging
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest

from descriptors.errors import RequestError, SettingsError
from reranker.errors import UpstreamUnreachable
from reranker.exchange import Answer, Request
from reranker.proxy import Proxy
from reranker.upstream import ElasticsearchUpstream, UpstreamSettings
from tests.support.wire import (
    OK,
    Scripted,
    answering,
    closed,
    error_of,
    own_app,
    run,
    say,
    scripted,
    served,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support.wire import Turn

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BIG = 3 * 1024 * 1024


async def not_visual(request: Request) -> Answer | None:
    return None


@asynccontextmanager
async def passing(turn: Turn, forward_s: float = 5.0) -> AsyncIterator[tuple[int, Scripted]]:
    """The port of a proxy, and the server behind it."""
    async with scripted(turn) as server:
        upstream = ElasticsearchUpstream(
            UpstreamSettings(server.url, connect_s=1.0, ask_s=0.5, forward_s=forward_s)
        )
        async with served(Proxy(upstream, own_app, not_visual)) as port:
            yield port, server
        await upstream.close()


def passed(*pieces: bytes, answers: tuple[bytes, ...] = (OK,)) -> tuple[bytes, list[bytes]]:
    """What the caller gets, and what the server got."""

    async def test() -> tuple[bytes, list[bytes]]:
        async with passing(answering(*answers)) as (port, server):
            return await say(port, *pieces), server.requests

    return run(test())


@pytest.mark.parametrize(
    "target",
    [
        b"/a/_doc/%2e%2e%2Fb",
        b"/a/../b",
        b"//a//b/",
        b"/a;b=c/d",
        b"/a/_doc/1+2?q=a+b%20c&x",
        b"/%C3%A9/_doc/%E2%9C%93?routing=%2F",
        b"/a?x=[1]&y={z}|\\^`",
        b"/a/_doc/%252F",
    ],
)
def test_the_target_arrives_byte_for_byte(target: bytes) -> None:
    _, requests = passed(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert requests[0].split(b" ")[1] == target


def test_an_absolute_target_goes_nowhere_else() -> None:
    _, requests = passed(b"GET http://evil.example/a HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert requests[0].startswith(b"GET /a HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"evil" not in requests[0]


def test_headers_arrive_as_they_are_with_none_of_ours() -> None:
    _, requests = passed(
        b"GET / HTTP/1.1\r\nHost: x\r\nAuthorization: ApiKey a==\r\nX-Opaque-Id: \xe9\r\n"
        b"Accept: a\r\nAccept: b\r\nConnection: keep-alive, x-hop\r\nX-Hop: 1\r\n\r\n"
    )
    head, *fields = requests[0].removesuffix(b"\r\n\r\n").split(b"\r\n")
    assert head == b"GET / HTTP/1.1"
    assert fields[0].startswith(b"host: 127.0.0.1:")
    assert fields[1:] == [
        b"authorization: ApiKey a==",
        b"x-opaque-id: \xe9",
        b"accept: a",
        b"accept: b",
    ]


def test_the_answer_comes_back_as_it_is() -> None:
    answer, _ = passed(
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        answers=(
            (
                b"HTTP/1.1 418 Odd\r\nX-elastic-product: Elasticsearch\r\nWarning: a\r\nWarning: b\r\n"
                b"Connection: x-hop\r\nX-Hop: 1\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n"
                b"\x1f\x8b\x00"
            ),
        ),
    )
    assert answer == (
        b"HTTP/1.1 418 I'm a Teapot\r\nx-elastic-product: Elasticsearch\r\nwarning: a\r\n"
        b"warning: b\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\n\x1f\x8b\x00"
    )


@pytest.mark.parametrize(
    ("head", "body", "arrives"),
    [
        (b"Content-Length: 2", b"{}", b"content-length: 2\r\n\r\n{}"),
        (b"Content-Length: 0", b"", b"content-length: 0\r\n\r\n"),
        (b"X: y", b"", b"x: y\r\n\r\n"),
        (b"Transfer-Encoding: chunked", b"2\r\n{}\r\n0\r\n\r\n", b"content-length: 2\r\n\r\n{}"),
    ],
)
def test_short_bodies_arrive_whole(head: bytes, body: bytes, arrives: bytes) -> None:
    _, requests = passed(b"POST /a/_doc HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + body)
    assert requests[0].endswith(arrives)


def test_a_long_body_of_known_length_keeps_it() -> None:
    body = bytes(range(256)) * (BIG // 256)
    _, requests = passed(
        b"POST /_bulk HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % BIG, body
    )
    assert b"content-length: %d\r\n" % BIG in requests[0]
    assert b"transfer-encoding" not in requests[0]
    assert requests[0].endswith(b"\r\n\r\n" + body)


def test_a_body_in_chunks_that_comes_slowly_goes_on_in_chunks() -> None:
    _, requests = passed(
        b"POST /_bulk HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n",
        b"2\r\nde\r\n",
        b"0\r\nAuthorization: 99\r\n\r\n",
    )
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert b"99" not in head
    assert b"".join(body.split(b"\r\n")[1::2]) == b"abcde"


def test_a_long_answer_in_chunks_comes_whole() -> None:
    piece = b"x" * BIG
    answer, _ = passed(
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        answers=(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (BIG, piece),),
    )
    assert answer.count(b"x") == BIG + 0
    assert answer.endswith(b"0\r\n\r\n")


def test_a_head_answer_keeps_its_length_and_leaves_the_connection_good() -> None:
    async def test() -> None:
        head = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"
        async with passing(answering(head, OK)) as (port, server):
            answer = await say(port, b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            assert b"content-length: 500\r\n" in answer
            assert answer.endswith(b"\r\n\r\n")
            assert (await say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"ok")
            assert server.connections == 1

    run(test())


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_a_body_ends_with_its_head(status: bytes) -> None:
    answer, _ = passed(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        answers=(b"HTTP/1.1 " + status + b"\r\netag: a\r\n\r\n",),
    )
    assert answer == b"HTTP/1.1 " + status + b"\r\netag: a\r\nconnection: close\r\n\r\n"


def test_interim_answers_are_kept_from_the_caller() -> None:
    answer, _ = passed(
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        answers=(b"HTTP/1.1 102 Processing\r\nx: y\r\n\r\n" + OK,),
    )
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nx-elastic-product")


def test_expect_is_answered_before_the_body_and_not_passed_on() -> None:
    answer, requests = passed(
        b"POST /_bulk HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        b"{}",
    )
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert b"expect" not in requests[0]


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\ncontent-length: 600000\r\n\r\n" + b"x" * 400_000,
        CHUNKED + b"493e0\r\n" + b"x" * 300_000 + b"\r\n",
    ],
)
def test_an_answer_that_breaks_off_does_not_look_complete(answer: bytes) -> None:
    async def turn(
        server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        await answering(answer)(server, reader, writer)
        return False

    async def test() -> bytes:
        async with passing(turn) as (port, _):
            return await say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    got = run(test())
    assert got.startswith(b"HTTP/1.1 200 OK")
    assert not got.endswith(b"0\r\n\r\n")
    assert got.count(b"x") < 600_000


def test_an_answer_that_breaks_off_early_is_503() -> None:
    async def turn(
        server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        await answering(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx")(server, reader, writer)
        return False

    async def test() -> bytes:
        async with passing(turn) as (port, _):
            return await say(port, b"POST /a/_doc HTTP/1.1\r\nHost: x\r\n\r\n")

    assert error_of(run(test()))["status"] == 503


def test_an_answer_that_is_no_http_is_503() -> None:
    answer, _ = passed(b"POST /a HTTP/1.1\r\nHost: x\r\n\r\n", answers=(b"SSH-2.0-x\r\n\r\n",))
    assert error_of(answer)["status"] == 503


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
def test_on_a_dead_connection_only_what_reads_is_sent_again(
    request_line: bytes, status: bytes, times: int
) -> None:
    async def test() -> tuple[bytes, list[bytes]]:
        async with passing(answering(OK, b"", OK)) as (port, server):
            await say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            request = request_line + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}"
            return await say(port, request), server.requests[1:]

    answer, requests = run(test())
    assert answer.startswith(b"HTTP/1.1 " + status)
    assert len(requests) == times
    assert len(set(requests)) == 1


def test_nobody_there_is_503_in_time_and_he_is_found_again_when_he_is_back() -> None:
    async def test() -> None:
        async with scripted(answering(OK)) as server:
            port, url = server.port, server.url
        upstream = ElasticsearchUpstream(UpstreamSettings(url, connect_s=1.0))
        async with served(Proxy(upstream, own_app, not_visual)) as proxy:
            error = error_of(await say(proxy, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
            assert error["status"] == 503
            assert error["error"]["reason"].startswith(f"Elasticsearch at {url} does not answer.")
            async with scripted(answering(OK), port):
                assert (await say(proxy, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"ok")
        await upstream.close()

    run(test())


def test_one_who_says_nothing_is_given_up_in_time() -> None:
    async def silent(
        server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        return bool(await reader.read(100))

    async def test() -> bytes:
        async with passing(silent, forward_s=0.2) as (port, _):
            return await say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", wait_s=2)

    assert error_of(run(test()))["status"] == 503


def test_a_caller_who_goes_ends_the_request_behind(caplog: pytest.LogCaptureFixture) -> None:
    gone = asyncio.Event()

    async def waiting(
        server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        while await reader.read(65536):
            pass
        gone.set()
        return False

    async def test() -> None:
        async with passing(waiting) as (port, _):
            await say(port, b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n", wait_s=0.1)

    with pytest.raises(TimeoutError), caplog.at_level(logging.INFO):
        run(test())
    assert gone.is_set()
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


def test_a_body_that_breaks_off_does_not_look_complete_behind() -> None:
    async def test() -> int:
        async with passing(answering(OK)) as (port, server):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            start = b"POST /_bulk HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
            writer.write(start + b"3\r\nabc\r\n")
            await asyncio.sleep(0.1)
            writer.write(b"3\r\nde")
            await asyncio.sleep(0.1)
            await closed(writer)
            await asyncio.sleep(0.1)
            assert not server.requests
            return server.broken

    assert run(test()) == 1


def test_an_early_refusal_of_a_long_body_comes_through() -> None:
    refused = b"HTTP/1.1 413 Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"

    async def early(
        server: Scripted, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(refused)
        await writer.drain()
        await asyncio.sleep(0.2)
        return False

    async def test() -> bytes:
        async with passing(early) as (port, _):
            head = b"POST /_bulk HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % (8 * BIG)
            return await say(port, head, b"x" * 1000)

    assert run(test()).startswith(b"HTTP/1.1 413")


def test_what_follows_an_answer_unasked_is_nobodys_answer() -> None:
    async def test() -> tuple[bytes, bytes]:
        async with passing(answering(OK + OK.replace(b"ok", b"no"), OK)) as (port, _):
            first = await say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            return first, await say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

    assert all(answer.endswith(b"ok") for answer in run(test()))


def asked(request: Request, *answers: bytes) -> tuple[Answer, list[bytes]]:
    async def test() -> tuple[Answer, list[bytes]]:
        async with scripted(answering(*answers)) as server:
            upstream = ElasticsearchUpstream(UpstreamSettings(server.url + "/es/", ask_s=0.5))
            answer = await upstream.ask(request)
            await upstream.close()
            return answer, server.requests

    return run(test())


def test_asking_sends_the_body_with_its_own_length_and_wants_no_compression() -> None:
    headers = (
        (b"authorization", b"Basic x"),
        (b"accept-encoding", b"gzip"),
        (b"content-encoding", b"gzip"),
        (b"content-length", b"999"),
    )
    answer, requests = asked(
        Request("POST", "/a/_search", "b=c", headers, b"{}"),
        CHUNKED + b"2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
    )
    assert answer == Answer(200, (), b"abc")
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"POST /es/a/_search?b=c HTTP/1.1\r\nhost: ")
    assert head.endswith(b"\r\nauthorization: Basic x\r\ncontent-length: 2")
    assert body == b"{}"


@pytest.mark.parametrize("end", ["\r\nX: y", "\n", " HTTP/1.1", "\0"])
def test_what_would_end_the_request_line_is_refused(end: str) -> None:
    with pytest.raises(RequestError, match="control character"):
        asked(Request("GET", f"/a{end}"), OK)
    with pytest.raises(RequestError, match="control character"):
        asked(Request("GET", "/a", headers=((b"x", b"a\r\nb: c"),)), OK)


def test_asking_nobody_is_unreachable_and_names_no_credential() -> None:
    async def test() -> None:
        async with scripted(answering(OK)) as server:
            url = server.url
        request = Request("GET", "/", headers=((b"authorization", b"Basic secret"),))
        await ElasticsearchUpstream(UpstreamSettings(url)).ask(request)

    with pytest.raises(UpstreamUnreachable) as caught:
        run(test())
    assert "secret" not in caught.value.reason


@pytest.mark.parametrize(
    "url", ["localhost:9200", "ftp://a", "http://", "http://a?b", "http://a:x"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="is no address of an Elasticsearch"):
        ElasticsearchUpstream(UpstreamSettings(url))


def test_an_address_with_a_password_is_refused_and_not_repeated() -> None:
    with pytest.raises(SettingsError, match="no rights of its own") as caught:
        ElasticsearchUpstream(UpstreamSettings("http://elastic:secret@a"))
    assert "secret" not in caught.value.reason
