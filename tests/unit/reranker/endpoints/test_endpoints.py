"""Our own endpoints, asked through the whole proxy."""

from __future__ import annotations

import asyncio
import re
from io import BytesIO
from pathlib import Path

import orjson
import pytest
from PIL import Image

from reranker.app import make_app
from reranker.endpoints import pages
from reranker.errors import ImageNotFound, UpstreamUnreachable
from reranker.http.exchange import Answer
from reranker.search.readiness import Readiness
from tests.support.clock import HANG_S, move_clock, run_with_clock
from tests.support.images import encoded, shapes
from tests.support.tiny_service import (
    ask,
    image_text,
    re_ranked,
    tiny_service,
)

JSON = ((b"content-type", b"application/json"),)
READY, METRICS, EXPLAIN = (f"/_camsearch/{name}" for name in ("health/ready", "metrics", "explain"))


@pytest.fixture(scope="module")
def shared(folder):
    with tiny_service(folder) as made:
        yield made


@pytest.fixture
def service(shared):
    upstream = shared.upstream
    upstream.asked.clear()
    upstream.instead.clear()
    upstream.slow_s = 0
    fingerprint, features = shared.method.fingerprint(), shared.matcher.features
    shared.readiness = Readiness(upstream.ask, shared.index, fingerprint, features)
    return shared


