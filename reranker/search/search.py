"""One search by images: describe, search first, re-rank, expand, search again.

What a hit looks like is Elasticsearch's affair: the caller's own body is asked for, with vectors
in the place of images, and its hits come back in another order.
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
    "The re-ranking did not end in time: these hits are in the order of the first search. Ask "
    "with a longer timeout, or a smaller rank_window_size."
)
_LATE_AGAIN = (
    "The second search did not end in time: these hits are in the order before the expansion. "
    "Ask with a longer timeout."
)

_Key = tuple[str, str]


@dataclass(frozen=True)
class Ranked:
    """The answer of a ranked search.

    Attributes:
        answer: as JSON, `filter_path` not yet applied.
        headers: Elasticsearch's, of the first search.
        warnings: sentences about what could not be done as asked.
    """

    answer: dict[str, Any]
    headers: tuple[tuple[bytes, bytes], ...]
    warnings: tuple[str, ...]


@dataclass
class _Running:
    """A search on its way.

    Attributes:
        asked: the caller's request, to be given a body.
        search: what it asks for.
        queries: of each of its images.
        until: when its time is over, in seconds of the loop's clock.
        found: hits of the first search, by index and id.
        again: hits of the second search; None if there was none.
        order: of the hits, as far as it is known.
        warnings: sentences about what could not be done as asked.
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
        """What re-ranking and expansion look for."""
        if self.search.image is None:
            raise ValueError("A search that does not rank has no image of its own.")
        return self.queries[self.search.image]

    def vectors(self, expanded: Float[Tensor, " D"] | None = None) -> dict[ImageQuery, np.ndarray]:
        """The vector of each image; of the search's own the expanded one, if there is one."""
        found = {image: query.descriptor for image, query in self.queries.items()}
        if expanded is not None and self.search.image is not None:
            found[self.search.image] = expanded
        return {image: vector.float().cpu().numpy() for image, vector in found.items()}

    def cosine(self, hit: FoundHit) -> float:
        """Of a hit of either search, where Elasticsearch's score tells it."""
        if hit.score is None or not self.search.by_vectors_alone:
            return UNCOMPARED
        return 2 * hit.score - 1

    def hits(self) -> list[RankedHit]:
        """To be answered; a document as the last search saw it."""
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
    """Answers searches by images."""

    def __init__(
        self,
        indices: Indices,
        images: QueryImages,
        matcher: Matcher,
        gate: Gate,
        metrics: Metrics,
        timeout_s: float = 10.0,
    ) -> None:
        """Args: gate lets so many be re-ranked at once; timeout_s is of a search that names none."""
        self._ask, self._indices, self._images = indices.ask, indices, images
        self._matcher, self._gate, self._metrics = matcher, gate, metrics
        self._timeout_s = timeout_s

    async def search(self, request: Request, index: str, search: VisualSearch) -> Answer | Ranked:
        """The answer: Elasticsearch's own where the first search is all, or it refuses.

        Args:
            request: of the caller, with the path and query of a ``_search``.
            index: of the path, percent-encoded; empty for all, or those of a point in time.
            search: what its body means.

        Raises:
            CamsearchError: the query cannot be described, or Elasticsearch not be reached.
        """
        clock = asyncio.get_running_loop().time
        started = clock()
        with self._metrics.stage("contract"):
            if search.body.get("pit") is not None:
                index = await self._indices.of_pit(request, search.body["pit"])
            await self._indices.check(request, index)
        with self._metrics.stage("describe"):
            queries = await self._describe(request, index, search)
        # Elasticsearch's own time-out only ends searching; what we add to it must fit in as well.
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
        # Hits are compared by as many classes as the query is described by.
        regions = settings_of(search.rerank, self._matcher.regions)
        described = await asyncio.gather(
            *(self._images.describe(request, index, query, regions) for query in search.images)
        )
        return dict(zip(search.images, described, strict=True))

    async def _rank(self, running: _Running) -> None:
        """The final order; the one before, with a warning, where there is no better in time."""
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
        """A second search, with the query plus its first hits.

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
        if again is None:  # all of them are gone meanwhile
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
