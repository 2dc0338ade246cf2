"""What `--read-only` lets through."""

from __future__ import annotations

import pytest

from reranker.http.paths import reads, words_of

READING = """
GET / /images/_doc/1 /images/_doc/photos%2F2024%2F1.jpg /images/_source/1 /images,other/_search
    /images/_mapping /_cat/indices /_cat/indices/images /_cluster/health /_async_search/abc
    /images/_validate/query /images/_termvectors/1
HEAD / /images /images/_doc/1
POST /_search /images/_search/ /%3Cimages-%7Bnow%2Fd%7D%3E/_search /_all/_search
    /images/_msearch /_mget /images/_count /images/_field_caps /images/_pit /_search/scroll
    /images/_async_search /images/_explain/1 /_rank_eval /_analyze /_query /_sql
    /images/_eql/search
DELETE /_pit /_search/scroll /_async_search/abc
"""

NOT_READING = """
PUT /images /images/_doc/1 /_bulk /images/_mapping /images/_settings /_cluster/settings
    /_ingest/pipeline/x /images/_search
DELETE /images /images/_doc/1 /_search
POST /images /images/_doc /images/_create/1 /images/_update/1 /_bulk /images/_bulk
    /images/_delete_by_query /images/_update_by_query /_reindex /images/_refresh
    /images/_forcemerge /images/_close /_aliases /_scripts/painless/_execute
    /_snapshot/a/b/_restore /images/_search/../_bulk /images/..%2f_bulk/_search
    /images/%2e%2e/_bulk //_bulk //_search /images//_search /_bulk/_search /%5Fbulk/_search
    /%5Fsearch /_search%2F /_search%00 /_search;x /_cluster/reroute
GET /_bulk /_refresh /images/_flush /images/_doc/.. /images/_doc/..%2F..%2F_cluster%2Fsettings
    /images/_doc/%252e%252e%252f /images/_doc/a%5C..%5Cb /_Search /_cat/health/x/y
    /_nodes/x/reload_secure_settings/y
PATCH /images/_search
OPTIONS /images/_search
"""


def lines(text):
    """Pairs of a method and one of the paths that follow it."""
    found = text.strip().replace("\n    ", " ").splitlines()
    return [(line.split()[0], path) for line in found for path in line.split()[1:]]


@pytest.mark.parametrize(("method", "path"), lines(READING))
def test_reading_requests_are_known(method, path):
    assert reads(method, path)


@pytest.mark.parametrize(("method", "path"), lines(NOT_READING))
def test_other_requests_are_not_reading(method, path):
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
def test_a_path_is_split_as_elasticsearch_splits_it(path, words):
    assert words_of(path) == words
