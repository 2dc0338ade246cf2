"""What a gallery in a folder makes of single requests, and of the bytes of their bodies."""

from __future__ import annotations

import asyncio
import gzip
import json
import threading
import zlib
from typing import TYPE_CHECKING, Any

import pytest

from es_mappings.errors import GalleryBusy
from es_mappings.local import LocalGallery
from reranker.http.exchange import Answer, Request
from reranker.local_elasticsearch.upstream import LocalUpstream
from tests.support.documents import DIMS, document

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = ((b"content-type", b"application/json"),)
KNN = {"field": "descriptor", "query_vector": [1.0, 0.0, 0.0, 0.0], "k": 2}


@pytest.fixture(scope="module")
def gallery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalGallery]:
    folder = tmp_path_factory.mktemp("gallery")
    with LocalGallery.create(folder, DIMS, "f" * 64, {}) as made:
        made.put([document(id_) for id_ in "abc"])
        yield made


@pytest.fixture
def upstream(gallery: LocalGallery) -> LocalUpstream:
    return LocalUpstream(gallery, "images", most_body_bytes=20_000)


def ask(upstream: LocalUpstream, method: str, path: str, body: bytes = b"", **said: Any) -> Answer:
    path, _, query = path.partition("?")
    headers = said.get("headers", JSON)
    return asyncio.run(upstream.ask(Request(method, path, query, headers, body)))


def test_every_answer_says_which_product_it_is_and_whose_request(upstream):
    for path in ("/", "/nothing/_search", "/_nodes", "/images/_doc/z"):
        answer = ask(upstream, "GET", path, headers=((b"x-opaque-id", b"mine"),))
        headers = dict(answer.headers)
        assert headers[b"x-elastic-product"] == b"Elasticsearch"
        assert headers[b"x-opaque-id"] == b"mine"
        assert headers[b"content-type"] == b"application/json"


@pytest.mark.parametrize("version", [b"8", b"9"])
def test_the_vendors_content_type_comes_back(upstream, version):
    kind = b"application/vnd.elasticsearch+json; compatible-with=" + version
    for path in ("/", "/nothing/_search"):
        headers = dict(ask(upstream, "GET", path, headers=((b"accept", kind),)).headers)
        assert headers[b"content-type"] == kind.replace(b" ", b"")


def test_a_method_that_does_not_fit_says_which_do(upstream):
    answer = ask(upstream, "DELETE", "/images/_search")
    assert dict(answer.headers)[b"allow"] == b"GET,POST"
    assert (answer.status, json.loads(answer.body)["status"]) == (405, 405)


@pytest.mark.parametrize(
    "path", ["/images//_search", "/%5Fsearch", "/images/%5Fsearch", "/_foo", "/images/_doc/a/b"]
)
def test_a_path_is_read_as_it_stands(upstream, path):
    assert ask(upstream, "GET", path).status in {404, 501}


def test_pretty_is_for_people(upstream):
    plain, pretty = (ask(upstream, "GET", f"/images/_count{q}").body for q in ("", "?pretty"))
    assert (b"\n" in plain, b"\n" in pretty) == (False, True)
    assert json.loads(plain) == json.loads(pretty)


def test_a_field_that_no_document_can_have_is_refused(upstream):
    answer = ask(upstream, "POST", "/_search", b'{"query": {"term": {"city": "Paris"}}}')
    assert answer.status == 400
    assert "meta.<name>" in json.loads(answer.body)["error"]["reason"]


def test_a_gallery_that_is_busy_is_unavailable(upstream, gallery, monkeypatch):
    def busy(*_: object) -> None:
        raise GalleryBusy("Another process writes: try again.")

    monkeypatch.setattr(gallery, "count", busy)
    answer = ask(upstream, "GET", "/_count")
    assert answer.status == 503
    assert json.loads(answer.body)["error"]["reason"] == "Another process writes: try again."