def samples(service):
    text = ask(service, "GET", METRICS).text
    return {
        name: float(value)
        for name, value in re.findall(r"^(\w+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
    }


def test_it_is_ready_and_says_with_what(service):
    answer = ask(service, "GET", READY)
    method = service.method
    said = answer.json()
    assert (answer.status_code, said["status"]) == (200, "ready")
    assert said["fingerprint"] == method.fingerprint()
    assert said["weights"] == method.encoder.loaded.weights_digest
    assert said["whitening"] == method.whitening.digest()
    assert {one["name"]: one["passed"] for one in said["checks"]} == {"index": True, "maps": True}


def mapping(fingerprint):
    about = {"images-1": {"mappings": {"_meta": {"camsearch": {"fingerprint": fingerprint}}}}}
    return Answer(200, JSON, orjson.dumps(about))


@pytest.mark.parametrize(
    ("instead", "failed", "words"),
    [
        (mapping("f" * 64), "index", "another method"),
        (Answer(200, JSON, b"{}"), "index", "not made by camsearch"),
        (Answer(404, JSON, b"{}"), "index", "no index [images]"),
        (Answer(503, JSON, b"{}"), "elasticsearch", "status 503"),
        (Answer(200, JSON, b"<html>"), "elasticsearch", "not an Elasticsearch"),
        (UpstreamUnreachable("It is away."), "elasticsearch", "It is away."),
    ],
)
def test_it_is_not_ready_and_says_why(service, instead, failed, words):
    service.upstream.instead["_mapping"] = instead
    answer = ask(service, "GET", READY)
    assert (answer.status_code, answer.json()["status"]) == (503, "not ready")
    [found] = [one for one in answer.json()["checks"] if not one["passed"]]
    assert found["name"] == failed
    assert words in found["said"]


@pytest.mark.parametrize("status", [401, 403])
def test_an_index_that_requires_authentication_is_ready(service, status):
    service.upstream.instead["_mapping"] = Answer(status, JSON, b"{}")
    answer = ask(service, "GET", READY, headers={"authorization": "ApiKey x"})
    assert answer.status_code == 200
    assert "requires authentication" in answer.json()["checks"][0]["said"]
    [asked] = service.upstream.asked
    assert b"authorization" not in dict(asked.headers)


def test_readiness_waits_no_longer_than_two_seconds(service):
    upstream = service.upstream
    upstream.slow_s = HANG_S

    async def test():
        checks = asyncio.create_task(service.readiness.checks())
        while not upstream.asked:  # noqa: ASYNC110 - it is told to nobody
            await asyncio.sleep(0)
        move_clock(2)
        async with asyncio.timeout(HANG_S / 2):
            return await checks

    found = {one.name: one for one in run_with_clock(test())}
    assert not found["elasticsearch"].passed
    assert "does not answer within 2 s" in found["elasticsearch"].said


def test_many_probes_are_one_question(service):
    for _ in range(5):
        ask(service, "GET", READY)
    assert len(service.upstream.asked) == 1


def test_kept_maps_that_are_away_are_noticed(folder, monkeypatch):
    with tiny_service(folder) as service:
        monkeypatch.setattr(type(service.matcher.features), "is_reachable", lambda _: False)
        answer = ask(service, "GET", READY)
    assert answer.status_code == 503
    assert "mount it again" in answer.text


def test_metrics_count_searches_stages_windows_and_what_is_passed_through(folder):
    with tiny_service(folder) as service:
        before = samples(service)
        assert before['camsearch_searches_total{outcome="ranked"}'] == 0
        body = re_ranked({"data": image_text(folder)})
        assert ask(service, "POST", "/images/_search", json=body).status_code == 200
        bad = ask(service, "POST", "/images/_search", json=re_ranked({"data": "!"}))
        assert bad.status_code == 400
        assert ask(service, "GET", "/images/_count").status_code == 200
        assert ask(service, "GET", "/others/_count").status_code == 404
        after = samples(service)
    assert after['camsearch_searches_total{outcome="ranked"}'] == 1
    assert after['camsearch_searches_total{outcome="refused"}'] == 1
    assert after['camsearch_forwarded_requests_total{status="2xx"}'] == 1
    assert after['camsearch_forwarded_requests_total{status="4xx"}'] == 1
    assert after["camsearch_window_hits_count"] == 1
    assert after["camsearch_window_hits_sum"] == 6
    for stage in ("contract", "describe", "first_search", "rerank", "render"):
        assert after[f'camsearch_stage_seconds_count{{stage="{stage}"}}'] == 1
    assert after['camsearch_waiting{stage="describe"}'] == 0
    assert after["process_resident_memory_bytes"] > 0
    fingerprint = service.method.fingerprint()[:16]
    assert after[f'camsearch_method_info{{fingerprint="{fingerprint}"}}'] == 1


def test_metrics_count_what_is_explained(folder):
    body = {"index": "images", "id": "1/a.png", "image": {"data": image_text(folder)}}
    with tiny_service(folder, serve_rate="3/minute") as service:
        assert samples(service)['camsearch_explains_total{outcome="explained"}'] == 0
        assert ask(service, "POST", EXPLAIN, json=body).status_code == 200
        assert ask(service, "POST", EXPLAIN, json={}).status_code == 400
        late = [ask(service, "POST", EXPLAIN, json={}).status_code for _ in range(5)]
        assert 429 in late
        after = samples(service)
    assert after['camsearch_explains_total{outcome="explained"}'] == 1
    assert after['camsearch_explains_total{outcome="overloaded"}'] == late.count(429)
    assert after['camsearch_explains_total{outcome="refused"}'] == 1 + late.count(400)


def test_metrics_are_prometheus_text(service):
    answer = ask(service, "GET", METRICS)
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("name", ["2/a.png", "2%2Fa.png"])
def test_a_thumbnail_is_a_small_jpeg(service, name):
    answer = ask(service, "GET", f"/_camsearch/thumbnails/{name}?size=48")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "image/jpeg")
    assert "private" in answer.headers["cache-control"]
    assert answer.headers["vary"] == "authorization"
    shown = Image.open(BytesIO(answer.content))
    assert (shown.format, shown.size) == ("JPEG", (48, 32))


def test_a_thumbnail_that_is_known_is_not_sent_again(service):
    path = "/_camsearch/thumbnails/2/a.png"
    tag = ask(service, "GET", path).headers["etag"]
    again = ask(service, "GET", path, headers={"if-none-match": tag})
    assert (again.status_code, again.content) == (304, b"")
    other = ask(service, "GET", path + "?size=64", headers={"if-none-match": tag})
    assert other.status_code == 200


