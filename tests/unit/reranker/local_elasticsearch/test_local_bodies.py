"""Whatever a client sends is answered or refused in Elasticsearch's shape, and never fails."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from es_mappings.local import LocalGallery
from reranker.http.exchange import Answer, Request
from reranker.local_elasticsearch.upstream import LocalUpstream
from tests.support.documents import DIMS, document

if TYPE_CHECKING:
    from collections.abc import Iterator

JSON = ((b"content-type", b"application/json"),)
X = [1.0, 0.0, 0.0, 0.0]

NAMES = """_source fields from knn min_score post_filter query retriever size timeout track_scores
    track_total_hits explain aggs field query_vector k num_candidates filter similarity boost
    standard bool must should must_not minimum_should_match term terms range exists ids match_all
    values value gte lt includes excludes exclude_vectors docs _id _index index descriptor
    meta.city width meta""".split()  # noqa: SIM905  read more easily than a list
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-2, 12),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "a", "descriptor", "meta.city", "me*", "3s", "true", "P4AAAA==", "\x00"]),
    st.just(X),
)
VALUES = st.recursive(
    LEAVES,
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.sampled_from(NAMES), below, max_size=3)
    ),
    max_leaves=8,
)
QUERIES = st.recursive(
    st.sampled_from(
        [
            {"match_all": {}},
            {"term": {"meta.city": "Paris"}},
            {"ids": {"values": ["a"]}},
            {"exists": {"field": "meta"}},
        ]
    ),
    lambda below: st.fixed_dictionaries(
        {"bool": st.dictionaries(st.sampled_from(["must", "should", "filter", "must_not"]), below)}
    ),
    max_leaves=4,
)
KNN = st.fixed_dictionaries(
    {"field": st.just("descriptor"), "query_vector": st.just(X) | VALUES},
    optional={"k": VALUES, "num_candidates": VALUES, "filter": VALUES | QUERIES, "boost": VALUES},
)
SEARCHES = st.fixed_dictionaries(
    {},
    optional={
        "knn": KNN | VALUES,
        "query": QUERIES | VALUES,
        "retriever": st.fixed_dictionaries({"standard": VALUES}) | VALUES,
        "size": VALUES,
        "_source": VALUES,
        "fields": VALUES,
    },
)


@pytest.fixture(scope="module")
def upstream(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalUpstream]:
    with LocalGallery.create(tmp_path_factory.mktemp("g"), DIMS, "f" * 64, {}) as gallery:
        deep: dict[str, Any] = {"end": 1}
        for _ in range(17):
            deep = {"x": deep}
        gallery.put([document("a", X, meta={"city": "Paris"}), document("b"), document("c")])
        gallery.put([document("deep", [0, 1, 0, 0], meta={"deep": deep})])
        yield LocalUpstream(gallery)


def ask(upstream: LocalUpstream, path: str, body: bytes) -> Answer:
    return upstream._answer(Request("POST", path, "", JSON, body))


def check_shape(answer: Answer) -> None:
    said = json.loads(answer.body)
    assert answer.status in {200, 400, 404, 501}
    if answer.status >= 400:
        assert said["status"] == answer.status
        assert said["error"]["root_cause"][0]["reason"].strip()


@given(body=SEARCHES | VALUES, path=st.sampled_from(["_search", "_count", "_mget"]))
@example(body={"knn": {"field": "descriptor", "query_vector": [1e300] * 4}}, path="_search")
@example(body={"knn": {"field": "descriptor", "query_vector": [10**400] * 4}}, path="_search")
@example(body={"query": {"match_all": {"boost": -1}}}, path="_search")
@example(body={"query": {"term": {"meta.city": "\ud800"}}}, path="_count")
@example(body={"ids": ["\ud800"]}, path="_mget")
@settings(max_examples=300)
def test_any_body_is_answered_or_refused(upstream, body, path):
    check_shape(ask(upstream, f"/images/{path}", json.dumps(body).encode()))


@given(lines=st.lists(st.binary(max_size=9) | SEARCHES.map(lambda s: json.dumps(s).encode())))
def test_any_lines_are_answered_or_refused(upstream, lines):
    check_shape(ask(upstream, "/images/_msearch", b"".join(line + b"\n" for line in lines)))


@given(query=st.text("_sourceinlude=&,*%tkfrmz01", max_size=30))
@example(query="_source_includes=*")
@example(query="size=1&from=")
def test_any_parameters_are_answered_or_refused(upstream, query):
    check_shape(upstream._answer(Request("GET", "/images/_search", query)))


@pytest.mark.parametrize("view", [True, ["meta.*"]])
def test_deep_metadata_is_shown_or_refused(upstream, view):
    body = {"query": {"ids": {"values": ["deep"]}}, "_source": view, "fields": ["meta.deep*"]}
    check_shape(ask(upstream, "/_search", json.dumps(body).encode()))


@pytest.mark.parametrize("boost", [-1, "x", True])
@pytest.mark.parametrize(
    "query",
    [
        lambda b: {"match_all": {"boost": b}},
        lambda b: {"term": {"meta.city": {"value": "Paris", "boost": b}}},
        lambda b: {"bool": {"must": {"ids": {"values": ["a"], "boost": b}}}},
        lambda b: {"knn": {"field": "descriptor", "query_vector": X, "boost": b}},
    ],
)
def test_a_boost_is_a_number_of_0_or_more(upstream, query, boost):
    answer = ask(upstream, "/_search", json.dumps({"query": query(boost)}).encode())
    assert answer.status == 400
    assert "boost" in json.loads(answer.body)["error"]["reason"]


def test_many_may_ask_at_once(upstream):
    body = json.dumps({"knn": {"field": "descriptor", "query_vector": X, "k": 1}}).encode()

    async def all_at_once() -> list[Answer]:
        request = Request("POST", "/_search", "", JSON, body)
        return await asyncio.gather(*(upstream.ask(request) for _ in range(40)))

    found = [json.loads(answer.body)["hits"]["hits"] for answer in asyncio.run(all_at_once())]
    assert [[hit["_id"] for hit in hits] for hits in found] == [["a"]] * 40
