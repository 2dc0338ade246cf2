"""What `--read-only` lets through."""

from __future__ import annotations

import pytest

from reranker.http.paths import reads, words_of

READING = """
GET /
HEAD /
HEAD /images
GET /images/_doc/1
HEAD /images/_doc/1
GET /images/_doc/photos%2F2024%2F1.jpg
GET /images/_source/1
POST /_search
GET /images,other/_search
POST /images/_search/
POST /%3Cimages-%7Bnow%2Fd%7D%3E/_search
POST /_all/_search
POST /images/_msearch
POST /_mget
POST /images/_count
GET /images/_mapping
GET /_cat/indices
GET /_cat/indices/images
GET /_cluster/health
POST /images/_field_caps
POST /images/_pit
DELETE /_pit
POST /_search/scroll
DELETE /_search/scroll
POST /images/_async_search
GET /_async_search/abc
DELETE /_async_search/abc
POST /images/_explain/1
GET /images/_validate/query
GET /images/_termvectors/1
POST /_rank_eval
POST /_analyze
POST /_query
POST /_sql
POST /images/_eql/search
"""

NOT_READING = """
PUT /images
DELETE /images
POST /images
POST /images/_doc
PUT /images/_doc/1
POST /images/_create/1
POST /images/_update/1
DELETE /images/_doc/1
POST /_bulk
PUT /_bulk
GET /_bulk
POST /images/_bulk
POST /images/_delete_by_query
POST /images/_update_by_query
POST /_reindex
GET /_refresh
POST /images/_refresh
GET /images/_flush
POST /images/_forcemerge
POST /images/_close
POST /_aliases
PUT /images/_mapping
PUT /images/_settings
PUT /_cluster/settings
POST /_scripts/painless/_execute
PUT /_ingest/pipeline/x
POST /_snapshot/a/b/_restore
DELETE /_search
PUT /images/_search
PATCH /images/_search
OPTIONS /images/_search
POST /images/_search/../_bulk
POST /images/..%2f_bulk/_search
POST /images/%2e%2e/_bulk
GET /images/_doc/..
GET /images/_doc/..%2F..%2F_cluster%2Fsettings
GET /images/_doc/%252e%252e%252f
GET /images/_doc/a%5C..%5Cb
POST //_bulk
POST //_search
POST /images//_search
POST /_bulk/_search
POST /%5Fbulk/_search
POST /%5Fsearch
POST /_search%2F
POST /_search%00
POST /_search;x
GET /_Search
GET /_cat/health/x/y
POST /_cluster/reroute
GET /_nodes/x/reload_secure_settings/y
"""


def lines(text: str) -> list[tuple[str, ...]]:
    return [tuple(line.split()) for line in text.strip().splitlines()]


@pytest.mark.parametrize(("method", "path"), lines(READING))
def test_reading_requests_are_known(method: str, path: str) -> None:
    assert reads(method, path)


@pytest.mark.parametrize(("method", "path"), lines(NOT_READING))
def test_everything_else_is_not(method: str, path: str) -> None:
    assert not reads(method, path)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/", ()),
        ("/_search", ("_search",)),
        ("/_search//", ("_search",)),
        ("//_search", ("", "_search")),  # Elasticsearch: the index without a name
        ("/a%2Fb/_search", ("a%2Fb", "_search")),
    ],
)
def test_a_path_is_split_as_elasticsearch_splits_it(path: str, words: tuple[str, ...]) -> None:
    assert words_of(path) == words
