"""Spans of searches by images, and whose child the cluster's are."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from reranker.observability.tracing import Tracing, tracing_as_named
from reranker.settings import TracesSettings
from tests.support.tiny_service import ask, image_text, re_ranked, tiny_service

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = {"traceparent": f"00-{TRACE}-{SPAN}-01"}


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return Tracing(provider)


def test_a_search_is_a_span_with_its_stages_below_the_callers(folder, tracing, exporter):
    with tiny_service(folder, tracing) as service:
        body = re_ranked({"data": image_text(folder)})
        ask(service, "POST", "/images/_search", json=body, headers=PARENT)
        asked = service.upstream.asked
        spans = {span.name: span for span in exporter.get_finished_spans()}
    whole = spans.pop("camsearch _search")
    assert f"{whole.context.trace_id:032x}" == TRACE
    assert f"{whole.parent.span_id:016x}" == SPAN
    assert set(spans) == {"contract", "describe", "first_search", "rerank", "render"}
    assert {span.parent.span_id for span in spans.values()} == {whole.context.span_id}
    carried = [dict(one.headers)[b"traceparent"].decode() for one in asked]
    below = [spans["contract"], spans["first_search"]]
    assert carried == [f"00-{TRACE}-{span.context.span_id:016x}-01" for span in below]


def test_an_explained_hit_is_a_span_too(folder, tracing, exporter):
    with tiny_service(folder, tracing) as service:
        body = {"id": "1/a.png", "image": {"id": "2/a.png"}}
        ask(service, "POST", "/_camsearch/explain", json=body, headers=PARENT)
        [span] = exporter.get_finished_spans()
    assert (span.name, f"{span.context.trace_id:032x}") == ("camsearch explain", TRACE)


def test_without_tracing_traceparent_is_forwarded(folder):
    with tiny_service(folder) as service:
        body = re_ranked({"data": image_text(folder)})
        ask(service, "POST", "/images/_search", json=body, headers=PARENT)
        for asked in service.upstream.asked:
            assert dict(asked.headers)[b"traceparent"].decode() == PARENT["traceparent"]


def test_what_is_passed_through_is_left_as_it_came(folder, tracing, exporter):
    class Noting:
        scope = None

        async def forward(self, scope, receive, send, body):
            Noting.scope = scope
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b""})

        async def ask(self, request):
            raise NotImplementedError

        async def close(self):
            pass

    with tiny_service(folder, tracing, {"upstream": Noting()}) as service:
        ask(service, "GET", "/images/_count", headers=PARENT)
    assert dict(Noting.scope["headers"])[b"traceparent"].decode() == PARENT["traceparent"]
    assert not exporter.get_finished_spans()


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, None),
        ({"otel_exporter_otlp_endpoint": "http://c:4318"}, "otlp_proto_http"),
        ({"otel_exporter_otlp_traces_endpoint": "http://c:4318"}, "otlp_proto_http"),
        (
            {"otel_traces_exporter": "otlp", "otel_exporter_otlp_protocol": "grpc"},
            "otlp_proto_grpc",
        ),
        ({"otel_traces_exporter": "none", "otel_exporter_otlp_endpoint": "http://c"}, None),
        ({"otel_traces_exporter": "console"}, "console"),
        ({"otel_traces_exporter": "console", "otel_sdk_disabled": True}, None),
    ],
)
def test_opentelemetrys_own_variables_name_the_exporter(monkeypatch, given, expected):
    for name, value in given.items():
        monkeypatch.setenv(name.upper(), str(value).lower() if value is True else value)
    assert TracesSettings().exporter == expected


def test_an_exporter_that_is_not_installed_is_said_and_hinders_nothing(caplog):
    tracing = tracing_as_named(TracesSettings(otel_traces_exporter="nowhere"))
    assert not tracing.is_on
    assert "camsearch[otel]" in caplog.text


def test_without_the_package_it_is_said_and_hinders_nothing(caplog, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    assert not tracing_as_named(TracesSettings(otel_traces_exporter="console")).is_on
    assert "OpenTelemetry is not installed" in caplog.text


def test_an_installed_exporter_is_told(monkeypatch, caplog):
    told = []
    monkeypatch.setattr(ConsoleSpanExporter, "export", lambda _, spans: told.extend(spans) or 0)
    tracing = tracing_as_named(TracesSettings(otel_traces_exporter="console"))
    with tracing.request("_search", ()), tracing.stage("describe"):
        pass
    tracing.close()
    assert [span.name for span in told] == ["describe", "camsearch _search"]
    assert told[0].resource.attributes["service.name"] == "camsearch"
