"""All parts of the server, built from a matcher, an upstream and settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from reranker.dialect.searches import DialectLimits
from reranker.explain.explainer import Explainer
from reranker.explain.hit_files import HitFiles
from reranker.observability.metrics import Metrics
from reranker.observability.tracing import Tracing, traced
from reranker.search.admission import Gate, RateLimit
from reranker.search.description import Describer
from reranker.search.indices import Indices
from reranker.search.query_images import QueryImages
from reranker.search.readiness import Readiness
from reranker.search.requests import VisualRequests
from reranker.search.search import VisualSearcher
from reranker.search.steps import SearchSteps

if TYPE_CHECKING:
    from collections.abc import Callable

    from descriptors.images import ImageLimits
    from reranker.http.exchange import Upstream
    from reranker.matching import Matcher
    from reranker.settings import RerankerSettings

__all__ = ["ImageFiles", "Service"]

# A page requests the thumbnails of all its hits at once.
_THUMBNAILS_WAITING = 512


@dataclass(frozen=True)
class ImageFiles:
    """How image files are read.

    Attributes:
        limits: for every file.
        fetch: downloads the URL of a query image; None if not allowed.
        read: reads the `uri` of a document, for thumbnails and heat maps; None if not allowed.
    """

    limits: ImageLimits
    fetch: Callable[[str], bytes] | None = None
    read: Callable[[str], bytes] | None = None


class Service:
    """The parts that answer image searches in one process."""

    def __init__(
        self,
        matcher: Matcher,
        upstream: Upstream,
        files: ImageFiles,
        settings: RerankerSettings,
        index: str = "images",
        tracing: Tracing | None = None,
    ) -> None:
        """Build the parts and start the network's thread.

        Args:
            matcher: its method must be the one that made the indexed vectors; closed with the
                service, as is its feature store.
            upstream: answers searches.
            files: how images of queries and hits are read.
            settings: limits.
            index: default index, checked for readiness.
            tracing: off if None.
        """
        self.tracing = tracing or Tracing()
        self.upstream = upstream
        ask = traced(upstream.ask) if self.tracing.is_on else upstream.ask
        self.matcher, self.method = matcher, matcher.method
        self.settings, self.index = settings, index
        self.metrics = Metrics(self.tracing)
        self.describer = Describer(
            self.method.describe_queries, settings.serve_waiting, settings.serve_batch_wait
        )
        self.indices = Indices(ask, self.method.fingerprint())
        self.images = QueryImages(self.indices, self.describer, matcher, files.limits, files.fetch)
        self.gate = Gate(settings.serve_reranks, settings.serve_waiting)
        self.limits = DialectLimits(
            window=settings.serve_max_window,
            k=settings.serve_max_k,
            classes=len(self.method.encoder.weight),
            image_bytes=settings.serve_max_image,
        )
        searcher = VisualSearcher(
            self.indices, self.images, matcher, self.gate, self.metrics, settings.serve_timeout
        )
        self.steps = SearchSteps(
            self.indices, self.images, matcher, self.gate, self.metrics, settings.serve_timeout
        )
        self.rate = RateLimit(settings.serve_rate)
        self.visual = VisualRequests(searcher, ask, self.limits, self.metrics, self.rate)
        reading = Gate(settings.serve_thumbnails, _THUMBNAILS_WAITING)
        self.files = HitFiles(self.indices, files.read, files.limits, reading)
        explaining = Gate(settings.serve_explains, settings.serve_waiting)
        self.explainer = Explainer(
            self.indices, self.images, matcher, self.files, explaining, index
        )
        self.readiness = Readiness(ask, index, self.method.fingerprint(), matcher.features)
        self.metrics.method(self.method.fingerprint())
        self.metrics.waiting("describe", lambda: self.describer.waiting)
        self.metrics.waiting("rerank", lambda: self.gate.waiting)
        self.metrics.waiting("explain", lambda: explaining.waiting)
        self.metrics.waiting("thumbnail", lambda: reading.waiting)

    def warm_up(self) -> None:
        """Encode a black image, so that the first request does not wait for the network."""
        side = self.method.settings.side
        pixels = torch.zeros((3, side, side), dtype=torch.uint8)
        self.method.encoder.encode(self.method.encoder.prepare([pixels]))

    def close(self) -> None:
        """Finish running work, then stop the threads."""
        self.describer.close()
        self.matcher.close()
        if self.matcher.features is not None:
            self.matcher.features.close()
        self.tracing.close()
