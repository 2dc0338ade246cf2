"""What is written of searches, and what never is."""

from __future__ import annotations

import asyncio
import io
import json
import logging

import pytest

from reranker.errors import UpstreamUnreachable
from reranker.http.exchange import Answer, Request
from reranker.observability.logs import configure_logs
from reranker.observability.observed import NOTE, ObservedVisual, request_id_of
from reranker.observability.tracing import Tracing
from tests.support.tiny_service import ask, image_text, re_ranked, tiny_service

SECRET = "ApiKey c2VjcmV0"  # noqa: S105


@pytest.fixture
def written(monkeypatch):
    """The lines, parsed; all loggers as they were afterwards."""
    root, stream = logging.getLogger(), io.StringIO()
    handlers, level = root.handlers[:], root.level
    configure_logs(stream)
    monkeypatch.setattr(logging.getLogger("httpx"), "disabled", True)  # the tests' own client
    yield lambda: [json.loads(line) for line in stream.getvalue().splitlines()]
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"x-request-id", b"a-1")], "a-1"),
        ([(b"x-opaque-id", b"kibana:b/2")], "kibana:b/2"),
        ([(b"x-opaque-id", b"b"), (b"x-request-id", b"a")], "a"),
        ([(b"x-request-id", b"a b"), (b"x-opaque-id", b"c")], "c"),
    ],
)
def test_the_request_id_is_the_callers(headers, expected):
    assert request_id_of(tuple(headers)) == expected


@pytest.mark.parametrize("mark", [b"", b"a\x1b[2J", b"x" * 129, "ä".encode(), b'"'])
def test_an_odd_request_id_is_replaced(mark):
    made = request_id_of(((b"x-request-id", mark),))
    assert len(made) == 16
    assert made != request_id_of(())


def test_a_search_is_one_line_with_its_stages(folder, written):
    body = re_ranked({"data": image_text(folder)})
    headers = {"x-opaque-id": "me-1", "authorization": SECRET}
    with tiny_service(folder) as service:
        answer = ask(service, "POST", "/images/_search?pretty", json=body, headers=headers)
        ask(service, "GET", "/images/_count", headers=headers)
    assert answer.headers["x-request-id"] == "me-1"
    assert answer.headers.get_list("x-opaque-id") == ["me-1"]
    [line] = written()
    assert line["request_id"] == "me-1"
    assert (line["outcome"], line["status"], line["index"]) == ("ranked", 200, "images")
    assert (line["endpoint"], line["window"], line["level"]) == ("_search", 6, "info")
    assert set(line["stages_ms"]) == {"contract", "describe", "first_search", "rerank", "render"}
    assert 0 < sum(line["stages_ms"].values()) <= line["took_ms"] + 1
    assert "T" in line["timestamp"]
    told = json.dumps(line)
    assert "c2VjcmV0" not in told
    assert image_text(folder)[:40] not in told


def test_several_searches_are_one_line_that_counts_them(folder, written):
    lines = [{}, re_ranked({"id": "1/a.png"}), {}, re_ranked({"id": "nobody"})]
    content = "".join(json.dumps(line) + "\n" for line in lines)
    kind = {"content-type": "application/x-ndjson"}
    with tiny_service(folder) as service:
        ask(service, "POST", "/images/_msearch", content=content, headers=kind)
    [line] = written()
    assert line["outcome"] == "several"
    assert line["outcomes"] == {"ranked": 1, "refused": 1}


def test_a_refused_search_is_marked_and_its_words_are_not_logged(folder, written):
    with tiny_service(folder) as service:
        body = re_ranked({"data": "a secret thing"})
        headers = {"x-request-id": "r", "x-opaque-id": "o"}
        answer = ask(service, "POST", "/images/_search", json=body, headers=headers)
    assert (answer.headers["x-request-id"], answer.headers["x-opaque-id"]) == ("r", "o")
    [line] = written()
    assert (line["outcome"], line["status"], line["error"]) == ("refused", 400, "DialectError")
    assert "secret" not in json.dumps(line)


def test_an_unreachable_elasticsearch_is_logged_with_its_reason(folder, written):
    with tiny_service(folder) as service:
        service.upstream.instead["images"] = UpstreamUnreachable("It is away.")
        body = re_ranked({"id": "1/a.png"})
        assert ask(service, "POST", "/images/_search", json=body).status_code == 503
    [line] = written()
    assert (line["status"], line["reason"]) == (503, "It is away.")


def test_an_explained_hit_is_a_line_and_a_probe_is_none(folder, written):
    with tiny_service(folder) as service:
        body = {"id": "1/a.png", "image": {"id": "2/a.png"}}
        ask(service, "POST", "/_camsearch/explain", json=body)
        ask(service, "GET", "/_camsearch/health/live")
        ask(service, "POST", "/_camsearch/explain", json={})
    assert [(one["endpoint"], one["outcome"], one["status"]) for one in written()] == [
        ("explain", "explained", 200),
        ("explain", "refused", 400),
    ]


def test_what_is_passed_through_is_logged_if_wanted_without_its_query(folder, written):
    with tiny_service(folder, serve_log_requests=True) as service:
        ask(service, "GET", "/images/_search?q=secret", headers={"authorization": SECRET})
    [line] = [one for one in written() if one["event"] == "passed through"]
    assert (line["method"], line["path"], line["status"]) == ("GET", "/images/_search", 501)
    assert "ecret" not in json.dumps(line)
    assert "c2Vj" not in json.dumps(line)


def observed(visual, headers=()):
    request = Request("POST", "/images/_search", headers=tuple(headers))
    return asyncio.run(ObservedVisual(visual, Tracing())(request))


def test_a_fault_is_a_500_with_its_id_and_a_traceback_without_variables(written):
    async def broken(request):
        password = "hunter2"  # noqa: S105
        raise RuntimeError(f"no {len(password)}")

    answer = observed(broken, [(b"x-request-id", b"r7")])
    assert (answer.status, dict(answer.headers)[b"x-request-id"]) == (500, b"r7")
    fault, line = written()
    assert (fault["level"], fault["request_id"]) == ("error", "r7")
    assert "RuntimeError: no 7" in fault["exception"]
    assert "hunter2" not in json.dumps([one for one in fault.values() if "raise" not in str(one)])
    assert (line["outcome"], line["status"]) == ("failed", 500)


def test_what_does_not_name_us_after_all_is_no_line(written):
    async def none(request):
        return None

    assert observed(none) is None
    assert written() == []


def test_a_caller_who_goes_is_a_line(written):
    async def gone(request):
        raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):
        observed(gone)
    [line] = written()
    assert line["outcome"] == "gone"


def test_elasticsearchs_request_id_is_not_doubled():
    async def theirs(request):
        return Answer(200, ((b"x-opaque-id", b"o"), (b"x-request-id", b"es")), b"")

    answer = observed(theirs, [(b"x-opaque-id", b"o")])
    assert answer.headers == ((b"x-opaque-id", b"o"), (b"x-request-id", b"o"))


def test_a_note_is_of_its_request_alone():
    async def noted(request):
        assert NOTE.get() is not None
        return Answer(200, (), b"")

    observed(noted)
    assert NOTE.get() is None


def test_uvicorn_logs_the_same_way(written):
    logging.getLogger("uvicorn.error").error("It broke: %s", "x")
    [line] = written()
    assert (line["event"], line["logger"]) == ("It broke: x", "uvicorn.error")
