"""One search by pictures: describe, search first, re-rank, expand, search again.

What a hit looks like is Elasticsearch's affair: the caller's own body is asked for, with vectors
in the place of pictures, and its hits come back in another order.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import orjson
import torch

from descriptors.expansion import expanded_query, hits_to_read
from reranker.dialect.answers import answer_of, read_hits
from reranker.dialect.searches import again_body, first_body, forwarded_query
from reranker.errors import UpstreamRefused, UpstreamUnreachable
from reranker.matching import unmatched_warning
from reranker.visual.expanding import vectors_of
from reranker.visual.query_pictures import picture_of
from reranker.visual.reordering import first_order, merged, reordered
from reranker.visual.window_matching import NotReranked, match_window, region_settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from jaxtyping import Float
    from torch import Tensor

    from descriptors.arrays import QueryDescription
    from reranker.dialect.answers import FoundHit
    from reranker.dialect.searches import Expand, PictureQuery, Rerank, VisualSearch
    from reranker.exchange import Answer, Request, Upstream
    from reranker.matching import Matcher
    from reranker.operations.metrics import Metrics
    from reranker.visual.contract import IndexContract
    from reranker.visual.gate import Gate
    from reranker.visual.query_pictures import QueryPictures
    from reranker.visual.reordering import Placed

__all__ = ["Ranked", "VisualParts", "VisualSearcher"]

_OK = 200
_LATE = (
    "The re-ranking did not end in time: these hits are in the order of the first search. Ask "
    "with a longer timeout, or a smaller rank_window_size."
)


@dataclass(frozen=True)
class VisualParts:
    """What a search by pictures is put together from.

    Attributes:
        upstream: who is searched.
        contract: which indices fit the method.
        pictures: describes query pictures.
        matcher: finds the best region of hits.
        gate: how many searches are re-ranked at the same time.
        metrics: where stages are measured.
        timeout_s: seconds for a ranked search that names none.
    """

    upstream: Upstream
    contract: IndexContract
    pictures: QueryPictures
    matcher: Matcher
    gate: Gate
    metrics: Metrics
    timeout_s: float = 10.0


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
    """A search on its way; `until` is when its time is over, in seconds of the loop's clock."""

    request: Request
    index: str
    search: VisualSearch
    queries: Mapping[PictureQuery, QueryDescription]
    until: float
    warnings: list[str] = field(default_factory=list)

    @property
    def own(self) -> QueryDescription:
        """What re-ranking and expansion look for."""
        if self.search.picture is None:
            raise ValueError("A search that does not rank has no picture of its own.")
        return self.queries[self.search.picture]

    def vectors(
        self, expanded: Float[Tensor, " D"] | None = None
    ) -> dict[PictureQuery, np.ndarray]:
        """The vector of each picture; of the search's own the expanded one, if there is one."""
        found = {picture: query.descriptor for picture, query in self.queries.items()}
        if expanded is not None and self.search.picture is not None:
            found[self.search.picture] = expanded
        return {picture: vector.float().cpu().numpy() for picture, vector in found.items()}


