"""Who answers which request."""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass, field

import pytest

from reranker.http.exchange import Answer, Request
from reranker.proxy.proxy import Proxy
from reranker.settings import RerankerSettings
from tests.support.wire import error_of, own_app, run, say, served

NAMED = b'{"retriever": {"camsearch": {}}}'
PLAIN = b'{"query": {"match_all": {}}}'
JSON = b"Content-Type: application/json\r\n"


@dataclass
class Upstream:
    forwarded: list[tuple[str, bytes | None]] = field(default_factory=list)
    error: Exception | None = None
    begin_first: bool = False

    async def ask(self, request):
        raise NotImplementedError

    async def forward(self, scope, receive, send, body):
        self.forwarded.append((scope["path"], body))
        start = {"type": "http.response.start", "status": 200, "headers": [(b"x", b"y")]}
        if self.begin_first:
            await send(start)
            await send({"type": "http.response.body", "body": b"part", "more_body": True})
        if self.error:
            raise self.error
        await send(start)
        await send({"type": "http.response.body", "body": b"theirs"})


@dataclass
class Visual:
    """Answers what it is told to, and notes what it is asked."""

    answer: Answer | Exception | None = Answer(200, ((b"a", b"b"),), b"seen")
    asked: list[Request] = field(default_factory=list)

    async def __call__(self, request):
        self.asked.append(request)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


def through(request, *more, upstream=None, visual=None, settings=None):
    async def test():
        proxy = Proxy(
            upstream or Upstream(), own_app, visual or Visual(), settings or RerankerSettings()
        )
        async with served(proxy) as port:
            return await say(port, request, *more)

    return run(test())


def search(body, line=b"POST /images/_search", headers=JSON):
    length = b"Content-Length: %d\r\n\r\n" % len(body)
    return line + b" HTTP/1.1\r\nHost: x\r\n" + headers + length + body


@pytest.mark.parametrize(
    "path", [b"/_camsearch", b"/_camsearch/", b"/_camsearch/explain?a", b"/%5Fcamsearch/x"]
)
def test_our_own_paths_are_ours(path):
    assert through(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n").endswith(
        b"4\r\nours\r\n0\r\n\r\n"
    )


@pytest.mark.parametrize("path", [b"/", b"/_camsearchx", b"/a/_camsearch", b"/_camsearc"])
def test_similar_paths_are_not_ours(path):
    assert b"theirs" in through(b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")


def test_a_search_that_names_us_is_answered_by_us():
    visual, upstream = Visual(), Upstream()
    headers = JSON + b"Authorization: ApiKey a\r\nConnection: x-hop\r\nX-Hop: 1\r\n"
    answer = through(
        search(NAMED, b"POST /a%2Cb/_search?q=%20", headers), visual=visual, upstream=upstream
    )
    assert answer == (
        b"HTTP/1.1 200 OK\r\nx-elastic-product: Elasticsearch\r\na: b\r\n"
        b"content-length: 4\r\n\r\nseen"
    )
    up = ((b"content-type", b"application/json"), (b"authorization", b"ApiKey a"))
    assert visual.asked == [Request("POST", "/a%2Cb/_search", "q=%20", up, NAMED, "127.0.0.1")]
    assert upstream.forwarded == []


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        (b"POST /_search", b""),
        (b"GET /images/_search", b"application/json; charset=UTF-8"),
        (b"POST /_msearch", b"application/x-ndjson"),
        (b"POST /a,b/_msearch/", b"Application/Vnd.Elasticsearch+X-Ndjson;compatible-with=8"),
        (b"POST //_search", b"application/vnd.elasticsearch+json; compatible-with=9"),
        (b"POST /%3Ca%2Fb%3E/_search", b"application/json"),
    ],
)
def test_every_way_to_say_it_is_looked_into(line, kind):
    headers = b"Content-Type: %b\r\n" % kind if kind else b""
    assert through(search(NAMED, line, headers)).endswith(b"seen")


@pytest.mark.parametrize(
    "request_", [
        search(PLAIN),
        search(b""),
        search(NAMED, b"PUT /images/_search"),
        search(NAMED, b"DELETE /images/_search"),
        search(NAMED, b"POST /images/_doc"),
        search(NAMED, b"POST /_bulk"),
        search(NAMED, b"POST /a/b/_search"),
        search(NAMED, b"POST /images/_doc/_count"),
        search(PLAIN, b"POST /images/_count"),
        search(b"", b"GET /images/_search?source=%7B%22query%22%3A%7B%7D%7D"),
        search(PLAIN, b"GET /images/_search?source=" + NAMED.replace(b" ", b"")),
        search(NAMED, b"POST /%5Fsearch"),
        search(NAMED, headers=b"Content-Type: application/cbor\r\n"),
        search(NAMED, headers=b"Content-Type: application/json\r\nContent-Encoding: zstd\r\n"),
        search(b"\x1f\x8bdamaged", headers=JSON + b"Content-Encoding: gzip\r\n"),
        search(gzip.compress(NAMED, mtime=0)[:-9], headers=JSON + b"Content-Encoding: gzip\r\n"),
        search(gzip.compress(PLAIN, mtime=0), headers=JSON + b"Content-Encoding: gzip\r\n"),
    ],
)  # fmt: skip
def test_what_does_not_name_us_is_forwarded_unasked(request_):
    visual, upstream = Visual(), Upstream()
    assert through(request_, visual=visual, upstream=upstream).endswith(b"theirs\r\n0\r\n\r\n")
    assert visual.asked == []
    ((_, body),) = upstream.forwarded
    assert body in {None, request_.partition(b"\r\n\r\n")[2]}


