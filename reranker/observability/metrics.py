"""Metrics for Prometheus."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

from reranker.observability.observed import NOTE
from reranker.observability.tracing import Tracing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["OUTCOMES", "STAGES", "Metrics"]

# Stages of an image search, in their order.
STAGES = (
    *("contract", "describe", "first_search", "rerank"),
    *("expand", "second_search", "boxes", "render"),
)
# Outcomes of an image search: ranked; ranked with a warning; first search only, as requested;
# refused as invalid; refused because of overload.
OUTCOMES = ("ranked", "warned", "first_search", "refused", "overloaded")
_EXPLAINED = ("explained", "refused", "overloaded")
# Endpoints that run one step of a search, and the outcomes of each.
_STEPS, _STEPPED = ("vector", "rank"), ("answered", "refused", "overloaded")
# Of forwarded requests; "none" for no answer.
_CLASSES = ("none", "1xx", "2xx", "3xx", "4xx", "5xx")

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
_WINDOWS = (1, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


class Metrics:
    """Counters of one process, in a registry of their own."""

    def __init__(self, tracing: Tracing | None = None) -> None:
        """Args: tracing gets a span for each stage."""
        self.registry = registry = CollectorRegistry()
        self.tracing = tracing or Tracing()
        seconds = partial(Histogram, buckets=_SECONDS, registry=registry)
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
        self._stages = seconds(
            "camsearch_stage_seconds", "Seconds of each stage of an image search.", ["stage"]
        )
        self.searches = counter("camsearch_searches", "Image searches by outcome.", ["outcome"])
        self._windows = Histogram(
            "camsearch_window_hits",
            "R, hits re-ranked per search.",
            buckets=_WINDOWS,
            registry=registry,
        )
        self.unmatched = counter(
            "camsearch_unmatched_hits",
            "Hits that kept their first score: neither maps nor image can be read.",
        )
        forwarded = counter(
            "camsearch_forwarded_requests",
            "Forwarded requests by class of status.",
            ["status"],
        )
        self._waiting = gauge("camsearch_waiting", "Requests in each queue.", ["stage"])
        self.explains = seconds("camsearch_explain_seconds", "Seconds to explain a hit.")
        self._explained = counter("camsearch_explains", "Explanations by outcome.", ["outcome"])
        self._steps = counter(
            "camsearch_steps",
            "Single steps of searches by endpoint and outcome.",
            ["endpoint", "outcome"],
        )
        self._method = gauge(
            "camsearch_method_info",
            "Always 1; the label is the method that describes queries.",
            ["fingerprint"],
        )
        # Start each series at zero, so that rates are defined.
        self._by_class = [forwarded.labels(name).inc for name in _CLASSES]
        for metric, labels in (
            (self._stages, STAGES),
            (self.searches, OUTCOMES),
            (self._explained, _EXPLAINED),
        ):
            for label in labels:
                metric.labels(label)
        for endpoint in _STEPS:
            for outcome in _STEPPED:
                self._steps.labels(endpoint, outcome)
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=registry)

    def exposition(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self.registry)

    def method(self, fingerprint: str) -> None:
        """Set the fingerprint of the method that describes queries."""
        self._method.labels(fingerprint[:16]).set(1)

    def outcome(self, name: str) -> None:
        """Count a search by its outcome."""
        self.searches.labels(name).inc()
        note = NOTE.get()
        if note is not None:
            note.outcomes[name] += 1

    def explained(self, outcome: str) -> None:
        """Count an explanation by its outcome."""
        self._explained.labels(outcome).inc()

    def step(self, endpoint: str, outcome: str) -> None:
        """Count a single step of a search by its outcome."""
        self._steps.labels(endpoint, outcome).inc()

    def window(self, hits: int) -> None:
        """Observe the number of re-ranked hits."""
        self._windows.observe(hits)
        note = NOTE.get()
        if note is not None:
            note.windows.append(hits)

    def forwarded(self, status: int) -> None:
        """Count a forwarded request by status; 0 for no answer."""
        self._by_class[status // 100 if 100 <= status < 600 else 0]()  # noqa: PLR2004

    def waiting(self, stage: str, count: Callable[[], float]) -> None:
        """Report a queue's length whenever metrics are read."""
        self._waiting.labels(stage).set_function(count)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time a stage, even if it fails."""
        started = time.perf_counter()
        try:
            with self.tracing.stage(name):
                yield
        finally:
            took = time.perf_counter() - started
            self._stages.labels(name).observe(took)
            note = NOTE.get()
            if note is not None:
                note.milliseconds[name] += took * 1e3
