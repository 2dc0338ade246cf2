"""Asking, against a server that says what it is told to."""

from __future__ import annotations

import pytest

from descriptors.errors import RequestError, SettingsError
from reranker.errors import UpstreamUnreachable
from reranker.http.exchange import Answer, Request
from reranker.proxy.upstream import ElasticsearchUpstream, UpstreamSettings
from tests.support.clock import HANG_S
from tests.support.wire import (
    OK,
    answering,
    run,
    scripted,
)
from tests.unit.reranker.proxy.passing import CHUNKED


def asked(request, *answers):
    async def test():
        async with scripted(answering(*answers)) as server:
            upstream = ElasticsearchUpstream(UpstreamSettings(server.url + "/es/", ask_s=HANG_S))
            answer = await upstream.ask(request)
            await upstream.close()
            return answer, server.requests

    return run(test())


def test_asking_sends_the_body_with_its_own_length_and_wants_no_compression():
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
def test_what_would_end_the_request_line_is_refused(end):
    with pytest.raises(RequestError, match="control character"):
        asked(Request("GET", f"/a{end}"), OK)
    with pytest.raises(RequestError, match="control character"):
        asked(Request("GET", "/a", headers=((b"x", b"a\r\nb: c"),)), OK)


def test_asking_nobody_is_unreachable_and_names_no_credential():
    async def test():
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
def test_an_invalid_address_is_refused(url):
    with pytest.raises(SettingsError, match="is not a valid Elasticsearch URL"):
        ElasticsearchUpstream(UpstreamSettings(url))


def test_an_address_with_a_password_is_refused_and_not_repeated():
    with pytest.raises(SettingsError, match="the credentials of its callers") as caught:
        ElasticsearchUpstream(UpstreamSettings("http://elastic:secret@a"))
    assert "secret" not in caught.value.reason
