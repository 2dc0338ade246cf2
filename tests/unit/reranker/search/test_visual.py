"""`_search` and `_msearch` that name us: bodies, headers, errors and counts."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import orjson
import pytest

from reranker.errors import DialectError, ImageNotFound, UpstreamRefused, UpstreamUnreachable
from reranker.http.exchange import Answer, Request
from reranker.observability.metrics import OUTCOMES
from tests.support.house import JSON, answered, found_ids, said

NDJSON = ((b"content-type", b"application/x-ndjson"), (b"accept", b"application/json"))
VENDOR = b"application/vnd.elasticsearch+json;compatible-with=9"
VENDOR_LINES = b"application/vnd.elasticsearch+x-ndjson;compatible-with=9"
KNN = {"field": "descriptor", "k": 5, "num_candidates": 50}


def first(image, **said_of_body):
    builder = {"query_vector_builder": {"camsearch": {"image": image}}}
    return {"knn": KNN | builder, "size": 3} | said_of_body


def ranking(image, **said_of_body):
    return {
        "knn": KNN,
        "size": 3,
        "ext": {"camsearch": {"image": image, "rerank": {"by": "maps"}}},
    } | (said_of_body)


def asked(service, body, path="/images/_search", query="", headers=JSON):
    if not isinstance(body, bytes):
        body = orjson.dumps(body)
    answer = asyncio.run(service.visual(Request("POST", path, query, headers, body)))
    assert answer is not None
    return answer


def lines(*pairs):
    return b"".join(orjson.dumps(one) + b"\n" for pair in pairs for one in pair)


def several(service, *pairs, headers=NDJSON, query=""):
    answer = asked(service, lines(*pairs), "/images/_msearch", query, headers)
    return answer, orjson.loads(answer.body).get("responses")


def counted(service):
    value = service.metrics.registry.get_sample_value
    by_name = {n: value("camsearch_searches_total", {"outcome": n}) for n in OUTCOMES}
    return {name: value for name, value in by_name.items() if value}


class TestOne:
    def test_a_body_that_does_not_name_us_is_not_answered(self, service, upstream):
        for body in (b'{"x": "camsearch"}', b"camsearch no json", b""):
            request = Request("POST", "/images/_search", "", JSON, body)
            assert asyncio.run(service.visual(request)) is None
        assert upstream.asked == []
        assert counted(service) == {}

    def test_a_first_search_is_elasticsearchs_answer(self, service, upstream, house):
        answer = said({"its": "own"}, 200, (b"x", b"y"))
        upstream.turn = lambda request: answer if request.path.endswith("_search") else None
        assert asked(service, first(house.image(0))) is answer
        assert counted(service) == {"first_search": 1}

    def test_the_answer_is_cut_and_written_as_asked(self, service, house):
        query = "filter_path=hits.hits._id&pretty"
        answer = asked(service, ranking(house.image(0)), query=query)
        body = orjson.loads(answer.body)
        assert set(body) == {"hits"}
        assert all(set(hit) == {"_id"} for hit in body["hits"]["hits"])
        assert answer.body.startswith(b"{\n  ")
        assert answer.body.endswith(b"\n")

    def test_its_headers_are_elasticsearchs(self, service, house):
        headers = (
            (b"content-type", VENDOR),
            (b"accept", VENDOR),
            (b"x-opaque-id", b"mine"),
        )
        answer = asked(service, ranking(house.image(0)), headers=headers)
        assert dict(answer.headers) == {
            b"x-elastic-product": b"Elasticsearch",
            b"content-type": VENDOR,
            b"x-opaque-id": b"mine",
        }

    def test_a_warning_comes_with_those_of_elasticsearch(self, house, upstream):
        def turn(request):
            if not request.path.endswith("_search"):
                return None
            return lambda found: replace(
                found, headers=(*found.headers, (b"warning", b"299 theirs"))
            )

        upstream.turn = turn
        with house.service(upstream, features=None) as service:
            answer = asked(service, ranking(house.image(0)))
            assert counted(service) == {"warned": 1}
        theirs, ours = [value for name, value in answer.headers if name == b"warning"]
        assert theirs == b"299 theirs"
        assert ours.startswith(b'299 Elasticsearch-9.0.0-unknown "5 of 5 hits keep')

    @pytest.mark.parametrize(
        ("body", "kind"),
        [
            (lambda house: ranking(house.image(0), sort=["width"]), DialectError),
            (lambda house: ranking({"id": "99"}), ImageNotFound),
            (lambda house: first(house.image(0), ext={"camsearch": {}}), DialectError),
        ],
    )
    def test_errors_travel_and_are_counted(self, service, house, body, kind):
        with pytest.raises(kind):
            asked(service, body(house))
        assert counted(service) == {"refused": 1}

    def test_what_elasticsearch_refuses_is_answered_and_counted(self, service, upstream, house):
        answer = said({"error": "no"}, 400)
        upstream.turn = lambda request: answer if request.path.endswith("_search") else None
        assert asked(service, ranking(house.image(0))) is answer
        assert counted(service) == {"refused": 1}

    @pytest.mark.parametrize(
        ("path", "mapping"),
        [
            ("/images/_search", "/images/_mapping"),
            ("/_search", "/_mapping"),
            ("/im*,-x/_search/", "/im*,-x/_mapping"),
            ("/%3Cim%2Fx%3E,b/_search", "/%3Cim%2Fx%3E,b/_mapping"),
        ],
    )
    def test_the_index_of_the_path(self, service, upstream, house, path, mapping):
        upstream.turn = lambda request: said({}, 404)
        with pytest.raises(UpstreamRefused):
            asked(service, first(house.image(0)), path)
        assert [one.path for one in upstream.asked] == [mapping]


class TestMedia:
    @pytest.mark.parametrize("accept", [b"application/yaml", b"text/html"])
    def test_what_is_not_json_is_refused(self, service, house, accept):
        headers = (JSON[0], (b"accept", accept))
        with pytest.raises(DialectError, match="accept application/json"):
            asked(service, ranking(house.image(0)), headers=headers)
        with pytest.raises(DialectError, match="accept application/json"):
            several(service, ({}, ranking(house.image(0))), headers=headers)

    @pytest.mark.parametrize(
        "accept",
        [None, b"*/*", b"text/html, Application/JSON;q=0.5"],
    )
    def test_json_is_answered(self, service, house, accept):
        headers = (JSON[0], *(() if accept is None else ((b"accept", accept),)))
        assert asked(service, ranking(house.image(0)), headers=headers).status == 200


class TestSeveral:
    def test_each_is_answered_in_its_place(self, service, upstream, house):
        answer, responses = several(
            service,
            ({}, {"query": {"ids": {"values": ["03"]}}}),
            ({}, ranking(house.image(1))),
            ({"index": "nowhere"}, {"query": {"match_all": {}}}),
            ({}, ranking({"id": "99"})),
            ({}, first(house.image(2))),
            ({}, ranking(house.image(1), sort=["width"])),
            ({}, {"query": {"ids": {"values": ["04"]}}}),
            ({"index": "nowhere"}, ranking(house.image(1))),
        )
        assert answer.status == 200
        assert [one["status"] for one in responses] == [200, 200, 404, 404, 200, 400, 200, 404]
        assert found_ids(responses[0]) == ["03"]
        assert responses[1]["hits"] == answered(service, ranking(house.image(1)))[0]["hits"]
        assert responses[2]["error"]["type"] == "index_not_found_exception"
        assert responses[3]["error"]["type"] == "resource_not_found_exception"
        assert found_ids(responses[4])[0] == "02"
        assert "sort" in responses[5]["error"]["reason"]
        assert found_ids(responses[6]) == ["04"]
        assert responses[7]["error"]["type"] == "index_not_found_exception"
        assert counted(service) == {"ranked": 2, "first_search": 1, "refused": 3}

    def test_those_that_do_not_name_us_are_asked_together_as_they_came(
        self, service, upstream, house
    ):
        body = b'{ "index" : "images"}\n{"size":  1}\n'
        body += lines(({}, ranking(house.image(1)))) + b'{}\n{"size":2 }\n'
        asked(service, body, "/images/_msearch", "pretty&routing=a", NDJSON)
        (sent,) = [one for one in upstream.asked if one.path.endswith("_msearch")]
        assert sent.body == b'{ "index" : "images"}\n{"size":  1}\n{}\n{"size":2 }\n'
        assert (sent.query, sent.headers) == ("routing=a", NDJSON)

    def test_ours_alone_ask_for_no_msearch(self, service, upstream, house):
        _, responses = several(service, ({}, ranking(house.image(1))))
        assert len(found_ids(responses[0])) == 3
        assert not [one for one in upstream.asked if one.path.endswith("_msearch")]

    @pytest.mark.parametrize(
        ("lines_type", "json_type"),
        [(b"application/x-ndjson", b"application/json"), (VENDOR_LINES, VENDOR), (VENDOR, VENDOR)],
    )
    def test_each_of_ours_is_asked_for_as_json(
        self, service, upstream, house, lines_type, json_type
    ):
        headers = ((b"content-type", lines_type), (b"accept", json_type), (b"x-opaque-id", b"me"))
        answer, _ = several(
            service, ({"routing": "a"}, ranking(house.image(1))), ({}, {}), headers=headers
        )
        of_ours = [one for one in upstream.asked if not one.path.endswith("_msearch")]
        assert {dict(one.headers)[b"content-type"] for one in of_ours} == {json_type}
        queries = {one.query for one in of_ours if one.path.endswith("_search")}
        assert all(query.startswith("routing=a&preference=") for query in queries)
        # As Elasticsearch answers such a caller.
        told = dict(answer.headers)
        assert (told[b"content-type"], told[b"x-opaque-id"]) == (json_type, b"me")

    def test_a_request_that_elasticsearch_refuses_as_a_whole(self, service, upstream, house):
        answer = said({"error": "all of it", "status": 400}, 400)
        upstream.turn = lambda request: answer if request.path.endswith("_msearch") else None
        found, _ = several(service, ({}, ranking(house.image(1))), ({}, {"size": 1}))
        assert found is answer

    def test_an_elasticsearch_that_is_away(self, service, upstream, house):
        upstream.turn = lambda request: (
            UpstreamUnreachable("Gone.") if request.path.endswith("_msearch") else None
        )
        with pytest.raises(UpstreamUnreachable):
            several(service, ({}, ranking(house.image(1))), ({}, {"size": 1}))

    def test_an_elasticsearch_that_is_away_for_one_of_ours(self, service, upstream, house):
        upstream.turn = lambda request: (
            UpstreamUnreachable("Gone.") if request.path.endswith("_mapping") else None
        )
        _, (ours, theirs) = several(service, ({}, ranking(house.image(1))), ({}, {"size": 1}))
        assert (ours["status"], ours["error"]["reason"]) == (503, "Gone.")
        assert theirs["status"] == 200

    @pytest.mark.parametrize("path", ["_search", "_mapping"])
    def test_an_html_error_of_a_gateway_fails_its_search_only(self, service, upstream, house, path):
        html = Answer(502, ((b"content-type", b"text/html"),), b"<h1>Bad \xff gateway</h1>")
        upstream.turn = lambda request: html if request.path.endswith(path) else None
        answer, (ours, theirs) = several(service, ({}, ranking(house.image(1))), ({}, {"size": 1}))
        assert (ours["status"], theirs["status"]) == (502, 200)
        assert "gateway" in ours["error"]["reason"]
        assert dict(answer.headers)[b"content-type"] == b"application/json"

    def test_only_errors_are_json_too(self, service, house):
        answer, (one,) = several(service, ({}, ranking({"id": "99"})))
        assert one["status"] == 404
        assert answer.headers == ((b"content-type", b"application/json"),)

    def test_a_warning_is_said_once(self, house, upstream):
        with house.service(upstream, features=None) as service:
            answer, _ = several(service, *[({}, ranking(house.image(1)))] * 3, ({}, {"size": 1}))
        (warning,) = [value for name, value in answer.headers if name == b"warning"]
        assert b"5 of 5 hits keep" in warning

    def test_warnings_of_elasticsearch_are_passed_on_from_each(self, service, upstream, house):
        def turn(request):
            mark = (b"warning", b"299 " + request.path.encode())
            both = (b"warning", b"299 both")
            return lambda found: replace(found, headers=(*found.headers, mark, both))

        upstream.turn = turn
        answer, _ = several(service, ({}, ranking(house.image(1))), ({}, {"size": 1}))
        warnings = [value for name, value in answer.headers if name == b"warning"]
        assert warnings == [b"299 /images/_search", b"299 both", b"299 /images/_msearch"]
