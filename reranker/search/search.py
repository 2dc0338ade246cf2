"""An image search over Elasticsearch: describe, first search, re-rank, expand, second search.

The caller's own body is sent to Elasticsearch with vectors in place of images; its hits are
returned in a new order.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from reranker.candidates import (
    UNCOMPARED,
    Candidate,
    expanded,
    reranked,
    searched_again,
    unmatched_warning,
    without_vector,
)
from reranker.dialect.answers import RankedHit, answer_of, read_hits
from reranker.dialect.searches import again_body, first_body, forwarded_query
from reranker.errors import UpstreamRefused, UpstreamUnreachable
from reranker.search.rerank import NotReranked, match_by_maps, settings_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from jaxtyping import Float
    from torch import Tensor

    from descriptors.arrays import QueryDescription
    from reranker.dialect.answers import FoundHit
    from reranker.dialect.searches import Expand, ImageQuery, Rerank, VisualSearch
    from reranker.http.exchange import Answer, Request
    from reranker.matching import Matcher
    from reranker.observability.metrics import Metrics
    from reranker.search.admission import Gate
    from reranker.search.indices import Indices
    from reranker.search.query_images import QueryImages

__all__ = ["Ranked", "VisualSearcher"]

_LATE = (
    "The re-ranking timed out: these hits are in the order of the first search. Use a longer "
    "timeout or a smaller rank_window_size."
)
_LATE_AGAIN = (
    "The second search timed out: these hits are in the order before the expansion. Use a "
    "longer timeout."
)

_Key = tuple[str, str]


@dataclass(frozen=True)
class Ranked:
    """The answer of a ranked search.

    Attributes:
        answer: JSON, before `filter_path`.
        headers: of Elasticsearch's first answer.
        warnings: sentences for the caller.
    """

    answer: dict[str, Any]
    headers: tuple[tuple[bytes, bytes], ...]
    warnings: tuple[str, ...]


@dataclass
class _Running:
    """The state of a running search.

    Attributes:
        asked: the caller's request, for Elasticsearch; its body is replaced.
        search: the parsed search.
        queries: description of each of its images.
        until: deadline, in seconds of the loop's clock.
        found: hits of the first search, by index and id.
        again: hits of the second search; None if there was none.
        order: the current order of the hits.
        warnings: sentences for the caller.
    """

    asked: Request
    search: VisualSearch
    queries: Mapping[ImageQuery, QueryDescription]
    until: float
    found: Mapping[_Key, FoundHit] = field(default_factory=dict)
    again: Mapping[_Key, FoundHit] | None = None
    order: list[Candidate[_Key]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def own(self) -> QueryDescription:
        """The query that re-ranking and expansion compare with."""
        if self.search.image is None:
            raise ValueError("A search that does not rank has no image of its own.")
        return self.queries[self.search.image]

    def vectors(self, expanded: Float[Tensor, " D"] | None = None) -> dict[ImageQuery, np.ndarray]:
        """The vector of each image, with the expanded one, if any, for the search's own."""
        found = {image: query.descriptor for image, query in self.queries.items()}
        if expanded is not None and self.search.image is not None:
            found[self.search.image] = expanded
        return {image: vector.float().cpu().numpy() for image, vector in found.items()}

    def cosine(self, hit: FoundHit) -> float:
        """The cosine of a hit, if Elasticsearch's score is one."""
        if hit.score is None or not self.search.by_vectors_alone:
            return UNCOMPARED
        return 2 * hit.score - 1

    def hits(self) -> list[RankedHit]:
        """The hits to answer, with each document as of the last search that found it."""
        again = self.again or {}
        hits = []
        for c in self.order:
            first = self.found.get(c.key)
            known = c.match is not None if self.again is None else True
            hits.append(
                RankedHit(
                    (again.get(c.key) or self.found[c.key]).raw,
                    c.score if known and c.score != UNCOMPARED else None,
                    None if c.match is None else c.match.box,
                    None if first is None else first.score,
                    None if first is None else first.rank,
                )
            )
        return hits


