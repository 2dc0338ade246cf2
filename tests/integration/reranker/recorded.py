"""Requests from the breadth of Elasticsearch's API, good and bad, for one index.

In order: they make the index, fill it, ask, change, and take it away.
"""

from __future__ import annotations

import gzip
import json
from typing import Any

from tests.integration.reranker.recording import (
    BULKY,
    JSON,
    LINES,
    MAPPING,
    PAIR,
    UNICODE_IDS,
    VECTOR,
    VENDOR,
    Recorded,
    asking,
    bulk,
    document,
    lines,
    quoted,
)


def making():
    return [
        asking("GET", "/{i}"),
        asking("HEAD", "/{i}"),
        asking("PUT", "/{i}", MAPPING),
        asking("PUT", "/{i}", MAPPING),
        asking("HEAD", "/{i}"),
        asking("GET", "/{i}"),
        asking("GET", "/{i}/_mapping"),
        asking("GET", "/{i}/_mapping/field/city"),
        asking("GET", "/{i}/_settings?flat_settings=true"),
        asking("GET", "/{i}/_alias"),
        asking("PUT", "/{i}/_alias/{i}-alias"),
        asking("HEAD", "/_alias/{i}-alias"),
        asking("GET", "/_alias/{i}-none"),
        asking("PUT", "/{i}/_mapping", {"properties": {"more": {"type": "keyword"}}}),
        asking("PUT", "/{i}/_mapping", {"properties": {"city": {"type": "text"}}}),
        asking("PUT", "/{i}/_settings", {"index": {"refresh_interval": "-1"}}),
        asking("PUT", "/{i}/_settings", {"index": {"nonsense": 1}}),
        asking("PUT", "/{i}-UPPER", MAPPING),
        asking("PUT", "/_{i}", MAPPING),
        asking("POST", "/{i}/_analyze", {"analyzer": "standard", "text": "Été à Köln"}),
    ]


