"""What the proxy tells Prometheus."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["STAGES", "Metrics"]

# The stages of a search by pictures, in their order.
STAGES = ("contract", "describe", "first_search", "rerank", "expand", "second_search", "render")

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.15, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
_WINDOWS = (1, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000)


class Metrics:
    """Counters of one process, in a registry of their own."""

    def __init__(self) -> None:
        """All at zero."""
        self.registry = CollectorRegistry()
        self._stages = Histogram(
            "camsearch_stage_seconds",
            "Seconds a stage of a search by pictures takes.",
            ["stage"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self.searches = Counter(
            "camsearch_searches",
            "Searches that name camsearch, by how they ended.",
            ["outcome"],
            registry=self.registry,
        )
        self.window = Histogram(
            "camsearch_window_hits",
            "R, hits re-ranked a search.",
            buckets=_WINDOWS,
            registry=self.registry,
        )
        self.unmatched = Counter(
            "camsearch_unmatched_hits",
            "Hits that kept their first score: no maps kept, and no picture to encode.",
            registry=self.registry,
        )
        self.forwarded = Counter(
            "camsearch_forwarded_requests",
            "Requests passed through, by class of status.",
            ["status"],
            registry=self.registry,
        )
        self._waiting = Gauge(
            "camsearch_waiting",
            "Searches that wait, by for what.",
            ["stage"],
            registry=self.registry,
        )
        for stage in STAGES:  # at zero before the first search, so that rates have a start
            self._stages.labels(stage)

    def waiting(self, stage: str, count: Callable[[], float]) -> None:
        """Show a queue's length whenever metrics are read."""
        self._waiting.labels(stage).set_function(count)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Measure a stage, also if it fails."""
        started = time.perf_counter()
        try:
            yield
        finally:
            self._stages.labels(name).observe(time.perf_counter() - started)