def test_a_thumbnail_is_looked_up_with_the_callers_rights(service):
    said = Answer(401, (*JSON, (b"www-authenticate", b"ApiKey")), b'{"status":401}')
    service.upstream.instead["_search"] = said
    path = "/_camsearch/thumbnails/2/a.png"
    answer = ask(service, "GET", path, headers={"authorization": "ApiKey me"})
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "ApiKey")
    [asked] = service.upstream.asked
    assert (b"authorization", b"ApiKey me") in asked.headers


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("9/a.png", 404),
        ("2/a.png?index=others", 404),
        ("2/a.png?size=5", 400),
        ("2/a.png?size=x", 400),
        ("2/a.png?index=_nodes", 400),
    ],
)
def test_what_has_no_thumbnail_is_refused_in_shape(service, path, status):
    answer = ask(service, "GET", f"/_camsearch/thumbnails/{path}")
    assert (answer.status_code, answer.json()["status"]) == (status, status)


def test_an_address_that_cannot_be_read_is_not_told(folder):
    def gone(uri):
        raise ImageNotFound(f"{uri} is a secret place.")

    for read, status in ((gone, 404), (None, 400)):
        with tiny_service(folder, parts={"read": read}) as service:
            answer = ask(service, "GET", "/_camsearch/thumbnails/2/a.png")
        assert answer.status_code == status
        assert "secret" not in answer.text


def test_an_image_is_shown_only_if_it_is_the_one_that_was_indexed(folder):
    """A document may name any address; its digest shows that its writer has had the bytes."""
    other = encoded(shapes(96, 64, seed=99))
    with tiny_service(folder, parts={"read": lambda uri: other}) as service:
        answer = ask(service, "GET", "/_camsearch/thumbnails/2/a.png")
        body = {"index": "images", "id": "1/a.png", "image": {"data": image_text(folder)}}
        bare = ask(service, "POST", EXPLAIN, json=body, headers={"accept": "image/png"})
    assert answer.status_code == 404
    assert "not changed" in answer.json()["error"]["reason"]
    assert Image.open(BytesIO(bare.content)).mode == "RGBA"  # a heat map that lies on nothing


def test_the_page_names_the_index_and_loads_nothing_from_elsewhere(service):
    answer = ask(service, "GET", "/_camsearch/")
    assert answer.status_code == 200
    assert 'data-index="images"' in answer.text
    assert ">6</b> images" in answer.text
    said = answer.headers["content-security-policy"]
    [nonce] = set(re.findall(r'nonce="([^"]+)"', answer.text))
    assert "default-src 'none'" in said
    assert f"script-src 'nonce-{nonce}';" in said
    assert not re.findall(r"""(?:src|href)=["'](?!/_camsearch/|data:,)""", answer.text)


def test_the_page_escapes_what_it_is_told(folder):
    with tiny_service(folder, parts={"index": "<i>'\"</script>"}) as service:
        text = ask(service, "GET", "/_camsearch/").text
    assert "<i>" not in text
    assert text.count("</script>") == 1
    assert "requires authentication" in text


def test_a_host_of_the_callers_choice_is_not_on_the_page(service):
    assert (
        "x.example" not in ask(service, "GET", "/_camsearch/", headers={"host": "x.example"}).text
    )


PAGE = Path(pages.__file__).with_name("page")


