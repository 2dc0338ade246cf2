"""One search API, answered by a gallery in a folder and by Elasticsearch alike.

Where Elasticsearch's answer holds what a folder has none of (sequence numbers, shards' nodes) or
an order that nobody promises (ties of one score), it is taken out on both sides.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from es_mappings.documents import PictureClass
from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_client import connect
from es_mappings.indices import IndexPlan, create, drop, rejects_index
from es_mappings.local import LocalGallery
from reranker.http.exchange import Request
from reranker.local_elasticsearch.upstream import LocalUpstream
from tests.contracts.conftest import FINGERPRINT
from tests.support.clock import HANG_S
from tests.support.documents import DIMS, document

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Ask = Callable[..., tuple[int, Any]]

X = [1.0, 0.0, 0.0, 0.0]
DOCUMENTS = [
    document(
        "a",
        X,
        classes=(PictureClass("tower", 0.5), PictureClass("pole", 0.25)),
        meta={
            "city": "Paris",
            "year": 1889,
            "open": True,
            "tags": ["x", "y"],
            "by": [{"n": "E", "k": {}}, {"n": "P"}],
            "note": None,
            "e": [],
        },
        source_tag="t",
        revision=3,
    ),
    document("b", [1, 1, 0, 0], meta={"city": "Paris"}),
    document("c", [0, 0, 1, 0], meta={"city": "Rome"}),
    document("d", [-1, 0, 0, 0], indexed_at=""),
    document("e/é ?", [0, 1, 0, 0], meta={"city": "Oslo"}),
]
ABOUT_A = {
    "id": "a",
    "uri": "/photos/a",
    "digest": "d" * 64,
    "width": 640,
    "height": 480,
    "classes": [{"name": "tower", "score": 0.5}, {"name": "pole", "score": 0.25}],
    "source_tag": "t",
    "revision": 3,
    "meta": {
        "city": "Paris",
        "year": 1889,
        "open": True,
        "tags": ["x", "y"],
        "by": [{"n": "E", "k": {}}, {"n": "P"}],
        "note": None,
        "e": [],
    },
    "indexed_at": "2024-05-06T07:08:09+00:00",
}
VECTOR = {"descriptor": X}
JSON = {"content-type": "application/json"}
NDJSON = {"content-type": "application/x-ndjson"}


@pytest.fixture(scope="module")
def local_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    with LocalGallery.create(tmp_path_factory.mktemp("g"), DIMS, FINGERPRINT, {}) as gallery:
        gallery.put(DOCUMENTS)
        upstream = LocalUpstream(gallery, "images")

        def ask(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
            path, _, query = path.format(index="images").partition("?")
            pairs = tuple((key.encode(), value.encode()) for key, value in headers.items())
            answer = asyncio.run(upstream.ask(Request(method, path, query, pairs, body)))
            return answer.status, answer.body

        yield ask


@pytest.fixture(scope="module")
def elastic_api(elasticsearch_url: str) -> Iterator[Ask]:
    client = connect(elasticsearch_url)
    name = f"api-{uuid.uuid4().hex[:12]}"
    plan = IndexPlan(graph="hnsw", replicas=0)
    index = create(client, name, {"fingerprint": FINGERPRINT, "dims": DIMS}, DIMS, plan)
    ElasticGallery(client, index, rejects_index(name), refresh=True).put(DOCUMENTS)
    connection = http.client.HTTPConnection(urlsplit(elasticsearch_url).netloc, timeout=HANG_S)

    def ask(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
        body = body.replace(b'"images"', json.dumps(name).encode())
        connection.request(method, path.format(index=name), body or None, headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        for mine in (index, name):  # the longer first
            text = text.replace(mine, "images")
        return answer.status, text.encode()

    yield ask
    connection.close()
    drop(client, name)
    client.close()


@pytest.fixture(
    params=["local", pytest.param("elasticsearch", marks=pytest.mark.services)], scope="module"
)
def ask(request: pytest.FixtureRequest) -> Ask:
    """Asks one of the two: method, path, body, and headers if not those of JSON."""
    names = {"local": "local_api", "elasticsearch": "elastic_api"}
    raw = request.getfixturevalue(names[request.param])

    def asked(
        method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, Any]:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = b"" if body is None else sent
        kind = {} if body is None else JSON
        status, text = raw(method, path, sent, kind if headers is None else headers)
        return status, json.loads(text) if text else None

    return asked


def knn(**said: Any) -> dict[str, Any]:
    return {"field": "descriptor", "query_vector": X, "k": 5, "num_candidates": 50} | said


def found(answer: dict[str, Any]) -> list[tuple[str, float]]:
    return [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]]
