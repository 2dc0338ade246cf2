"""OpenTelemetry spans, if its package is installed and the environment names an exporter."""

from __future__ import annotations

import importlib.util
import logging
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import entry_points, version
from typing import TYPE_CHECKING, Any

from reranker.settings import TracesSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Tracer

    from reranker.http.exchange import Answer, Ask, Headers, Request

__all__ = ["Tracing", "traced", "tracing_as_named"]

_log = logging.getLogger(__name__)

# W3C trace context; other headers are forwarded unchanged.
_CARRIERS = frozenset({b"traceparent", b"tracestate"})


class Tracing:
    """Makes spans for requests and their stages; does nothing without a provider."""

    def __init__(self, provider: TracerProvider | None = None) -> None:
        """Args: provider of tracers, shut down by `close`."""
        self._provider = provider
        self._tracer: Tracer | None = None if provider is None else provider.get_tracer("camsearch")

    @property
    def is_on(self) -> bool:
        """Whether there is a provider."""
        return self._tracer is not None

    @contextmanager
    def request(self, endpoint: str, headers: Headers) -> Iterator[None]:
        """A span for a request, a child of the caller's span if the headers name one."""
        if self._tracer is None:
            yield
            return
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {
            name.decode(): value.decode("latin-1") for name, value in headers if name in _CARRIERS
        }
        parent = TraceContextTextMapPropagator().extract(carrier)
        with self._tracer.start_as_current_span(
            f"camsearch {endpoint}", parent, kind=SpanKind.SERVER
        ):
            yield

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """A span for a stage of the current request."""
        if self._tracer is None:
            yield
            return
        with self._tracer.start_as_current_span(name):
            yield

    def close(self) -> None:
        """Send pending spans."""
        if self._provider is not None:
            self._provider.shutdown()


def traced(ask: Ask) -> Ask:
    """Wrap `ask` to send the current span as the parent."""

    async def asked(request: Request) -> Answer:
        return await ask(_as_child(request))

    return asked


def tracing_as_named(settings: TracesSettings) -> Tracing:
    """Tracing as configured by OpenTelemetry's variables; off if they name no exporter.

    Convention:
        Platforms set these variables for all services, so a missing package is logged and
        tracing stays off.
    """
    exporter = settings.exporter
    if exporter is None:
        return Tracing()
    if importlib.util.find_spec("opentelemetry.sdk") is None:
        _log.warning("OpenTelemetry is not installed: tracing is off. Install camsearch[otel].")
        return Tracing()
    found = list(entry_points(group="opentelemetry_traces_exporter", name=exporter))
    if not found:
        _log.warning(
            "The OpenTelemetry exporter %s is not installed: tracing is off. Install "
            "camsearch[otel].",
            exporter,
        )
        return Tracing()
    return Tracing(_provider(found[0].load()()))


def _provider(exporter: Any) -> TracerProvider:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    resource = Resource.create()
    if str(resource.attributes.get("service.name")).startswith("unknown_service"):
        ours = {"service.name": "camsearch", "service.version": version("camsearch")}
        resource = resource.merge(Resource(ours))
    provider = TracerProvider(resource=resource)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider


def _as_child(request: Request) -> Request:
    """The request with the current span instead of the caller's."""
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    carrier: dict[str, str] = {}
    TraceContextTextMapPropagator().inject(carrier)
    if not carrier:
        return request
    others = tuple(pair for pair in request.headers if pair[0] not in _CARRIERS)
    ours = tuple((name.encode(), value.encode()) for name, value in carrier.items())
    return replace(request, headers=(*others, *ours))
