"""What a caller may send on a connection."""

from __future__ import annotations

import asyncio

import pytest

from reranker.proxy.proxy import Proxy, refused_framing
from reranker.proxy.server import StrictHttp
from tests.support.wire import error_of, own_app, run, say, served
from tests.unit.reranker.proxy.test_proxy import Upstream, Visual

START = b"POST /a/_doc HTTP/1.1\r\nHost: x\r\n"


class Echo(Upstream):
    """Answers with the body and the names of the headers."""

    async def forward(self, scope, receive, send, body):
        self.forwarded.append((scope["path"], body))
        whole, more = body or b"", body is None
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            whole += message["body"]
            more = message["more_body"]
        names = b",".join(sorted(name for name, _ in scope["headers"]))
        found = b"[%b|%b]" % (whole, names)
        length = (b"content-length", b"%d" % len(found))
        await send({"type": "http.response.start", "status": 200, "headers": [length]})
        await send({"type": "http.response.body", "body": found})


def told(*pieces):
    upstream = Echo()

    async def test():
        async with served(Proxy(upstream, own_app, Visual())) as port:
            return await say(port, *pieces)

    return run(test()), upstream


@pytest.mark.parametrize(
    "request_",
    [
        START + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        START + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{} ",
        START + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
        START + b"Content-Length: 2, 2\r\n\r\n{}",
        START + b"Content-Length: +2\r\n\r\n{}",
        START + b"Content-Length: -2\r\n\r\n{}",
        START + b"Content-Length: 0x2\r\n\r\n{}",
        START + b"Content-Length : 2\r\n\r\n{}",
        START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: identity\r\nContent-Length: 2\r\n\r\n{}",
        START + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
        b"POST /a HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\n\r\n2\n{}\n0\n\n",
        START + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff1\r\n{}\r\n0\r\n\r\n",
        START + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
        START + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
        b"GET /a HTTP/1.1\nHost: x\n\n",
        b"GET /a HTTP/1.1\r\nHost: x\nX: y\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\rX: y\r\n\r\n",
        b"GET /a HTTP/1.1\r\nHost: x\r\nX: a\0b\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT evil:443 HTTP/1.1\r\nHost: x\r\n\r\n",
        b"CONNECT /a HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_what_two_servers_could_read_differently_is_refused(request_):
    answer, upstream = told(request_)
    assert error_of(answer)["status"] == 400
    assert [body for _, body in upstream.forwarded if body] == []


def test_an_expectation_that_is_not_understood_is_417():
    answer, _ = told(START + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n{}")
    assert error_of(answer)["status"] == 417


@pytest.mark.parametrize(
    ("method", "path", "version", "headers", "status"),
    [
        ("CONNECT", b"/a", "1.1", (), 405),
        ("GET", b"*", "1.1", (), 400),
        ("GET", b"/a", "2", (), 400),
        ("POST", b"/a", "1.1", ((b"content-length", b"2"), (b"content-length", b"2")), 400),
        (
            "POST",
            b"/a",
            "1.1",
            ((b"content-length", b"2"), (b"transfer-encoding", b"chunked")),
            400,
        ),
        ("POST", b"/a", "1.1", ((b"content-length", b"+2"),), 400),
        ("POST", b"/a", "1.1", ((b"transfer-encoding", b"identity"),), 400),
        ("POST", b"/a", "1.0", ((b"transfer-encoding", b"chunked"),), 400),
        ("POST", b"/a", "1.1", ((b"transfer-encoding", b"Chunked"),), None),
        ("POST", b"/a", "1.0", ((b"content-length", b"2"),), None),
    ],
)
def test_the_proxy_refuses_it_behind_any_server(method, path, version, headers, status):
    scope = {"method": method, "raw_path": path, "http_version": version, "headers": headers}
    refused = refused_framing(scope)
    assert (refused and refused.status) == status


OFFER = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAM\r\n"


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        (OFFER + b"Content-Length: 2\r\n\r\n{}",),
        (OFFER + CHUNKED, b"2\r\n{}\r\n0\r\n\r\n"),
        (b"Connection: upgrade\r\nUpgrade: TLS/1.2\r\nContent-Length: 2\r\n\r\n", b"{}"),
    ],
)
def test_the_body_of_a_request_that_offers_an_upgrade_is_its_body(pieces):
    answer, _ = told(START + pieces[0], *pieces[1:])
    assert b"[{}|connection,content-length" in answer or b"[{}|connection,host" in answer


def test_what_looks_like_a_request_in_such_a_body_is_none():
    inner = b"DELETE /a HTTP/1.1\r\nHost: x\r\n\r\n"
    head = START + OFFER + b"Content-Length: %d\r\n\r\n" % len(inner)
    _, upstream = told(head, inner)
    assert upstream.forwarded == [("/a/_doc", None)]


def test_trailers_are_no_headers():
    answer, _ = told(
        START + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nAuthorization: x\r\n\r\n"
    )
    assert answer.endswith(b"[{}|host,transfer-encoding]")


@pytest.mark.parametrize(
    "start",
    [
        b"GET /" + b"a" * 100,
        b"GET / HTTP/1.1\r\nX: ",
        b"GET / HTTP/1.1\r\n",
        START + b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX: ",
        START + b"Transfer-Encoding: chunked\r\n\r\n2;x=",
    ],
)
def test_a_head_without_end_is_refused(start):
    fill = b"".join(b"h%d: %b\r\n" % (i, b"v" * 1000) for i in range(400))
    more = fill if start.endswith(b"\r\n") else b"a" * 400_000

    async def test():
        async with served(Proxy(Echo(), own_app, Visual())) as port:
            return await say(port, start, *(more[i : i + 9000] for i in range(0, 200_000, 9000)))

    try:
        answer = run(test())
    except ConnectionError:
        return
    assert answer == b"" or error_of(answer)["status"] == 400


def test_a_silent_caller_times_out(monkeypatch):
    monkeypatch.setattr(StrictHttp, "max_head_s", 0.1)
    for said in (b"", b"GET / HTTP/1.1\r\nHost: x\r\n"):
        answer, _ = told(said)
        assert error_of(answer)["status"] == 408


def test_requests_one_after_another_are_answered_in_order():
    async def test():
        async with served(Proxy(Echo(), own_app, Visual())) as port:
            one = START + b"Content-Length: 1\r\n\r\n1"
            two = START + b"Connection: close\r\nContent-Length: 1\r\n\r\n2"
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(one + two)
            answer = await reader.read()
            writer.close()
            return answer

    answer = run(test())
    assert answer.index(b"[1|") < answer.index(b"[2|")


def test_what_is_malformed_after_a_request_cannot_pass_for_its_answer():
    answer, _ = told(START + b"Content-Length: 1\r\n\r\n1" + b"GET  \n\n")
    assert not answer.startswith(b"HTTP/1.1 400")
