"""One search API, answered by a gallery in a folder and by Elasticsearch alike.

Where Elasticsearch's answer holds what a folder has none of (sequence numbers, shards' nodes) or
an order that nobody promises (ties of one score), it is taken out on both sides.
"""

from __future__ import annotations

import http.client
import json
import uuid
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest

from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_client import connect
from es_mappings.indices import IndexPlan, create_gallery, drop_gallery, rejects_index
from es_mappings.windows import regions_mapping
from galleries.documents import ImageClass
from galleries.local import LocalGallery
from reranker.folder import LocalUpstream
from reranker.http.exchange import Request
from tests.contracts.conftest import FINGERPRINT
from tests.support.clock import HANG_S
from tests.support.documents import DIMS, document, windows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Ask = Callable[..., tuple[int, Any]]

X = [1.0, 0.0, 0.0, 0.0]
META = {
    "city": "Paris",
    "year": 1889,
    "open": True,
    "tags": ["x", "y"],
    "by": [{"n": "E", "k": {}}, {"n": "P"}],
    "note": None,
    "e": [],
}
DOCUMENTS = [
    document(
        "a",
        X,
        classes=(ImageClass("tower", 0.5), ImageClass("pole", 0.25)),
        meta=META,
        source_tag="t",
        revision=3,
        windows=windows(X, [0, 1, 0, 0]),
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
    "meta": META,
    "indexed_at": "2024-05-06T07:08:09+00:00",
    "regions": [{"box": [0, 0, 640, 480]}, {"box": [1, 1, 640, 480]}],
}
VECTOR = {"descriptor": X}
WINDOWS = {
    "regions": [
        {"box": [0, 0, 640, 480], "vector": [127, 0, 0, 0]},
        {"box": [1, 1, 640, 480], "vector": [0, 127, 0, 0]},
    ]
}
WINDOW_VECTORS = {"regions": [{"vector": one["vector"]} for one in WINDOWS["regions"]]}
METHOD = {"windows": 5}
JSON = {"content-type": "application/json"}
NDJSON = {"content-type": "application/x-ndjson"}
A, B, C, D, E = (("a", 1.0), ("b", 0.8535534), ("c", 0.5), ("d", 0.0), ("e/é ?", 0.5))
PARIS = {"term": {"meta.city": "Paris"}}


@pytest.fixture(scope="module")
def local_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ask]:
    about = {"method": METHOD}
    with LocalGallery.create(tmp_path_factory.mktemp("g"), DIMS, FINGERPRINT, about) as gallery:
        gallery.put(DOCUMENTS)
        upstream = LocalUpstream(gallery, "images")

        def ask(method: str, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, bytes]:
            path, _, query = path.format(index="images").partition("?")
            pairs = tuple((key.encode(), value.encode()) for key, value in headers.items())
            answer = upstream.answer(Request(method, path, query, pairs, body))
            return answer.status, answer.body

        yield ask


@pytest.fixture(scope="module")
def elastic_api(elasticsearch_url: str) -> Iterator[Ask]:
    client = connect(elasticsearch_url)
    name = f"api-{uuid.uuid4().hex[:12]}"
    plan = IndexPlan(graph="hnsw", replicas=0)
    about = {"fingerprint": FINGERPRINT, "dims": DIMS, "method": METHOD}
    index = create_gallery(client, name, about, DIMS, plan)
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
    drop_gallery(client, name)
    client.close()


@pytest.fixture(
    params=["local", pytest.param("elasticsearch", marks=pytest.mark.services)], scope="module"
)
def ask(request: pytest.FixtureRequest) -> Ask:
    """Asks one of the two: method, path, body, and headers if not those of JSON."""
    names = {"local": "local_api", "elasticsearch": "elastic_api"}
    raw = request.getfixturevalue(names[request.param])

    def asked(
        method: str, path: str, body: object = None, headers: dict[str, str] = JSON
    ) -> tuple[int, Any]:
        sent = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = {} if body is None else headers
        status, text = raw(method, path, b"" if body is None else sent, kind)
        return status, json.loads(text) if text else None

    return asked


@pytest.fixture
def leaves_vectors_out(ask: Ask) -> bool:
    """Whether it is as Elasticsearch from 9.2 on."""
    number = ask("GET", "/")[1]["version"]["number"]
    return tuple(map(int, number.split(".")[:2])) >= (9, 2)


@pytest.fixture
def shown(leaves_vectors_out: bool) -> Callable[[Any], Any]:
    """What is shown of a `_source`: before Elasticsearch 9.2 all of it, vectors as written."""
    if leaves_vectors_out:
        return lambda said: said

    def as_written(said: Any) -> Any:
        whole = "digest" in (said or {})
        more = VECTOR | WINDOWS if whole else {}
        return said and {key: _as_written(value) for key, value in (said | more).items()}

    return as_written