def test_the_loop_is_free_while_the_gallery_is_asked(upstream, gallery, monkeypatch):
    seen = []
    knn = gallery.knn
    monkeypatch.setattr(
        gallery, "knn", lambda *a: seen.append(threading.current_thread()) or knn(*a)
    )
    assert ask(upstream, "POST", "/_search", json.dumps({"knn": KNN}).encode()).status == 200
    assert seen[0] is not threading.main_thread()


class Exchange:
    """One ASGI request, its body in pieces, and what was sent back."""

    def __init__(self, *pieces: bytes, gone: bool = False) -> None:
        ends = [False] * (len(pieces) - 1) + [True]
        self.messages: list[dict[str, Any]] = [
            {"type": "http.request", "body": piece, "more_body": not end or gone}
            for piece, end in zip(pieces, ends, strict=True)
        ] + [{"type": "http.disconnect"}]
        self.sent: list[dict[str, Any]] = []

    async def receive(self) -> dict[str, Any]:
        return self.messages.pop(0)

    async def send(self, message: dict[str, Any]) -> None:
        self.sent.append(message)

    def run(self, upstream: LocalUpstream, read: bytes | None = None, **said: Any) -> int | None:
        scope = {"method": "POST", "path": "/images/_count", "query_string": b"", "headers": JSON}
        asyncio.run(upstream.forward(scope | said, self.receive, self.send, read))
        return self.sent[0]["status"] if self.sent else None


BODY = b'{"query": {"match_all": {}}}'
PACKED = {
    "gzip": gzip.compress(BODY, mtime=0),
    "deflate": zlib.compress(BODY),
    "identity": BODY,
}


def with_encoding(name: str) -> dict[str, Any]:
    return {"headers": (*JSON, (b"content-encoding", name.encode()))}


@pytest.mark.parametrize("name", PACKED)
def test_a_body_may_be_packed_and_come_in_pieces(upstream, name):
    exchange = Exchange(PACKED[name][:9], PACKED[name][9:])
    assert exchange.run(upstream, **with_encoding(name)) == 200
    assert json.loads(exchange.sent[1]["body"])["count"] == 3


def test_what_has_been_read_is_not_read_again(upstream):
    exchange = Exchange(b"no json")
    assert exchange.run(upstream, BODY) == 200


@pytest.mark.parametrize(
    ("body", "name", "status"),
    [
        (b"x" * 20_001, "", 413),
        (gzip.compress(b" " * 20_001, mtime=0), "gzip", 413),
        (PACKED["gzip"][:-9], "gzip", 400),
        (b"no gzip", "gzip", 400),
        (BODY, "zstd", 501),
    ],
    ids=["too large", "a bomb", "cut short", "no gzip", "not known"],
)
def test_a_body_that_cannot_be_unpacked_is_refused(upstream, body, name, status):
    assert Exchange(body[:50], body[50:]).run(upstream, **with_encoding(name)) == status
    assert Exchange(b"").run(upstream, body, **with_encoding(name)) == status


def test_what_breaks_off_is_said(upstream):
    exchange = Exchange(PACKED["gzip"][:-4])
    assert exchange.run(upstream, **with_encoding("gzip")) == 400
    assert b"breaks off within its gzip" in exchange.sent[1]["body"]


def test_a_body_that_is_too_large_is_not_read_to_its_end(upstream):
    exchange = Exchange(*[b"x" * 15_000] * 9)
    assert exchange.run(upstream) == 413
    assert len(exchange.messages) == 8


def test_a_caller_who_goes_is_not_answered(upstream):
    assert Exchange(b"{", gone=True).run(upstream) is None


def test_head_has_the_length_of_the_answer_and_no_body(upstream):
    exchange = Exchange(b"")
    assert exchange.run(upstream, method="HEAD", path="/images/_doc/a", headers=()) == 200
    length = dict(exchange.sent[0]["headers"])[b"content-length"]
    assert int(length) == len(ask(upstream, "GET", "/images/_doc/a", headers=()).body)
    assert exchange.sent[1]["body"] == b""
