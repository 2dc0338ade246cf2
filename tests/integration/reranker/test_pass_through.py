"""What goes through the proxy is what Elasticsearch was asked and what it answered."""

from __future__ import annotations

import gzip
import http.client
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from reranker.proxy.proxy import Proxy
from reranker.proxy.server import listen, server_of
from reranker.proxy.upstream import ElasticsearchUpstream, UpstreamSettings
from tests.integration.reranker.recorded import recorded
from tests.integration.reranker.recording import Recorded, asking, bulk
from tests.support.clock import HANG_S
from tests.support.wire import own_app

pytestmark = pytest.mark.services

# Of one connection, or following from a body that holds a time.
_NOT_COMPARED = {"transfer-encoding", "connection", "content-length", "keep-alive"}
_OF_THE_MOMENT = {
    "took",
    "uuid",
    "index_uuid",
    "index.uuid",
    "index.creation_date",
    "creation_date",
}
_UUID = re.compile(r"/[\w-]{22}\]")


async def not_ours(request):
    return None


@contextmanager
def proxied(url):
    upstream = ElasticsearchUpstream(UpstreamSettings(url, connect_s=2.0))

    async def ending(scope, receive, send):
        await own_app(scope, receive, send)
        if scope["type"] == "lifespan":
            await upstream.close()

    with listen("127.0.0.1", 0) as listening:
        proxy = Proxy(upstream, ending, not_ours)
        server = server_of(proxy, end_s=1)
        running = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        running.start()
        try:
            yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        finally:
            server.should_exit = True
            running.join()


@pytest.fixture
def proxy(elasticsearch_url):
    with proxied(elasticsearch_url) as url:
        yield url


def ask(url, request, index):
    address = urlsplit(url)
    connection = http.client.HTTPConnection(address.hostname or "", address.port, timeout=HANG_S)
    try:
        target = request.target.replace("{i}", index)
        connection.putrequest(request.method, target, skip_accept_encoding=True)
        for name, value in request.headers.items():
            connection.putheader(name, value.encode())
        body = request.body
        if request.chunked and body is not None:
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            for start in range(0, len(body), 100_000):
                piece = body[start : start + 100_000]
                connection.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            connection.send(b"0\r\n\r\n")
        else:
            if body is not None:
                connection.putheader("Content-Length", str(len(body)))
            connection.endheaders()
            if body:
                connection.send(body)
        answer = connection.getresponse()
        headers: dict[str, list[str]] = {}
        for name, value in answer.getheaders():
            headers.setdefault(name.lower(), []).append(value)
        return answer.status, headers, answer.read()
    finally:
        connection.close()


def comparable(request, answer):
    """What both ways must have in common."""
    status, headers, body = answer
    matter = {name: values for name, values in headers.items() if name not in _NOT_COMPARED}
    if request.method == "HEAD":
        matter["content-length"] = headers.get("content-length", [])
    if "gzip" in headers.get("content-encoding", []):
        body = gzip.decompress(body)
    try:
        found = json.loads(body)
    except ValueError:
        found = re.sub(rb"\d+", b"0", body)
    return status, matter, shape(found) if request.shape_only else steady(found)


def steady(found):
    """Without what is the moment's."""
    if isinstance(found, dict):
        return {k: steady(v) for k, v in found.items() if k not in _OF_THE_MOMENT}
    if isinstance(found, list):
        return [steady(v) for v in found]
    return _UUID.sub("/uuid]", found) if isinstance(found, str) else found


def shape(found):
    return sorted(found) if isinstance(found, dict) else type(found).__name__


def test_every_request_is_answered_the_same_both_ways(elasticsearch_url, proxy, index_prefix):
    requests = recorded()
    index = f"{index_prefix}pass"
    direct = [comparable(r, ask(elasticsearch_url, r, index)) for r in requests]
    through = [comparable(r, ask(proxy, r, index)) for r in requests]
    assert len(requests) >= 150
    different = [
        (r.method, r.target, there, here)
        for r, there, here in zip(requests, direct, through, strict=True)
        if there != here
    ]
    assert different == []
    statuses = {answer[0] for answer in direct}  # type: ignore[index]
    assert statuses >= {200, 201, 400, 404, 405, 406, 409}


def test_a_large_answer_comes_whole(elasticsearch_url, proxy, index_prefix):
    index = f"{index_prefix}large"
    lines = {"Content-Type": "application/x-ndjson"}
    filled = Recorded("POST", "/{i}/_bulk?refresh=true", bulk(300, 30_000), lines)
    assert ask(proxy, filled, index)[0] == 200
    request = asking("GET", "/{i}/_search?size=300&sort=number&filter_path=hits.hits")
    bodies = [ask(url, request, index)[2] for url in (elasticsearch_url, proxy)]
    ask(proxy, asking("DELETE", "/{i}"), index)
    assert len(bodies[0]) > 9_000_000
    assert bodies[0] == bodies[1]


def test_many_callers_get_their_own_answers(proxy, index_prefix):
    index = f"{index_prefix}many"

    def one(number):
        headers = {"X-Opaque-Id": f"caller-{number}"}
        body = {"query": {"match_all": {}}, "size": number}
        request = asking("POST", f"/{{i}}-{number}/_search", body, headers=headers)
        _, got, text = ask(proxy, request, index)
        return got["x-opaque-id"] == [f"caller-{number}"] and f"-{number}]".encode() in text

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(one, range(200)))