def writing():
    packed = gzip.compress(bulk(20, start=20), mtime=0)
    return [
        *(asking("PUT", f"/{{i}}/_doc/{quoted(name)}", document(1)) for name in UNICODE_IDS),
        *(asking("GET", f"/{{i}}/_doc/{quoted(name)}") for name in UNICODE_IDS),
        *(asking("HEAD", f"/{{i}}/_doc/{quoted(name)}") for name in UNICODE_IDS[:3]),
        asking("PUT", "/{i}/_doc/1?routing=a%20b", document(1)),
        asking("PUT", "/{i}/_create/1?routing=a%20b", document(1)),
        asking("PUT", "/{i}/_doc/2?version=7&version_type=external", document(2)),
        asking("PUT", "/{i}/_doc/2?version=7&version_type=external", document(2)),
        asking("PUT", "/{i}/_doc/2?if_seq_no=99&if_primary_term=1", document(2)),
        asking("POST", "/{i}/_update/2", {"doc": {"city": "Rom"}}),
        asking("POST", "/{i}/_update/none", {"doc": {"city": "Rom"}}),
        asking("PUT", "/{i}/_doc/3", {"descriptor": [1, 2]}),
        asking("PUT", "/{i}/_doc/3", {"number": "none"}),
        Recorded("PUT", "/{i}/_doc/3", b"{broken", JSON),
        Recorded("PUT", "/{i}/_doc/3", b"", JSON),
        Recorded("PUT", "/{i}/_doc/3"),
        Recorded("PUT", "/{i}/_doc/3", b"{}"),
        Recorded("PUT", "/{i}/_doc/3", b"{}", {"Content-Type": "text/css"}),
        Recorded(
            "PUT", "/{i}/_doc/yaml", b"---\nnumber: 5\n", {"Content-Type": "application/yaml"}
        ),
        Recorded("PUT", "/{i}/_doc/latin", '{"city": "Köln"}'.encode("latin-1"), JSON),
        Recorded("POST", "/{i}/_bulk", bulk(20), LINES),
        Recorded("PUT", "/{i}/_bulk?refresh=true", bulk(3), LINES),
        Recorded("POST", "/{i}/_bulk", packed, LINES | {"Content-Encoding": "gzip"}),
        Recorded("POST", "/{i}/_bulk", b"damaged", LINES | {"Content-Encoding": "gzip"}),
        Recorded("POST", "/{i}/_bulk", bulk(20, start=40), LINES, chunked=True),
        Recorded("POST", "/{i}/_bulk", packed, LINES | {"Content-Encoding": "gzip"}, chunked=True),
        Recorded("POST", "/{i}/_bulk", b'{"index": {}}\n', LINES),
        Recorded("POST", "/{i}/_bulk", b"nonsense\n", LINES),
        Recorded("POST", "/{i}/_bulk", b'{"delete": {"_id": "none"}}\n', LINES),
        Recorded("POST", "/{i}/_bulk", b'{"index": {"_id": "4"}}\n{"number": "no"}\n', LINES),
        Recorded("POST", "/{i}/_bulk", bulk(40, BULKY // 40, 1000), LINES),
        Recorded("POST", "/{i}/_bulk", bulk(40, BULKY // 40, 1000), LINES, chunked=True),
        Recorded("POST", "/{i}/_bulk", bulk(2), {"Content-Type": "application/json"}),
        asking("POST", "/{i}/_refresh"),
        asking("POST", "/{i}/_flush"),
        asking("GET", "/{i}/_refresh"),
    ]


def searching():
    everything: dict[str, Any] = {"match_all": {}}
    by_number = [{"number": "asc"}, {"_id": "asc"}]
    bodies: list[Any] = [
        {"knn": VECTOR, "_source": False},
        {"knn": [VECTOR, VECTOR | {"boost": 2}], "_source": False},
        {"knn": VECTOR | {"filter": {"term": {"city": "東京"}}}, "_source": ["city"]},
        {"knn": VECTOR | {"query_vector": [1, 2]}},
        {"knn": VECTOR | {"k": 50}},
        {"knn": VECTOR | {"field": "city"}},
        {"knn": VECTOR | {"query_vector_builder": {"text_embedding": {"model_text": "a"}}}},
        {"retriever": {"knn": VECTOR}, "_source": False},
        {"retriever": {"standard": {"query": everything, "sort": by_number}}, "size": 2},
        {"retriever": {"nonsense": {}}},
        {"query": everything, "ext": {"nonsense": {}}},
        {"query": everything, "size": 3, "from": 2, "sort": by_number},
        {"query": everything, "size": 3, "sort": by_number, "search_after": [5, "bulk-5"]},
        {"query": everything, "size": 20_000},
        {"query": {"match": {"text": "image"}}, "highlight": {"fields": {"text": {}}}, "size": 2},
        {"query": {"term": {"city": "Köln"}}, "size": 2, "explain": True},
        {"query": {"range": {"number": {"gte": 3, "lt": 6}}}, "fields": ["number"]},
        {"query": {"bool": {"must": [everything], "must_not": [{"exists": {"field": "number"}}]}}},
        {"query": {"ids": {"values": ["1", "2", "東京 ✓"]}}},
        {"query": {"nonsense": {}}},
        {"query": {"term": {"city": {"value": "Köln", "boost": "x"}}}},
        {"size": 0, "aggs": {"cities": {"terms": {"field": "city"}}}},
        {"size": 0, "aggs": {"numbers": {"histogram": {"field": "number", "interval": 10}}}},
        {"size": 0, "aggs": {"bad": {"terms": {"field": "text"}}}},
        {"query": everything, "collapse": {"field": "city"}, "sort": by_number},
        {"query": everything, "post_filter": {"term": {"city": "Rom"}}},
        {"query": everything, "min_score": 2},
        {"query": everything, "track_total_hits": 5, "size": 0},
        {"suggest": {"s": {"text": "pictur", "term": {"field": "text"}}}},
        {"unknown": 1},
        [],
        "text",
    ]
    deep = b'{"query":' + b'{"bool":{"must":' * 200 + b"{}" + b"}}" * 200 + b"}"
    search = [asking("POST", "/{i}/_search", body) for body in bodies]
    packed = gzip.compress(json.dumps(bodies[0]).encode(), mtime=0)
    knn = json.dumps(bodies[0]).encode()
    return [
        *search,
        *(Recorded("GET", r.target, r.body, r.headers) for r in search[:4]),
        Recorded("POST", "/{i}/_search", packed, JSON | {"Content-Encoding": "gzip"}),
        Recorded("POST", "/{i}/_search", b"damaged", JSON | {"Content-Encoding": "gzip"}),
        Recorded("POST", "/{i}/_search", knn, JSON, chunked=True),
        Recorded("POST", "/{i}/_search", knn, JSON | {"Accept-Encoding": "gzip"}),
        Recorded("POST", "/{i}/_search", knn, PAIR),
        Recorded("POST", "/{i}/_search", knn, {"Content-Type": VENDOR}),
        Recorded("POST", "/{i}/_search", knn, JSON | {"Accept": "application/yaml"}),
        Recorded("POST", "/{i}/_search", knn, JSON | {"Accept": "text/nonsense"}),
        Recorded("POST", "/{i}/_search", knn, JSON | {"X-Opaque-Id": "été-1"}),
        Recorded("POST", "/{i}/_search", knn),
        Recorded("POST", "/{i}/_search", deep, JSON),
        Recorded("POST", "/{i}/_search", b"", JSON),
        Recorded("POST", "/{i}/_search", '{"query": "été'.encode("utf-16"), JSON),
        Recorded("POST", "/{i}/_search", b'{"size": 1, "size": 2}', JSON),
        Recorded("POST", "/{i}/_search", b'{"size": 0} trailing', JSON),
        Recorded("POST", "/{i}/_search", b'{"s\\u0069ze": 0}', JSON),
        Recorded("POST", "/{i}/_search", b'{"query": {"term": {"city": "camsearch"}}}', JSON),
        asking("GET", "/{i}/_search?q=city:Paris&size=1&sort=number"),
        asking("GET", "/{i}/_search?q=text:%22image+number%22&size=1&pretty&human"),
        asking("GET", "/{i}/_search?filter_path=hits.total,hits.hits._id&size=2&sort=number"),
        asking("GET", "/{i}/_search?rest_total_hits_as_int=true&size=0"),
        asking("GET", "/{i}/_search?nonsense=1"),
        asking("GET", "/{i}/_search?error_trace=true&size=-5", shape_only=True),
        asking("GET", "/{i}-none/_search"),
        asking("GET", "/{i}-none/_search?ignore_unavailable=true"),
        asking("GET", "/{i}*,-{i}-x/_search?size=0"),
        asking("GET", "/{i}/_search/"),
        asking("GET", "//{i}/_search"),
        asking("GET", "/{i}//_search"),
        asking("GET", "/{i}/../{i}/_search"),
        asking("GET", "/%5Fsearch"),
        asking("GET", "/{i}%2Fx/_search"),
        asking("GET", "/%3C{i}-%7Bnow%2Fd%7D%3E/_search"),
        asking("PUT", "/{i}/_search", {}),
        asking("DELETE", "/{i}/_search"),
        asking("OPTIONS", "/{i}/_search"),
        asking("HEAD", "/{i}/_search"),
        asking("PATCH", "/{i}/_search", {}),
        Recorded("POST", "/_msearch", lines({"index": "nothing-here"}, {"size": 0}), LINES),
        Recorded("POST", "/{i}/_msearch", lines({}, {"size": 0}, {}, {"knn": VECTOR}), LINES),
        Recorded("GET", "/{i}/_msearch", lines({}, {"size": 0}, {}, {"bad": 1}), LINES),
        Recorded("POST", "/{i}/_msearch", lines({}, {"size": 0})[:-1], LINES),
        Recorded("POST", "/{i}/_msearch", b"", LINES),
    ]


def asking_otherwise():
    return [
        asking("GET", "/{i}/_count"),
        asking("POST", "/{i}/_count", {"query": {"term": {"city": "Paris"}}}),
        asking("POST", "/{i}/_mget", {"ids": ["1", "2", "none"]}),
        asking("GET", "/_mget", {"docs": [{"_index": "none", "_id": "1"}]}),
        asking("GET", "/{i}/_source/2"),
        asking("HEAD", "/{i}/_source/2"),
        asking("GET", "/{i}/_source/none"),
        asking("GET", "/{i}/_doc/2?_source_includes=city&realtime=false"),
        asking("GET", "/{i}/_doc/none"),
        asking("HEAD", "/{i}/_doc/none"),
        asking("GET", "/{i}/_explain/2", {"query": {"match_all": {}}}),
        asking("GET", "/{i}/_termvectors/2?fields=text"),
        asking("POST", "/{i}/_validate/query?explain=true", {"query": {"bad": {}}}),
        asking("GET", "/{i}/_field_caps?fields=*"),
        asking("GET", "/{i}/_search_shards", shape_only=True),
        asking("POST", "/{i}/_pit?keep_alive=1m", shape_only=True),
        asking("POST", "/{i}/_search?scroll=1m&size=1", {}, shape_only=True),
        asking("DELETE", "/_pit", {"id": "nonsense"}),
        asking("DELETE", "/_search/scroll", {"scroll_id": "nonsense"}),
        asking("GET", "/", shape_only=True),
        asking("HEAD", "/"),
        asking("GET", "/?pretty", shape_only=True),
        asking("GET", "/_cat/indices/{i}?format=json&h=index,docs.count"),
        asking("GET", "/_cat/count/{i}?h=count"),
        asking("GET", "/_cat", headers={"Accept-Encoding": "gzip"}),
        asking("GET", "/_cluster/health/{i}", shape_only=True),
        asking("GET", "/_cluster/state/metadata/{i}?filter_path=metadata.indices.*.aliases"),
        asking("GET", "/_nodes", shape_only=True),
        asking("GET", "/{i}/_stats?filter_path=_all.primaries.docs"),
        asking("GET", "/{i}/_segments", shape_only=True),
        asking("GET", "/_nonsense"),
        asking("POST", "/_nonsense", {}),
        asking("GET", "/{i}/_nonsense/a/b/c"),
        asking("GET", "/_cluster/health?timeout=nonsense"),
        asking("GET", "/_bulk"),
        asking("DELETE", "/_bulk"),
        asking("OPTIONS", "/"),
        asking("TRACE", "/"),
        asking("GET", "/" + "a" * 3000),
        asking("GET", "/" + "a" * 5000),
        asking("GET", "/{i}", headers={"X-Long": "a" * 5000}),
        asking("GET", "/{i}", headers={"X-Long": "a" * 20_000}),
        asking("GET", "/{i}", headers={"Authorization": "ApiKey bm90OmFueQ=="}),
    ]


def ending():
    return [
        asking("DELETE", "/{i}/_doc/2"),
        asking("DELETE", "/{i}/_doc/2"),
        asking("POST", "/{i}/_forcemerge?max_num_segments=1"),
        asking("POST", "/{i}/_close"),
        asking("GET", "/{i}/_search"),
        asking("POST", "/{i}/_open"),
        asking(
            "POST",
            "/_aliases",
            {"actions": [{"remove": {"index": "*", "alias": "none-at-all"}}]},
        ),
        asking("DELETE", "/{i}"),
        asking("DELETE", "/{i}"),
    ]


def recorded():
    return [*making(), *writing(), *searching(), *asking_otherwise(), *ending()]
