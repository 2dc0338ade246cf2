"""What a caller must not get by a search: another's rights, our memory, secrets."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import logging
import socket
import struct
import tracemalloc
import zlib

import pytest
from prometheus_client import generate_latest

from indexer.errors import SourceUnreachable
from reranker.app import make_app
from reranker.errors import UpstreamUnreachable
from reranker.folder import LocalUpstream
from reranker.proxy.upstream import ElasticsearchUpstream, UpstreamSettings
from tests.support.asgi import JSON, ask
from tests.support.house import COUNT, Scripted, first, ranked
from tests.support.wire import run

pytestmark = pytest.mark.slow


def asked(service, body, headers=JSON, path="/images/_search"):
    return run(ask(make_app(service), "POST", path, body, headers))


# ---- the caller's rights, and nobody else's ----


def headers_of(caller):
    return (*JSON, (b"authorization", b"ApiKey secret-%s" % caller), (b"x-opaque-id", caller))


def test_each_question_is_asked_with_the_rights_of_its_own_caller(house):
    """Every stage of many searches at once: contract, id, both searches, vectors of hits."""
    upstream = Scripted(LocalUpstream(house.gallery), lambda request: 0.002)
    callers = [b"caller-%d" % i for i in range(12)]

    async def all_at_once(app):
        def body(i):
            image = {"id": f"{i % COUNT:02d}"} if i % 2 else house.image(i % COUNT)
            options = {} if i % 3 else {"rerank": False}  # then vectors of hits are asked for
            return ranked(image, expand={"hits": 3}, rank_window_size=4, **options)

        def lines(i):
            return b"{}\n%b\n{}\n%b\n" % (json.dumps(body(i)).encode(), b'{"size": 1}')

        return await asyncio.gather(
            *(
                ask(app, "POST", "/images/_msearch", lines(i), headers_of(caller))
                if i % 4 == 0
                else ask(app, "POST", "/images/_search", body(i), headers_of(caller))
                for i, caller in enumerate(callers)
            )
        )

    with house.service(upstream) as service:
        answers = run(all_at_once(make_app(service)))
    assert {one.status for one in answers} == {200}
    assert len(upstream.asked) > 3 * len(callers)
    seen = set()
    for request in upstream.asked:
        given = [v for k, v in request.headers if k == b"authorization"]
        marks = [v for k, v in request.headers if k == b"x-opaque-id"]
        assert len(given) == len(marks) == 1, request
        assert given == [b"ApiKey secret-%s" % marks[0]]
        seen.add(marks[0])
    assert seen == set(callers)


def test_without_rights_nothing_is_asked_with_any(house):
    upstream = Scripted(LocalUpstream(house.gallery))
    with house.service(upstream) as service:
        assert asked(service, ranked({"id": "03"}), headers_of(b"somebody")).status == 200
        upstream.asked.clear()
        assert asked(service, ranked({"id": "03"}, expand={})).status == 200
    assert upstream.asked
    names = {name for request in upstream.asked for name, _ in request.headers}
    assert not names & {b"authorization", b"cookie", b"x-opaque-id"}


def not_asked(url):
    raise SourceUnreachable("Nobody is asked in this test.")


SECRET = "c2VjcmV0LXBhc3N3b3Jk"  # noqa: S105 - nobody's
TELLING = {
    "fine": lambda house: ranked(house.image(1)),
    "by id": lambda house: ranked({"id": "01"}),
    "not there": lambda house: ranked({"id": "none"}),
    "wrong": lambda house: ranked({"id": 3}),
    "no image": lambda house: ranked({"data": base64.b64encode(b"GIF89a").decode()}),
    "url": lambda house: ranked({"url": f"http://me:{SECRET}@localhost/{SECRET}"}),
    "no json": lambda house: b'{"knn": camsearch',
}


@pytest.mark.parametrize(
    ("telling", "broken"),
    [
        *((telling, None) for telling in TELLING),
        ("fine", UpstreamUnreachable("Nobody.")),
        ("by id", RuntimeError("A fault.")),
    ],
)
def test_no_secret_is_told(house, caplog, telling, broken):
    """Not in logs of any level, nor in answers, nor in metrics; an image's bytes neither."""
    caplog.set_level(logging.DEBUG)
    headers = (
        *JSON,
        (b"authorization", f"Basic {SECRET}".encode()),
        (b"cookie", f"sid={SECRET}".encode()),
        (b"es-secondary-authorization", f"ApiKey {SECRET}".encode()),
    )
    upstream = Scripted(LocalUpstream(house.gallery), lambda request: broken)
    body = TELLING[telling](house)
    with house.service(upstream, fetch=not_asked) as service:
        answer = asked(service, body, headers) if telling != "no json" else None
        metrics = generate_latest(service.metrics.registry).decode()
    if answer is not None:
        assert answer.status != 200 or broken is None
        assert SECRET not in answer.body.decode() + repr(answer.headers)
    written = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    for text in (written, metrics):
        assert SECRET not in text
        assert house.image(1)["data"][:60] not in text