def _as_written(value: Any) -> Any:
    """A value of `_source`, of which the vectors of windows are hexadecimal."""
    if not isinstance(value, list):
        return value
    return [
        one | {"vector": bytes(one["vector"]).hex()}
        if isinstance(one, dict) and "vector" in one
        else one
        for one in value
    ]


def knn(**said: Any) -> dict[str, Any]:
    return {"field": "descriptor", "query_vector": X, "k": 5, "num_candidates": 50} | said


def found(answer: dict[str, Any]) -> list[tuple[str, float]]:
    return [(hit["_id"], hit["_score"]) for hit in answer["hits"]["hits"]]


NEAREST = {
    "all": ({"knn": knn()}, [A, B, C, E, D], 5),
    "k is size": ({"knn": {"field": "descriptor", "query_vector": X}, "size": 2}, [A, B], 2),
    "one in a list": ({"knn": [knn(k=1)]}, [A], 1),
    "page": ({"knn": knn(k=3), "from": 1, "size": 1}, [B], 3),
    "page beyond": ({"knn": knn(k=2), "from": 5}, [], 2),
    "no hits shown": ({"knn": knn(k=3), "size": 0}, [], 3),
    "filters": ({"knn": knn(filter=[PARIS, {"ids": {"values": ["b", "c"]}}])}, [B], 1),
    "similarity reached": ({"knn": knn(similarity=0)}, [A, B, C, E], 4),
    "boost": ({"knn": knn(k=2, boost=2)}, [("a", 2.0), ("b", 1.7071068)], 2),
    "min_score reached": ({"knn": knn(), "min_score": 0.5}, [A, B, C, E], 4),
    "knn query with a filter": ({"query": {"knn": knn(filter=PARIS)}}, [A, B], 2),
    "retriever": ({"retriever": {"knn": knn(k=3)}, "size": 2}, [A, B], 3),
    "standard": ({"retriever": {"standard": {"query": {"knn": knn(k=2)}}}}, [A, B], 2),
}


@pytest.mark.parametrize(
    ("asked", "offsets"), [({}, [1, 0]), ({"size": 1}, [1]), ({"size": 0}, [])]
)
def test_inner_hits_are_the_most_similar_windows(ask, asked, offsets):
    inner = {"_source": ["regions.box"], **asked}
    clause = knn(field="regions.vector", query_vector=[3, 4, 0, 0], inner_hits=inner)
    [hit] = ask("POST", "/{index}/_search", {"knn": clause})[1]["hits"]["hits"]
    best = hit["inner_hits"]["regions"]["hits"]
    assert best["total"] == {"value": 2, "relation": "eq"}
    assert [one["_nested"] for one in best["hits"]] == [
        {"field": "regions", "offset": offset} for offset in offsets
    ]
    scores = [one["_score"] for one in best["hits"]]
    assert scores == pytest.approx([0.9, 0.8][: len(offsets)])
    assert best["max_score"] == (pytest.approx(0.9) if offsets else None)
    boxes = [ABOUT_A["regions"][offset] for offset in offsets]
    assert [one["_source"] for one in best["hits"]] == boxes


@pytest.mark.parametrize("case", NEAREST)
def test_the_nearest_come_first(ask, case):
    body, expected, total = NEAREST[case]
    status, answer = ask("POST", "/{index}/_search", body | {"_source": False})
    assert (status, answer["timed_out"]) == (200, False)
    assert answer["_shards"] == {"total": 1, "successful": 1, "skipped": 0, "failed": 0}
    # Of two with the same score either may be first.
    assert sorted(found(answer)) == sorted(expected)
    assert [score for _, score in found(answer)] == [score for _, score in expected]
    assert answer["hits"]["total"] == {"value": total, "relation": "eq"}
    assert set(answer) == {"took", "timed_out", "_shards", "hits"}
    best = {"no hits shown": None, "filters": B[1], "boost": 2}.get(case, 1)
    assert answer["hits"]["max_score"] == best


IDS = ["a", "b", "c", "d", "e/é ?"]
MATCHING = {
    "all": (None, IDS),
    "match_all": ({"match_all": {}}, IDS),
    "ids": ({"ids": {"values": ["a", "nobody"]}}, ["a"]),
    "terms": ({"terms": {"meta.city": ["Paris", "Oslo"]}}, ["a", "b", "e/é ?"]),
    "range": ({"range": {"width": {"gte": 1}}}, IDS),
    "exists": ({"exists": {"field": "indexed_at"}}, ["a", "b", "c", "e/é ?"]),
    "bool": ({"bool": {"must": [{"match_all": {}}], "filter": [PARIS]}}, ["a", "b"]),
}