class VisualSearcher:
    """Runs image searches."""

    def __init__(
        self,
        indices: Indices,
        images: QueryImages,
        matcher: Matcher,
        gate: Gate,
        metrics: Metrics,
        timeout_s: float = 10.0,
    ) -> None:
        """Args: gate limits concurrent re-rankings; timeout_s is the default timeout."""
        self._ask, self._indices, self._images = indices.ask, indices, images
        self._matcher, self._gate, self._metrics = matcher, gate, metrics
        self._timeout_s = timeout_s

    async def search(self, request: Request, index: str, search: VisualSearch) -> Answer | Ranked:
        """Run a search; Elasticsearch's own answer if that is all, or it refuses.

        Args:
            request: of the caller, with the path and query string of a ``_search``.
            index: of the path, percent-encoded; empty for all, or for a point in time.
            search: its parsed body.

        Raises:
            CamsearchError: the query cannot be described, or Elasticsearch cannot be reached.
        """
        clock = asyncio.get_running_loop().time
        started = clock()
        with self._metrics.stage("contract"):
            if search.body.get("pit") is not None:
                index = await self._indices.of_pit(request, search.body["pit"])
            await self._indices.check(request, index)
        with self._metrics.stage("describe"):
            queries = await self._describe(request, index, search)
        # The timeout covers re-ranking and expansion, too.
        limit = self._timeout_s if search.timeout is None else search.timeout
        asked = replace(request, query=forwarded_query(search))
        running = _Running(asked, search, queries, started + limit)
        with self._metrics.stage("first_search"):
            body = first_body(search, running.vectors())
            first = await self._ask(replace(asked, body=body))
        if not search.ranks or first.status != HTTPStatus.OK:
            return first
        response = orjson.loads(first.body)
        running.found = _by_key(response)
        await self._rank(running)
        if not running.found and response.get("timed_out"):
            running.warnings.append(_LATE)
        with self._metrics.stage("render"):
            took = round((clock() - started) * 1e3)
            answer = answer_of(search, response, running.hits(), took)
        return Ranked(answer, first.headers, tuple(running.warnings))

    async def _describe(
        self, request: Request, index: str, search: VisualSearch
    ) -> dict[ImageQuery, QueryDescription]:
        # Query and hits must have the same number of classes.
        regions = settings_of(search.rerank, self._matcher.regions)
        described = await asyncio.gather(
            *(self._images.describe(request, index, query, regions) for query in search.images)
        )
        return dict(zip(search.images, described, strict=True))

    async def _rank(self, running: _Running) -> None:
        """Re-rank and expand; on failure keep the previous order and add a warning."""
        search = running.search
        running.order = [Candidate(key, running.cosine(h)) for key, h in running.found.items()]
        if not running.order:
            return
        if search.rerank is not None:
            with self._metrics.stage("rerank"):
                await self._rerank(running, search.rerank)
        if search.expand is not None:
            try:
                async with asyncio.timeout_at(running.until):
                    await self._search_again(running, search.expand)
            except (TimeoutError, UpstreamUnreachable):
                running.warnings.append(_LATE_AGAIN)
            except UpstreamRefused as refused:
                running.warnings.append(
                    f"The second search was refused with status {refused.answer.status}: these "
                    "hits are in the order before the expansion."
                )

    async def _rerank(self, running: _Running, rerank: Rerank) -> None:
        window = running.order[: rerank.window]
        self._metrics.window(len(window))
        hits = [running.found[c.key] for c in window]
        settings = settings_of(rerank, self._matcher.regions)
        try:
            async with asyncio.timeout_at(running.until), self._gate.passed():
                matches = await match_by_maps(self._matcher, running.own, hits, settings)
        except TimeoutError:
            running.warnings.append(_LATE)
            return
        except NotReranked as failed:
            running.warnings.append(str(failed))
            return
        unmatched = len(window) - len(matches)
        if unmatched:
            self._metrics.unmatched.inc(unmatched)
            running.warnings.append(unmatched_warning(unmatched, len(window)))
        running.order[: rerank.window] = reranked(window, matches)

    async def _search_again(self, running: _Running, expand: Expand) -> None:
        """Search again with the expanded query.

        Raises:
            UpstreamRefused, UpstreamUnreachable: Elasticsearch does not answer it.
        """
        settings, search, query = self._matcher.regions, running.search, running.own.descriptor
        with self._metrics.stage("expand"):
            keys = without_vector(running.order, expand.hits, settings)
            again = expanded(
                query,
                running.order,
                await self._indices.vectors(running.asked, keys, query),
                hits=expand.hits,
                alpha=expand.alpha,
                settings=settings,
            )
        if again is None:
            return
        with self._metrics.stage("second_search"):
            body = again_body(search, running.vectors(again))
            answer = await self._ask(replace(running.asked, body=body))
        if answer.status != HTTPStatus.OK:
            raise UpstreamRefused("Elasticsearch refuses the second search.", answer)
        running.again = _by_key(orjson.loads(answer.body))
        cosines = {key: running.cosine(hit) for key, hit in running.again.items()}
        remembers = settings.remember_regions and search.by_vectors_alone
        order = searched_again(running.order, cosines, again if remembers else None)
        running.order = order[: search.first_hits]


def _by_key(response: Mapping[str, Any]) -> dict[_Key, FoundHit]:
    return {(hit.index, hit.id): hit for hit in read_hits(response)}
