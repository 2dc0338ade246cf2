"""A proxy before a server that says what it is told to."""

from __future__ import annotations

from contextlib import asynccontextmanager

from reranker.proxy.proxy import Proxy
from reranker.proxy.upstream import ElasticsearchUpstream, UpstreamSettings
from tests.support.clock import HANG_S
from tests.support.wire import (
    OK,
    answering,
    own_app,
    run,
    say,
    scripted,
    served,
)

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BIG = 3 * 1024 * 1024


async def not_visual(request):
    return None


@asynccontextmanager
async def passing(turn, forward_s=HANG_S):
    async with scripted(turn) as server:
        upstream = ElasticsearchUpstream(
            UpstreamSettings(server.url, HANG_S, ask_s=HANG_S, forward_s=forward_s)
        )
        async with served(Proxy(upstream, own_app, not_visual)) as port:
            yield port, server
        await upstream.close()


def passed(*pieces, answers=(OK,)):
    async def test():
        async with passing(answering(*answers)) as (port, server):
            return await say(port, *pieces), server.requests

    return run(test())
