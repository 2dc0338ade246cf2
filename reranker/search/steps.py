"""Single steps of an image search, for programs that run the others themselves."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reranker.dialect.searches import IMAGE_FIELDS
from reranker.errors import DialectError, Overloaded
from reranker.search.admission import caller_of
from reranker.search.rerank import match_by_maps, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from jaxtyping import Float32

    from descriptors.arrays import QueryDescription
    from descriptors.settings import RegionSettings
    from reranker.dialect.answers import FoundHit
    from reranker.dialect.endpoints import RankRequest, VectorRequest
    from reranker.http.exchange import Request
    from reranker.matching import Match, Matcher
    from reranker.observability.metrics import Metrics
    from reranker.search.admission import Gate
    from reranker.search.indices import Indices
    from reranker.search.query_images import QueryImages

__all__ = ["Compared", "SearchSteps"]


@dataclass(frozen=True)
class Compared:
    """Hits compared with a query.

    Attributes:
        matches: by id; None where no region is large enough.
        missing: ids without a document, or whose maps can be neither read nor made.
    """

    matches: Mapping[str, Match | None]
    missing: Sequence[str]


class SearchSteps:
    """Describes query images, and compares hits with them."""

    def __init__(
        self,
        indices: Indices,
        images: QueryImages,
        matcher: Matcher,
        gate: Gate,
        metrics: Metrics,
        timeout_s: float,
    ) -> None:
        """Args: gate is that of re-ranking; timeout_s limits `compare`."""
        self._indices, self._images, self._matcher = indices, images, matcher
        self._gate, self._metrics, self._timeout_s = gate, metrics, timeout_s

    async def describe(
        self, request: Request, index: str, asked: VectorRequest
    ) -> Float32[np.ndarray, " D"]:
        """The unit vector with which whole images and windows are searched.

        Args:
            request: whose credentials are used.
            index: percent-encoded.
            asked: the query.

        Raises:
            CamsearchError: the index does not fit, or the query cannot be described.
        """
        described = await self._described(request, index, asked, self._matcher.regions)
        vector: Float32[np.ndarray, " D"] = described.descriptor.float().cpu().numpy()
        return vector

    async def compare(self, request: Request, index: str, asked: RankRequest) -> Compared:
        """Compare hits with a query by their feature maps.

        Raises:
            CamsearchError: as `describe`; or several indices have an id.
            Overloaded: it takes too long.
        """
        settings = settings_of(asked.rerank, self._matcher.regions)
        query = await self._described(request, index, asked, settings)
        self._metrics.window(len(asked.ids))
        try:
            with self._metrics.stage("rerank"):
                async with asyncio.timeout(self._timeout_s), self._gate.passed():
                    hits = await self._hits(request, index, asked.ids)
                    found = await match_by_maps(self._matcher, query, hits, settings)
        except TimeoutError:
            raise Overloaded(
                f"The hits were not compared within {self._timeout_s:g} s: send fewer [ids], or "
                "raise CAMSEARCH_SERVE_TIMEOUT.",
                1,
            ) from None
        matches = {image_id: match for (_, image_id), match in found.items()}
        missing = [image_id for image_id in asked.ids if image_id not in matches]
        self._metrics.unmatched.inc(len(missing))
        return Compared(matches, missing)

    async def _described(
        self, request: Request, index: str, asked: VectorRequest, settings: RegionSettings
    ) -> QueryDescription:
        with self._metrics.stage("contract"):
            await self._indices.check(request, index, caller_of(request))
        with self._metrics.stage("describe"):
            return await self._images.describe(request, index, asked.image, settings)

    async def _hits(self, request: Request, index: str, ids: Sequence[str]) -> list[FoundHit]:
        hits = await self._indices.documents(request, index, ids, IMAGE_FIELDS)
        copies = Counter(hit.id for hit in hits)
        if copies and copies.most_common(1)[0][1] > 1:
            raise DialectError(
                f"[ids] names [{copies.most_common(1)[0][0]}], which several of the indices have: "
                "ask once for each index."
            )
        return hits
