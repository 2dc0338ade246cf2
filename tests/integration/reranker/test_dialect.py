"""What the dialect sends and cuts out, held against a real Elasticsearch."""

from __future__ import annotations

import json
import random
import urllib.parse
import urllib.request

import orjson
import pytest

from reranker.dialect.answers import RankedHit, answer_of, filtered, read_hits
from reranker.dialect.parsing import parse_search
from reranker.dialect.searches import DialectLimits, first_body, forwarded_query
from reranker.dialect.second_search import again_body

pytestmark = pytest.mark.services

VECTOR = [1, 0, 0, 0]
CLAUSE = {"field": "descriptor", "k": 5, "num_candidates": 9}
OURS = {"query_vector_builder": {"camsearch": {"image": {"id": "p0"}}}}
FIELDS = {"digest": "keyword", "uri": "keyword", "width": "integer", "height": "integer"}
VECTORS = {"type": "dense_vector", "dims": 4, "similarity": "dot_product"}


def asked(url, method, path, body):
    request = urllib.request.Request(  # noqa: S310 - a server of the tests
        url + path, orjson.dumps(body), {"content-type": "application/json"}, method=method
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return json.load(answer)


@pytest.fixture
def index(elasticsearch_url, index_prefix):
    path = f"/{index_prefix}dialect"
    properties = {name: {"type": kind} for name, kind in FIELDS.items()}
    asked(
        elasticsearch_url,
        "PUT",
        path,
        {"mappings": {"properties": properties | {"descriptor": VECTORS}}},
    )
    for i in range(7):
        norm = (100 + i * i) ** 0.5
        vector = [10 / norm, i / norm, 0, 0]
        document = {
            "digest": f"d{i}",
            "uri": f"u{i}",
            "width": 9 + i,
            "height": 5,
            "descriptor": vector,
        }
        asked(elasticsearch_url, "PUT", f"{path}/_doc/p{i}?refresh=true", document)
    return path


PLACES = {
    "knn": ({"knn": CLAUSE | OURS}, {}),
    "query": ({"query": {"bool": {"must": [{"knn": CLAUSE | OURS}]}}}, {}),
    "retriever": ({}, {"retriever": {"knn": CLAUSE | OURS}}),
}


@pytest.mark.parametrize("place", PLACES)
def test_a_re_ranked_search_brings_what_the_re_ranking_needs(elasticsearch_url, index, place):
    body, inner = PLACES[place]
    body = body | {"retriever": {"camsearch": {"expand": {}} | inner}, "from": 1, "size": 2}
    body |= {"min_score": 0.9999, "fields": ["w*"], "_source": False}
    search = parse_search(orjson.dumps(body), "size=3&filter_path=hits.hits", DialectLimits())
    path = f"{index}/_search?{forwarded_query(search)}"
    vectors = {search.image: VECTOR}
    first = asked(elasticsearch_url, "POST", path, orjson.loads(first_body(search, vectors)))
    again = asked(elasticsearch_url, "POST", path, orjson.loads(again_body(search, vectors)))
    assert first["hits"] == again["hits"]

    hits = read_hits(first)
    assert [(hit.id, hit.digest, hit.uri, hit.width, hit.height) for hit in hits] == [
        (f"p{i}", f"d{i}", f"u{i}", 9 + i, 5) for i in range(5)
    ]
    ordered = [RankedHit(hit.raw, 1 - hit.rank / 1e6) for hit in reversed(hits)]
    answer = answer_of(search, first, ordered, 1)
    assert [(hit["_id"], hit["fields"]) for hit in answer["hits"]["hits"]] == [
        (f"p{i}", {"width": [9 + i]}) for i in (3, 2, 1)
    ]


def test_filter_path_cuts_as_elasticsearch_does(elasticsearch_url, index_prefix):
    path = f"/{index_prefix}odd"
    asked(elasticsearch_url, "PUT", path, {"mappings": {"enabled": False}})
    chance = random.Random(5)
    for _ in range(15):
        asked(elasticsearch_url, "PUT", f"{path}/_doc/1?refresh=true", any_object(chance, 4))
        whole = asked(elasticsearch_url, "POST", f"{path}/_search", {})
        for _ in range(20):
            paths = ",".join(any_path(chance) for _ in range(chance.randint(1, 3)))
            query = urllib.parse.urlencode({"filter_path": paths})
            cut = asked(elasticsearch_url, "POST", f"{path}/_search?{query}", {})
            expected = filtered(whole | {"took": cut.get("took", 0)}, paths)
            assert cut == expected, paths


def any_object(chance, depth):
    keys = chance.sample(["a", "b", "ab", "a.b"], chance.randint(0, 3))
    return {key: any_value(chance, depth - 1) for key in keys}


def any_value(chance, depth):
    kind = chance.random() if depth else 0
    if kind < 0.35:
        return chance.choice([1, None, "x", True])
    if kind < 0.7:
        return any_object(chance, depth)
    return [any_value(chance, depth - 1) for _ in range(chance.randint(0, 3))]


def any_path(chance):
    names = ["a", "b", "ab", "a\\.b", "*", "**", "a*", "*b", "hits", "_source", "***", ""]
    start = chance.choice(["", "hits.hits._source.", "hits.hits._source.", "**.", "hits.**."])
    return (
        chance.choice(["", "", "-"])
        + start
        + ".".join(chance.choices(names, k=chance.randint(1, 3)))
    )