@pytest.mark.parametrize("file", sorted(PAGE.iterdir()), ids=lambda one: one.name)
def test_a_file_of_the_page_is_served_until_it_changes(service, file):
    path = f"/_camsearch/page/{file.name}"
    answer = ask(service, "GET", path)
    kind = {".js": "text/javascript", ".css": "text/css"}[file.suffix]
    assert answer.headers["content-type"].startswith(kind)
    assert answer.content == file.read_bytes()
    again = ask(service, "GET", path, headers={"if-none-match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_the_page_is_small_and_writes_no_markup():
    written = {file.name: file.read_text() for file in PAGE.iterdir()}
    assert sum(map(len, written.values())) < 150_000
    for name, text in written.items():
        assert not re.findall(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(", text), (
            name
        )


@pytest.mark.parametrize("name", ["none.js", "..%2Fpages.py", "%2e%2e/pages.py", "__init__.py"])
def test_no_other_file_is_served(service, name):
    assert ask(service, "GET", f"/_camsearch/page/{name}").status_code == 404


def test_the_list_of_endpoints_is_that_of_openapi(service):
    paths = ask(service, "GET", "/_camsearch/openapi.json").json()["paths"]
    assert set(paths) == {
        "/_camsearch/explain",
        "/_camsearch/health/live",
        "/_camsearch/health/ready",
        "/_camsearch/metrics",
        "/_camsearch/rank",
        "/_camsearch/thumbnails/{image_id}",
        "/_camsearch/vector",
    }
    shown = ask(service, "GET", "/_camsearch/docs").text
    assert all(path in shown for path in paths)
    assert "http" not in re.sub(r"<meta[^>]*>", "", shown).replace("http-equiv", "")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/_camsearch/x", 404), ("GET", "/_camsearch", 404), ("PUT", EXPLAIN, 405)],
)
def test_what_is_no_endpoint_is_refused_in_shape(service, method, path, status):
    answer = ask(service, method, path)
    assert (answer.status_code, answer.json()["status"]) == (status, status)
    assert answer.headers["x-elastic-product"] == "Elasticsearch"


def test_a_fault_of_ours_is_a_500_in_shape_that_tells_nothing(service, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("a secret")

    monkeypatch.setattr(service.files, "find", broken)
    answer = ask(service, "GET", "/_camsearch/thumbnails/2/a.png")
    assert (answer.status_code, answer.json()["status"]) == (500, 500)
    assert "secret" not in answer.text
    assert "a secret" in caplog.text


def test_a_caller_who_searches_too_often_is_told_to_wait(folder):
    body = re_ranked({"id": "1/a.png"})
    with tiny_service(folder, serve_rate="2/minute") as service:
        for _ in range(2):
            assert ask(service, "POST", "/images/_search", json=body).status_code == 200
        refused = ask(service, "POST", "/images/_search", json=body)
        assert (refused.status_code, refused.json()["status"]) == (429, 429)
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        explained = ask(
            service, "POST", EXPLAIN, json={"id": "1/a.png", "image": {"id": "2/a.png"}}
        )
        assert explained.status_code == 429
        # Others, and what is passed through, are not held back.
        other = {"authorization": "ApiKey b"}
        assert ask(service, "POST", "/images/_search", json=body, headers=other).status_code == 200
        plain = ask(service, "POST", "/images/_search", json={"query": {"match_all": {}}})
        assert plain.status_code == 200
        several = b"{}\n" + orjson.dumps(body) + b"\n{}\n" + orjson.dumps(body) + b"\n"
        kind = {"content-type": "application/x-ndjson", "authorization": "ApiKey c"}
        for expected in ([200, 200], [429, 429]):
            answer = ask(service, "POST", "/images/_msearch", content=several, headers=kind)
            assert [one["status"] for one in answer.json()["responses"]] == expected
        assert samples(service)['camsearch_searches_total{outcome="overloaded"}'] == 3


FOREIGN = {"origin": "https://shop.example"}
PREFLIGHT = FOREIGN | {
    "access-control-request-method": "POST",
    "access-control-request-headers": "content-type,authorization",
}


def test_pages_of_other_origins_may_not_call_us(service):
    answer = ask(service, "GET", "/_camsearch/health/live", headers=FOREIGN)
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_pages_of_listed_origins_may_call_searches_and_endpoints(folder):
    with tiny_service(folder, serve_cors="https://shop.example, https://b.example") as service:
        app = make_app(service)
        asked = ask(app, "OPTIONS", "/images/_search", headers=PREFLIGHT)
        assert asked.status_code == 200
        assert asked.headers["access-control-allow-origin"] == FOREIGN["origin"]
        for path in ("/_camsearch/health/live", "/images/_count"):
            answer = ask(app, "GET", path, headers=FOREIGN)
            assert answer.headers["access-control-allow-origin"] == FOREIGN["origin"]
            other = ask(app, "GET", path, headers={"origin": "https://evil.example"})
            assert "access-control-allow-origin" not in other.headers
            assert "access-control-allow-credentials" not in answer.headers
