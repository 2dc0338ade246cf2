"""The proxy put together from its parts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from reranker.dialect.limits import DialectLimits
from reranker.explaining.explainer import Explainer, ExplainParts
from reranker.explaining.hit_files import HitFiles
from reranker.matching import Matcher
from reranker.operations.metrics import Metrics
from reranker.operations.rate_limit import RateLimit
from reranker.operations.readiness import Readiness
from reranker.operations.tracing import TracedUpstream, Tracing
from reranker.visual.contract import IndexContract
from reranker.visual.description import Describer, DescriberSettings
from reranker.visual.gate import Gate
from reranker.visual.query_pictures import QueryPictures
from reranker.visual.requests import VisualRequests
from reranker.visual.search import VisualParts, VisualSearcher

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from descriptors.images import ImageLimits
    from descriptors.method import Method
    from descriptors.settings import RegionSettings
    from es_mappings.documents import IndexedPicture
    from es_mappings.features import FeatureStore
    from es_mappings.kept_maps import KeptMaps
    from reranker.exchange import Upstream
    from reranker.settings import RerankerSettings

__all__ = ["Service", "ServiceParts"]

# A page shows many at once, and asks for all of them together.
_THUMBNAILS_WAITING = 512


@dataclass(frozen=True)
class ServiceParts:
    """What a service needs from outside.

    Attributes:
        method: describes queries; must have made the vectors that are searched.
        regions: of the re-ranking.
        upstream: who is searched.
        features: kept maps; None where none are kept.
        limits: of query pictures.
        encode: makes the maps of hits that have none kept; None if that is not to be tried.
        fetch: the bytes behind a url; None if pictures may not be fetched.
        index: name of the gallery that readiness asks for.
        read: the bytes behind an address of a document, for people to look at; None if none may
            be read.
    """

    method: Method
    regions: RegionSettings
    upstream: Upstream
    features: FeatureStore | None
    limits: ImageLimits
    encode: Callable[[Sequence[IndexedPicture]], Mapping[str, KeptMaps]] | None = None
    fetch: Callable[[str], bytes] | None = None
    index: str = "images"
    read: Callable[[str], bytes] | None = None


class Service:
    """Everything that answers searches by pictures, in one process."""

    def __init__(
        self, parts: ServiceParts, settings: RerankerSettings, tracing: Tracing | None = None
    ) -> None:
        """Put the parts together and start the network's thread."""
        tracing = tracing or Tracing()
        if tracing.is_on:
            parts = replace(parts, upstream=TracedUpstream(parts.upstream))
        self.parts, self.settings, self.tracing = parts, settings, tracing
        self.metrics, self.rate = Metrics(tracing), RateLimit(settings.serve_rate)
        self.metrics.method(parts.method.fingerprint())
        self.matcher = Matcher(
            parts.method, parts.features, parts.regions, parts.encode, settings.serve_most_encoded
        )
        self.describer = Describer(
            parts.method.describe_queries,
            DescriberSettings(settings.serve_waiting, wait_s=settings.serve_batch_wait),
        )
        self.gate = Gate(settings.serve_reranks, settings.serve_waiting)
        self.contract = IndexContract(parts.upstream, parts.method.fingerprint())
        self.pictures = QueryPictures(
            parts.upstream, self.describer, self.matcher, parts.limits, parts.fetch
        )
        self.searcher = VisualSearcher(
            VisualParts(
                parts.upstream,
                self.contract,
                self.pictures,
                self.matcher,
                self.gate,
                self.metrics,
                settings.serve_timeout,
            )
        )
        self.limits = DialectLimits(
            window=settings.serve_most_window,
            k=settings.serve_most_k,
            classes=len(parts.method.encoder.weight),
            picture_bytes=settings.serve_most_picture,
        )
        self.visual = VisualRequests(
            self.searcher, parts.upstream, self.limits, self.metrics, self.rate
        )
        self._look_closer()
        self.metrics.waiting("describe", lambda: self.describer.waiting)
        self.metrics.waiting("rerank", lambda: self.gate.waiting)

    def _look_closer(self) -> None:
        """What people and scripts ask beside searches."""
        parts, settings = self.parts, self.settings
        explaining = Gate(settings.serve_explains, settings.serve_waiting)
        self.explainer = Explainer(
            ExplainParts(
                parts.upstream,
                self.contract,
                self.pictures,
                self.matcher,
                parts.limits,
                explaining,
                parts.index,
            )
        )
        reading = Gate(settings.serve_thumbnails, _THUMBNAILS_WAITING)
        self.files = HitFiles(parts.upstream, parts.read, parts.limits, reading)
        self.readiness = Readiness(
            parts.upstream, parts.index, parts.method.fingerprint(), parts.features
        )
        self.metrics.waiting("explain", lambda: explaining.waiting)
        self.metrics.waiting("thumbnail", lambda: reading.waiting)

    def warm_up(self) -> None:
        """Describe a picture of nothing, so that the first caller does not wait for the network."""
        method = self.parts.method
        side = method.settings.side
        pixels = torch.zeros((3, side, side), dtype=torch.uint8)
        method.encoder.encode(method.encoder.prepare([pixels]))

    def close(self) -> None:
        """End threads, after what they have taken."""
        self.describer.close()
        self.matcher.close()
        if self.parts.features is not None:
            self.parts.features.close()
        self.tracing.close()