@pytest.mark.parametrize("case", MATCHING)
def test_a_query_alone_gives_all_hits_one_score(ask, case):
    query, ids = MATCHING[case]
    body = {"_source": False} if query is None else {"query": query, "_source": False}
    status, answer = ask("POST", "/{index}/_search", body)
    assert status == 200
    assert sorted(found(answer)) == [(id_, 1.0) for id_ in ids]
    assert answer["hits"]["max_score"] == 1
    assert answer["hits"]["total"] == {"value": len(ids), "relation": "eq"}
    count = ask("POST", "/{index}/_count", {} if query is None else {"query": query})
    assert count[1]["count"] == len(ids)


def test_a_min_score_above_leaves_nothing(ask):
    answer = ask("POST", "/{index}/_search", {"min_score": 1.5})[1]
    expected = {"total": {"value": 0, "relation": "eq"}, "max_score": None, "hits": []}
    assert answer["hits"] == expected


def test_parameters_win_over_the_body(ask):
    answer = ask("POST", "/{index}/_search?from=1&size=1", {"knn": knn(), "size": 3})[1]
    assert found(answer) == [B]


def without(*keys: str) -> dict[str, Any]:
    return {key: value for key, value in ABOUT_A.items() if key not in keys}


SOURCES = {
    "true": (True, ABOUT_A),
    "empty list": ([], ABOUT_A),
    "path": ("width", {"width": 640}),
    "vector by a pattern": (["des*"], VECTOR),
    "everything by a pattern": (["*"], ABOUT_A | VECTOR | WINDOWS),
    "windows": ("regions", WINDOWS),
    "their boxes": (["regions.box", "nothing"], {"regions": ABOUT_A["regions"]}),
    "their vectors": (["descriptor", "*.vector"], VECTOR | WINDOW_VECTORS),
    "below a list": (["classes.n*"], {"classes": [{"name": "tower"}, {"name": "pole"}]}),
    "star within": (["m*.city"], {"meta": {"city": "Paris"}}),
    "empty values": (
        ["meta.e", "meta.note", "meta.by.k"],
        {"meta": {"e": [], "note": None, "by": [{"k": {}}]}},
    ),
    "both": (
        {"includes": ["uri", "classes"], "excludes": ["uri", "classes.name", "nothing"]},
        {"classes": [{"score": 0.5}, {"score": 0.25}]},
    ),
    "excludes": ({"excludes": ["meta"]}, without("meta")),
}
ONLY_A = {"query": {"ids": {"values": ["a"]}}}


@pytest.mark.parametrize("case", SOURCES)
def test_source_is_shown_as_asked(ask, shown, case):
    said, expected = SOURCES[case]
    answer = ask("POST", "/{index}/_search", ONLY_A | {"_source": said})[1]
    assert answer["hits"]["hits"][0]["_source"] == shown(expected)


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("", ABOUT_A),
        ("_source=width,meta.city", {"width": 640, "meta": {"city": "Paris"}}),
        ("_source_includes=width,uri&_source_excludes=uri", {"width": 640}),
        ("_source=true&_source_includes=width,descriptor", VECTOR | {"width": 640}),
        ("_source=false", None),
    ],
)
def test_source_is_asked_for_beside_the_path_too(ask, shown, query, expected):
    answer = ask("GET", f"/{{index}}/_doc/a?{query}".rstrip("?"))[1]
    assert answer.get("_source") == shown(expected)
    body = ONLY_A | {"_source": ["uri"]}
    hit = ask("POST", f"/{{index}}/_search?{query}".rstrip("?"), body)[1]["hits"]["hits"][0]
    assert hit.get("_source") == (expected if query else {"uri": "/photos/a"})


FIELDS = {
    "meta.by.n": ["E", "P"],
    "meta.tags": ["x", "y"],
    "meta.year": [1889.0],
    "meta.open": [True],
    "meta.city": ["Paris"],
}


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["descriptor"], VECTOR),
        (["regions", "*.box"], {"regions": ABOUT_A["regions"]}),
        (["clas*"], {"classes.name": ["tower", "pole"], "classes.score": [0.5, 0.25]}),
        ([{"field": "meta.*"}], FIELDS),
        (["meta", "nothing"], None),
        (["*.n", "*city"], {"meta.by.n": ["E", "P"], "meta.city": ["Paris"]}),
        ([{"field": "width"}, "digest"], {"width": [640], "digest": ["d" * 64]}),
    ],
)
def test_fields_are_shown_as_asked(ask, said, expected):
    answer = ask("POST", "/{index}/_search", ONLY_A | {"_source": False, "fields": said})[1]
    assert answer["hits"]["hits"][0].get("fields") == expected