@pytest.mark.parametrize("target", ["/images/_search", "/_security/api_key"])
def test_no_secret_is_told_of_what_passes_through(house, caplog, target):
    caplog.set_level(logging.DEBUG)
    with socket.create_server(("127.0.0.1", 0)) as closed_soon:
        nobody = f"http://127.0.0.1:{closed_soon.getsockname()[1]}"
    headers = (*JSON, (b"authorization", f"Basic {SECRET}".encode()))
    body = {"password": SECRET}
    with house.service(ElasticsearchUpstream(UpstreamSettings(nobody))) as service:
        answer = asked(service, body, headers, f"{target}?token={SECRET}")
    assert answer.status == 503
    assert caplog.records
    written = "\n".join(logging.Formatter().format(record) for record in caplog.records)
    assert SECRET not in written + answer.body.decode() + repr(answer.headers)


# ---- our memory and time ----


def png_of(width, height):
    """A PNG that says it has so many pixels, in a few bytes."""

    def chunk(kind, data):
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1000))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def in_bounds(service, body, headers=JSON, *, megabytes=60, path="/images/_search"):
    app = make_app(service)
    tracemalloc.start()
    try:
        answer = asyncio.run(ask(app, "POST", path, body, headers))
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < megabytes * 2**20
    return answer


@pytest.mark.parametrize("size", [(60_000, 60_000), (2**31 - 1, 1)])
def test_an_image_that_unfolds_is_refused_unread(house, size):
    image = {"data": base64.b64encode(png_of(*size)).decode()}
    with house.service() as service:
        answer = in_bounds(service, first(image))
    assert answer.status == 400
    assert answer.reason


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
def test_a_body_that_unfolds_is_refused_at_the_limit(house, encoding):
    plain = b'{"camsearch": "' + bytes(80 * 2**20) + b'"}'
    packed = gzip.compress(plain, 9) if encoding == "gzip" else zlib.compress(plain, 9)
    del plain
    assert len(packed) < 2**20
    headers = (*JSON, (b"content-encoding", encoding.encode()))
    with house.service(settings={"serve_max_body": 2 * 2**20}) as service:
        answer = in_bounds(service, packed, headers, megabytes=20)
    assert answer.status == 413
    assert "2097152 bytes" in answer.reason


def nested(depth, kind):
    bomb = "[" * depth + "]" * depth if kind == "lists" else '{"a":' * depth + "1" + "}" * depth
    ours = json.dumps(first({"id": "01"}))
    return f'{ours[:-1]}, "query": {{"bool": {{"must": {bomb}}}}}}}'.encode()


@pytest.mark.parametrize(
    ("depth", "kind"), [(70, "lists"), (300, "objects"), (2000, "lists"), (500_000, "objects")]
)
def test_a_deep_body_is_refused(house, depth, kind):
    with house.service() as service:
        body = nested(depth, kind)
        answer = in_bounds(service, body)
        assert answer.status in (400, 501)
        if depth < 900:  # deeper is not valid JSON to us, and Elasticsearch refuses it as well
            assert "more than 64 nested objects and lists" in answer.reason
        several = in_bounds(service, b"{}\n%b\n" % body, path="/images/_msearch")
        assert several.status in (200, 400, 501)
        if several.status == 200:
            assert several.json["responses"][0]["status"] in (400, 501)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (ranked({"id": "01"}, rank_window_size=10**6), "from 1 to 1,000"),
        (ranked({"id": "01"}) | {"size": 10**6}, "Result window is too large"),
        (ranked({"id": "01"}, expand={"hits": 10**6}), "from 1 to 100"),
        ({"knn": first({"id": "01"})["knn"] | {"k": 10**6}}, "at most 10,000"),
        ({"knn": [first({"id": f"{i:02d}"})["knn"] for i in range(9)]}, "more than"),
    ],
)
def test_the_limits_of_a_search(house, body, said):
    with house.service() as service:
        answer = asked(service, body)
    assert answer.status == 400
    assert said in answer.reason


def test_an_image_of_many_bytes_is_refused(house):
    image = {"data": base64.b64encode(bytes(200_000)).decode()}
    with house.service(settings={"serve_max_image": 100_000}) as service:
        answer = asked(service, first(image))
    assert answer.status == 400
    assert "100,000 bytes allowed" in answer.reason


def test_too_many_searches_in_one_are_refused(house):
    line = b"{}\n%b\n" % json.dumps(first({"id": "01"})).encode()
    with house.service() as service:
        answer = asked(service, line * 33, path="/images/_msearch")
    assert answer.status == 400
    assert "33 image searches" in answer.reason
