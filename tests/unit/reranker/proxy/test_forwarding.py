"""Both ways byte for byte, against a server that says what it is told to."""

from __future__ import annotations

import pytest

from tests.support.wire import (
    OK,
    answering,
    on_a_loop,
    say,
)
from tests.unit.reranker.proxy.passing import BIG, CHUNKED, passed, passing


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
def test_the_target_arrives_byte_for_byte(target):
    _, requests = passed(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\n\r\n")
    assert requests[0].split(b" ")[1] == target


def test_an_absolute_target_goes_nowhere_else():
    _, requests = passed(b"GET http://evil.example/a HTTP/1.1\r\nHost: evil.example\r\n\r\n")
    assert requests[0].startswith(b"GET /a HTTP/1.1\r\nhost: 127.0.0.1:")
    assert b"evil" not in requests[0]


def test_headers_arrive_as_they_are_with_none_of_ours():
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


def test_the_answer_comes_back_as_it_is():
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
def test_short_bodies_arrive_whole(head, body, arrives):
    _, requests = passed(b"POST /a/_doc HTTP/1.1\r\nHost: x\r\n" + head + b"\r\n\r\n" + body)
    assert requests[0].endswith(arrives)


def test_a_long_body_of_known_length_keeps_it():
    body = bytes(range(256)) * (BIG // 256)
    _, requests = passed(
        b"POST /_bulk HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % BIG, body
    )
    assert b"content-length: %d\r\n" % BIG in requests[0]
    assert b"transfer-encoding" not in requests[0]
    assert requests[0].endswith(b"\r\n\r\n" + body)


def test_a_body_in_chunks_that_comes_slowly_goes_on_in_chunks():
    _, requests = passed(
        b"POST /_bulk HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"3\r\nabc\r\n",
        b"2\r\nde\r\n",
        b"0\r\nAuthorization: 99\r\n\r\n",
    )
    head, _, body = requests[0].partition(b"\r\n\r\n")
    assert b"transfer-encoding: chunked" in head
    assert b"authorization" not in head.lower()
    assert b"".join(body.split(b"\r\n")[1::2]) == b"abcde"


def test_a_long_answer_in_chunks_comes_whole():
    piece = b"x" * BIG
    answer, _ = passed(
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        answers=(CHUNKED + b"%x\r\n%b\r\n0\r\n\r\n" % (BIG, piece),),
    )
    assert answer.count(b"x") == BIG + 0
    assert answer.endswith(b"0\r\n\r\n")


def test_trailers_of_an_answer_are_no_headers():
    answer, _ = passed(
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        answers=(CHUNKED + b"2\r\nok\r\n0\r\nX: y\r\n\r\n",),
    )
    assert answer == b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"


@on_a_loop
async def test_a_head_answer_keeps_its_length_and_leaves_the_connection_good():
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n"
    async with passing(answering(head, OK)) as (port, server):
        answer = await say(port, b"HEAD / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert b"content-length: 500\r\n" in answer
        assert answer.endswith(b"\r\n\r\n")
        assert (await say(port, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")).endswith(b"ok")
        assert server.connections == 1


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
def test_an_answer_without_a_body_ends_with_its_head(status):
    answer, _ = passed(
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
        answers=(b"HTTP/1.1 " + status + b"\r\netag: a\r\n\r\n",),
    )
    assert answer == b"HTTP/1.1 " + status + b"\r\netag: a\r\nconnection: close\r\n\r\n"


def test_interim_answers_are_kept_from_the_caller():
    answer, _ = passed(
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        answers=(b"HTTP/1.1 102 Processing\r\nx: y\r\n\r\n" + OK,),
    )
    assert answer.startswith(b"HTTP/1.1 200 OK\r\nx-elastic-product")


def test_expect_is_answered_before_the_body_and_not_passed_on():
    answer, requests = passed(
        b"POST /_bulk HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n",
        b"{}",
    )
    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")
    assert b"expect" not in requests[0]