def test_fields_of_a_window_come_together(ask, leaves_vectors_out):
    asked = ONLY_A | {"_source": False, "fields": ["regions.*"]}
    fields = ask("POST", "/{index}/_search", asked)[1]["hits"]["hits"][0]["fields"]
    assert fields == (WINDOWS if leaves_vectors_out else {"regions": ABOUT_A["regions"]})


def test_filter_path_is_for_every_answer_but_errors(ask):
    paths = "hits.hits,-hits.hits._s*,-hits.**._index,-hits.**.score"
    status, cut = ask("POST", f"/{{index}}/_search?filter_path={paths}", ONLY_A)
    assert (status, cut) == (200, {"hits": {"hits": [{"_id": "a"}]}})
    assert ask("GET", "/{index}/_count?filter_path=count")[1].keys() == {"count"}
    assert ask("GET", "/{index}/_doc/a?filter_path=found")[1] == {"found": True}
    status, error = ask("GET", "/none/_search?filter_path=took")
    assert (status, error["status"]) == (404, 404)


def test_a_document_comes_by_its_id(ask, shown):
    status, answer = ask("GET", "/{index}/_doc/a")
    mine = {key: value for key, value in answer.items() if key not in {"_seq_no", "_primary_term"}}
    expected = {"_index": "images", "_id": "a", "_version": 3, "found": True}
    assert (status, mine) == (200, expected | {"_source": shown(ABOUT_A)})
    assert ask("GET", "/{index}/_doc/e%2F%C3%A9%20%3F")[1]["_id"] == "e/é ?"
    missing = {"_index": "images", "_id": "zz", "found": False}
    assert ask("GET", "/{index}/_doc/zz") == (404, missing)


def test_several_searches_are_answered_in_order(ask):
    lines = [{}, {"knn": knn(k=1)}, {"index": "nothing"}, {}, {"index": "images"}, {"size": 0}]
    body = b"".join(json.dumps(line).encode() + b"\n" for line in lines)
    status, answer = ask("POST", "/{index}/_msearch", body, NDJSON)
    assert (status, set(answer)) == (200, {"took", "responses"})
    assert [one["status"] for one in answer["responses"]] == [200, 404, 200]
    first, error, last = answer["responses"]
    assert found(first) == [A]
    assert error["error"]["type"] == "index_not_found_exception"
    assert last["hits"]["total"]["value"] == 5


def test_the_mapping_says_which_method_made_the_vectors(ask):
    for names in ("{index}", "{index}*"):
        mappings = ask("GET", f"/{names}/_mapping")[1]["images"]["mappings"]
        about = {"format": 1, "fingerprint": FINGERPRINT, "dims": DIMS}
        about |= {"method": METHOD, "profile": "rerank"}
        assert mappings["_meta"]["camsearch"] == about
        assert mappings["properties"]["regions"] == regions_mapping(DIMS, "rerank")
        assert mappings["properties"]["descriptor"]["dims"] == DIMS


def test_it_says_what_it_is(ask):
    status, answer = ask("GET", "/")
    assert (status, answer["tagline"]) == (200, "You Know, for Search")
    assert answer["version"]["number"].startswith(("8.", "9."))


REFUSED = {
    "dimensions": {"knn": knn(query_vector=[1, 0, 0])},
    "zero": {"knn": knn(query_vector=[0, 0, 0, 0])},
    "no vector": {"knn": {"field": "descriptor"}},
    "text in vector": {"knn": knn(query_vector=["a"])},
    "k 0": {"knn": knn(k=0)},
    "few candidates": {"knn": knn(k=5, num_candidates=3)},
    "candidates": {"knn": knn(num_candidates=10_001)},
    "boost": {"query": {"knn": knn(boost=-1)}},
    "retriever and query": {"retriever": {"standard": {}}, "query": {"match_all": {}}},
    "window": {"size": 10_001},
    "negative size": {"size": -1},
    "min_score": {"min_score": "x"},
    "source": {"_source": 1},
    "fields": {"fields": "width"},
    "list": [],
    "no query": {"query": {}},
    "no json": b"{} x",
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_with_400(ask, case):
    status, answer = ask("POST", "/{index}/_search", REFUSED[case])
    assert (status, answer["status"]) == (400, 400)
    cause = answer["error"]["root_cause"][0]
    assert cause["type"]
    assert cause["reason"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/nothing/_search", {}, 404),
        ("/{index},nothing/_count", None, 404),
        ("/nothing/_doc/a", None, 404),
        ("/nothing/_mapping", None, 404),
        ("/{index}/_msearch", b"{}\n{}", 400),
    ],
)
def test_errors_have_their_status(ask, path, body, status):
    found_status, answer = ask("GET" if body is None else "POST", path, body)
    assert (found_status, answer["status"]) == (status, status)
    if status == 404:
        assert answer["error"]["type"] == "index_not_found_exception"
