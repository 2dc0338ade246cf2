"""What the proxy answers when something fails, and what it does not let through."""

from __future__ import annotations

import asyncio
import logging

import pytest

from descriptors.errors import RequestError
from reranker.errors import UpstreamUnreachable
from reranker.proxy.proxy import Proxy
from reranker.settings import RerankerSettings
from tests.support.clock import HANG_S
from tests.support.wire import closed, error_of, on_a_loop, own_app, run, served
from tests.unit.reranker.proxy.test_proxy import (
    JSON,
    NAMED,
    PLAIN,
    Upstream,
    Visual,
    search,
    through,
)


@pytest.mark.parametrize(
    ("error", "status"),
    [(RequestError("No."), 400), (UpstreamUnreachable("Gone."), 503), (ValueError("secret"), 500)],
)
def test_errors_become_answers_in_shape(error, status, caplog):
    for answer in (
        through(search(NAMED), visual=Visual(error)),
        through(search(PLAIN), upstream=Upstream(error=error)),
    ):
        assert error_of(answer)["status"] == status
        assert b"secret" not in answer
        assert b"Traceback" not in answer
    assert ("Traceback" in caplog.text) == (status == 500)


@pytest.mark.parametrize("error", [UpstreamUnreachable("Gone."), ValueError("x")])
def test_an_answer_that_has_begun_is_cut_and_gets_no_second(error, caplog):
    answer = through(search(PLAIN), upstream=Upstream(error=error, begin_first=True))
    assert answer.endswith(b"4\r\npart\r\n")
    assert "Exception in ASGI application" not in caplog.text


def test_read_only_lets_reading_through_and_nothing_else():
    upstream, settings = Upstream(), RerankerSettings(serve_read_only=True)
    assert b"theirs" in through(search(PLAIN), upstream=upstream, settings=settings)
    assert through(search(NAMED), settings=settings).endswith(b"seen")
    assert b"ours" in through(
        b"POST /_camsearch/explain HTTP/1.1\r\nHost: x\r\n\r\n", settings=settings
    )
    for line in (b"POST /_bulk", b"PUT /a", b"GET /_bulk", b"GET /a/_doc/..%2F..%2F_bulk"):
        error = error_of(through(search(PLAIN, line), upstream=upstream, settings=settings))
        assert error["status"] == 403
        assert error["error"]["type"] == "security_exception"
    assert len(upstream.forwarded) == 1


@pytest.mark.parametrize(
    "header",
    [b"X-HTTP-Method-Override: DELETE", b"X-Original-URL: /_bulk", b"X-Rewrite-URL: /_bulk"],
)
def test_read_only_is_not_overridden_by_headers(header):
    settings = RerankerSettings(serve_read_only=True)
    assert b"403" in through(search(PLAIN, b"DELETE /a", header + b"\r\n"), settings=settings)


def test_no_credential_is_logged(caplog):
    headers = JSON + b"Authorization: ApiKey secret\r\n"
    with caplog.at_level(logging.DEBUG):
        for error in (RequestError("No."), ValueError("x"), UpstreamUnreachable("Gone.")):
            through(search(NAMED, headers=headers), visual=Visual(error))
            through(search(PLAIN, headers=headers), upstream=Upstream(error=error))
    assert caplog.records
    assert "secret" not in caplog.text


async def goes_once(begun, port, request):
    """A caller who sends this and closes the connection as soon as it is being dealt with."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await begun.wait()
    await closed(writer)


@on_a_loop
async def test_a_caller_who_goes_ends_our_search():
    begun, ended = asyncio.Event(), asyncio.Event()

    class Slow(Visual):
        async def __call__(self, request):
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    async with asyncio.timeout(HANG_S), served(Proxy(Upstream(), own_app, Slow())) as port:
        await goes_once(begun, port, search(NAMED))
        await ended.wait()


def test_a_body_that_never_ends_is_no_search():
    upstream, visual = Upstream(), Visual()
    begun, ended = asyncio.Event(), asyncio.Event()
    proxy = Proxy(upstream, own_app, visual)

    async def watched(scope, receive, send):
        begun.set()
        try:
            await proxy(scope, receive, send)
        finally:
            ended.set()

    async def test():
        async with asyncio.timeout(HANG_S), served(watched) as port:
            await goes_once(begun, port, search(NAMED)[:-3])
            await ended.wait()

    run(test())
    assert upstream.forwarded == []
    assert visual.asked == []