@pytest.mark.parametrize(
    ("line", "body", "named"),
    [
        (b"POST /images/_count", NAMED, "/images/_count"),
        (b"GET /images/_explain/1", NAMED, "/images/_explain/1"),
        (b"GET /_validate/query", NAMED, "/_validate/query"),
        (b"POST /images/_search/template", NAMED, "/images/_search/template"),
        (b"POST /_msearch/template", b"{}\n" + NAMED + b"\n", "/_msearch/template"),
        (b"POST /images/_async_search", NAMED, "/images/_async_search"),
        (b"GET /images/_search?source=" + NAMED.replace(b" ", b""), b"", "source"),
        (b"GET /_msearch?a&source=%7B%22ext%22%3A%7B%22camsearch%22%3A1%7D%7D", b"", "source"),
        (b"GET /images/_count?source=" + NAMED.replace(b" ", b""), b"", "source"),
    ],
)
def test_only_the_body_of_a_search_takes_an_image(line, body, named):
    visual, upstream = Visual(), Upstream()
    found = error_of(through(search(body, line), visual=visual, upstream=upstream))
    assert found["status"] == 400
    assert found["error"]["reason"].startswith(f"[{named}] does not support image search: ")
    assert (visual.asked, upstream.forwarded) == ([], [])


@pytest.mark.parametrize("pack", [gzip.compress, zlib.compress])
def test_a_packed_search_is_unpacked_for_us_only(pack):
    visual, upstream = Visual(None), Upstream()
    packed = pack(NAMED + b" " * 200_000)  # type: ignore[operator]
    coding = b"gzip" if packed[0] == 0x1F else b"deflate"
    headers = JSON + b"Content-Encoding: " + coding + b"\r\n"
    through(search(packed, headers=headers), visual=visual, upstream=upstream)
    assert visual.asked[0].body == NAMED + b" " * 200_000
    assert visual.asked[0].headers == ((b"content-type", b"application/json"),)
    assert upstream.forwarded == [("/images/_search", packed)]


def test_a_name_written_with_escapes_is_looked_into():
    assert through(search(rb'{"retriever": {"c\u0061msearch": {}}}')).endswith(b"seen")


def test_what_we_do_not_answer_after_all_goes_on_as_it_came():
    upstream = Upstream()
    through(search(NAMED), visual=Visual(None), upstream=upstream)
    assert upstream.forwarded == [("/images/_search", NAMED)]


@pytest.mark.parametrize(
    "request_",
    [
        search(b"x" * 1025),
        search(gzip.compress(b"x" * 1025, mtime=0), headers=JSON + b"Content-Encoding: gzip\r\n"),
        b"POST /_search HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n401\r\n"
        + b"x" * 1025
        + b"\r\n0\r\n\r\n",
    ],
)
def test_a_search_of_too_many_bytes_is_413(request_):
    visual = Visual()
    answer = through(request_, visual=visual, settings=RerankerSettings(serve_max_body=1024))
    assert error_of(answer)["status"] == 413
    assert visual.asked == []


def test_other_bodies_have_no_limit_of_ours():
    request = search(b"x" * 1025, b"POST /_bulk")
    assert b"theirs" in through(request, settings=RerankerSettings(serve_max_body=1024))


@pytest.mark.parametrize(
    ("accepts", "packed"),
    [
        (b"gzip", True),
        (b"deflate, gzip;q=0.5", True),
        (b"gzip;q=0", False),
        (b"identity", False),
        (b"x-gzipped", False),
    ],
)
def test_a_long_answer_of_ours_is_packed_where_that_is_taken(accepts, packed):
    visual = Visual(Answer(200, (), b"x" * 20_000))
    headers = JSON + b"Accept-Encoding: " + accepts + b"\r\n"
    head, _, body = through(search(NAMED, headers=headers), visual=visual).partition(b"\r\n\r\n")
    assert (b"content-encoding: gzip" in head) == packed
    assert (gzip.decompress(body) if packed else body) == b"x" * 20_000
