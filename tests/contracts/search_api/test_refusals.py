"""What both refuse, with one status and type."""

from __future__ import annotations

import pytest

from tests.contracts.search_api.conftest import X, knn


def of_two(accept: str, content: str) -> dict[str, str]:
    vendor = "application/vnd.elasticsearch+json; compatible-with="
    kinds = {"8": f"{vendor}8", "9": f"{vendor}9", "7": f"{vendor}7"}
    return {"accept": kinds.get(accept, accept), "content-type": kinds.get(content, content)}


PLAIN = "application/json"


@pytest.mark.parametrize(
    ("accept", "content", "status"),
    [
        ("8", "8", 200),
        ("9", "9", 200),
        (PLAIN, PLAIN, 200),
        (PLAIN, "application/json;charset=UTF-8", 200),
        ("9", "8", 400),
        ("9", PLAIN, 400),
        (PLAIN, "9", 400),
        ("7", "7", 400),
        (PLAIN, "text/plain", 406),
        (PLAIN, "", 406),
    ],
)
def test_content_types_come_in_pairs(ask, accept, content, status):
    headers = {key: value for key, value in of_two(accept, content).items() if value}
    answer = ask("POST", "/{index}/_search", {"size": 0}, headers)
    assert answer[0] == status
    if status == 400:
        assert answer[1]["error"]["type"] == "media_type_header_exception"


# Where it stands decides which of its parsers Elasticsearch lets complain.
ANY_OF_BOOST = "illegal_argument_exception parsing_exception x_content_parse_exception"
REFUSED = {
    "dimensions": ({"knn": knn(query_vector=[1, 0, 0])}, "query_shard_exception"),
    "no dimensions": ({"knn": knn(query_vector=[])}, "query_shard_exception"),
    "length": ({"knn": knn(query_vector=[1, 1, 0, 0])}, "query_shard_exception"),
    "almost a unit": ({"knn": knn(query_vector=[1.0008, 0, 0, 0])}, "query_shard_exception"),
    "zero": ({"knn": knn(query_vector=[0, 0, 0, 0])}, "query_shard_exception"),
    "no vector": ({"knn": {"field": "descriptor"}}, "illegal_argument_exception"),
    "text in vector": ({"knn": knn(query_vector=["a"])}, "x_content_parse_exception"),
    "no field": ({"knn": {"query_vector": X}}, "illegal_argument_exception"),
    "k 0": ({"knn": knn(k=0)}, "illegal_argument_exception"),
    "few candidates": ({"knn": knn(k=5, num_candidates=3)}, "illegal_argument_exception"),
    "candidates": ({"knn": knn(num_candidates=10_001)}, "illegal_argument_exception"),
    "k": ({"knn": knn(k=10_001)}, "illegal_argument_exception"),
    "retriever's k": (
        {"retriever": {"knn": {"field": "descriptor", "query_vector": X}}},
        "illegal_argument_exception",
    ),
    "retriever and query": (
        {"retriever": {"standard": {}}, "query": {"match_all": {}}},
        "action_request_validation_exception",
    ),
    "window": ({"size": 10_001}, "illegal_argument_exception"),
    "negative size": ({"size": -1}, "illegal_argument_exception"),
    "negative from": ({"from": -1}, "illegal_argument_exception"),
    "size": ({"size": "x"}, "number_format_exception"),
    "min_score": ({"min_score": "x"}, "number_format_exception"),
    "track_total_hits": ({"track_total_hits": -5}, "illegal_argument_exception"),
    "timeout": ({"timeout": "3x"}, "illegal_argument_exception"),
    "boost": ({"query": {"match_all": {"boost": -1}}}, ANY_OF_BOOST),
    "knn's boost": ({"query": {"knn": knn(boost=-1)}}, ANY_OF_BOOST),
    "null": ({"size": None}, "parsing_exception"),
    "source": ({"_source": 1}, "parsing_exception"),
    "source key": ({"_source": {"foo": 1}}, "parsing_exception"),
    "fields": ({"fields": "width"}, "parsing_exception"),
    "field key": ({"fields": [{"foo": 1}]}, "parsing_exception x_content_parse_exception"),
    "list": ([], "parsing_exception"),
    "query list": ({"query": []}, "parsing_exception"),
    "no query": ({"query": {}}, "illegal_argument_exception"),
    "no json": (b"{} x", "x_content_parse_exception"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_read_is_refused_with_400(ask, case):
    body, kinds = REFUSED[case]
    status, answer = ask("POST", "/{index}/_search", body)
    assert (status, answer["status"]) == (400, 400)
    cause = answer["error"]["root_cause"][0]
    assert cause["type"] in kinds.split()
    assert cause["reason"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "kind"),
    [
        ("POST", "/nothing/_search", {}, 404, "index_not_found_exception"),
        ("GET", "/{index},nothing/_count", None, 404, "index_not_found_exception"),
        ("GET", "/nothing/_doc/a", None, 404, "index_not_found_exception"),
        ("GET", "/nothing*/_doc/a", None, 404, "index_not_found_exception"),
        ("GET", "/nothing/_mapping", None, 404, "index_not_found_exception"),
        ("POST", "/_mget", {"docs": [{"_id": "b"}]}, 400, "action_request_validation_exception"),
        ("POST", "/{index}/_mget", {"ids": []}, 400, "action_request_validation_exception"),
        ("POST", "/{index}/_mget", {"docs": [{}]}, 400, "action_request_validation_exception"),
        ("POST", "/{index}/_mget", {"foo": []}, 400, "parsing_exception"),
        ("POST", "/{index}/_mget", {"docs": [{"_id": "a", "x": 1}]}, 400, "parse_exception"),
        ("POST", "/{index}/_mget", None, 400, "parse_exception"),
        ("POST", "/{index}/_count", {"size": 1}, 400, "parsing_exception"),
        ("GET", "/{index}/_msearch", None, 400, "parse_exception"),
        ("POST", "/{index}/_msearch", b"{}\n{}", 400, "illegal_argument_exception"),
        ("POST", "/{index}/_msearch", b'{"x":1}\n{}\n', 400, "illegal_argument_exception"),
        ("DELETE", "/{index}/_search", None, 405, None),
        ("HEAD", "/{index}/_search", None, 405, None),
        ("POST", "/", None, 405, None),
        ("PATCH", "/{index}/_doc/a", None, 405, None),
    ],
)
def test_errors_have_their_status_and_type(ask, method, path, body, status, kind):
    answer = ask(method, path, body)
    assert answer[0] == status
    if method != "HEAD":
        assert answer[1]["status"] == status
        error = answer[1]["error"]
        assert (error if kind is None else error["type"]) == (kind or error)