class VisualSearcher:
    """Answers searches by pictures."""

    def __init__(self, parts: VisualParts) -> None:
        """Put the parts together."""
        self._parts, self._metrics = parts, parts.metrics

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
                index = await self._parts.contract.indices_of_pit(request, search.body["pit"])
            await self._parts.contract.check(request, index)
        with self._metrics.stage("describe"):
            queries = await self._describe(request, index, search)
        # Elasticsearch's own time-out only ends searching; what we add to it must fit in as well.
        limit = self._parts.timeout_s if search.timeout is None else search.timeout
        running = _Running(request, index, search, queries, started + limit)
        asked = replace(request, query=forwarded_query(search))
        with self._metrics.stage("first_search"):
            body = first_body(search, running.vectors())
            first = await self._parts.upstream.ask(replace(asked, body=body))
        if not search.ranks or first.status != _OK:
            return first
        response = orjson.loads(first.body)
        placed = await self._ranked(running, asked, read_hits(response))
        if not placed and response.get("timed_out"):
            running.warnings.append(_LATE)
        with self._metrics.stage("render"):
            took = round((clock() - started) * 1e3)
            answer = answer_of(search, response, [one.hit for one in placed], took)
        return Ranked(answer, first.headers, tuple(running.warnings))

    async def _describe(
        self, request: Request, index: str, search: VisualSearch
    ) -> dict[PictureQuery, QueryDescription]:
        # Hits are compared by as many classes as the query is described by.
        regions = region_settings(search.rerank, self._parts.matcher.regions)
        described = await asyncio.gather(
            *(
                self._parts.pictures.describe(request, index, query, regions)
                for query in search.pictures
            )
        )
        return dict(zip(search.pictures, described, strict=True))

    async def _ranked(
        self, running: _Running, asked: Request, found: Sequence[FoundHit]
    ) -> list[Placed]:
        """The final order; the first one, with a warning, where there is no better in time."""
        placed = first_order(found)
        if not placed:
            return placed
        search = running.search
        if search.rerank is not None:
            self._metrics.window(min(search.rerank.window, len(placed)))
            with self._metrics.stage("rerank"):
                placed = await self._reranked(running, search.rerank, found, placed)
        if search.expand is not None:
            placed = await self._search_again(running, search.expand, asked, placed)
        return placed

    async def _reranked(
        self,
        running: _Running,
        rerank: Rerank,
        found: Sequence[FoundHit],
        placed: list[Placed],
    ) -> list[Placed]:
        window = found[: rerank.window]
        pictures = {(h.index, h.id): picture_of(h) for h in window}
        known = {key: picture for key, picture in pictures.items() if picture is not None}
        settings = region_settings(rerank, self._parts.matcher.regions)
        try:
            async with asyncio.timeout_at(running.until), self._parts.gate.passed():
                matches = await match_window(
                    self._parts.matcher, running.own, list(known.values()), settings
                )
        except TimeoutError:
            running.warnings.append(_LATE)
            return placed
        except NotReranked as failed:
            running.warnings.append(str(failed))
            return placed
        by_key = {key: match for key, p in known.items() if (match := matches.get(p)) is not None}
        unmatched = len(window) - sum(p in matches for p in known.values())
        if unmatched:
            self._metrics.unmatched.inc(unmatched)
            running.warnings.append(unmatched_warning(unmatched, len(window)))
        return reordered(
            placed,
            rerank.window,
            by_key,
            self._parts.matcher.regions,
            cosines=running.search.by_vectors_alone,
        )

    async def _search_again(
        self, running: _Running, expansion: Expand, asked: Request, placed: list[Placed]
    ) -> list[Placed]:
        """The hits of a second search, with the query plus its first hits.

        Source:
            docs/method.md section 5; docs/adr/0006 and 0014.
        """
        settings, search = self._parts.matcher.regions, running.search
        try:
            async with asyncio.timeout_at(running.until):
                with self._metrics.stage("expand"):
                    vectors = await vectors_of(
                        self._parts.upstream,
                        asked,
                        placed[: hits_to_read(expansion.hits, settings)],
                        running.own.descriptor,
                    )
                    if not vectors:  # all of them are gone meanwhile
                        return placed
                    expanded = expanded_query(
                        running.own.descriptor,
                        torch.stack(vectors),
                        expansion.hits,
                        expansion.alpha,
                        settings,
                    )
                with self._metrics.stage("second_search"):
                    again = again_body(search, running.vectors(expanded))
                    answer = await self._parts.upstream.ask(replace(asked, body=again))
        except (TimeoutError, UpstreamUnreachable):
            running.warnings.append(
                "The second search did not end in time: these hits are in the order before the "
                "expansion. Ask with a longer timeout."
            )
            return placed
        except UpstreamRefused as refused:
            answer = refused.answer
        if answer.status != _OK:
            running.warnings.append(
                f"The second search was refused with status {answer.status}: these hits are in "
                "the order before the expansion."
            )
            return placed
        return merged(
            placed,
            read_hits(orjson.loads(answer.body)),
            expanded if settings.remember_regions else None,
            cosines=search.by_vectors_alone,
        )[: search.first_hits]
