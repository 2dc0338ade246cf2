"""An image search over Elasticsearch: describe, first search, re-rank, expand, second search.

The caller's own body is sent to Elasticsearch with vectors in place of images; its hits are
returned in a new order.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson

from reranker.candidates import (
    Candidate,
    expanded,
    reranked,
    rescored,
    searched_again,
    unmatched_warning,
    without_vector,
)
from reranker.dialect.answers import RankedHit, answer_of, page_of, shows_boxes, with_boxes
from reranker.dialect.searches import first_body, forwarded_query
from reranker.dialect.second_search import again_body, documents_body, shown_at_most, wide_body
from reranker.dialect.values import without
from reranker.errors import UpstreamRefused, UpstreamUnreachable
from reranker.search.rerank import NotReranked, match_by_maps, refine_by_maps, settings_of
from reranker.search.running import HitKey, Ranked, Running, by_key
from reranker.search.windows import WindowSearcher, on_one_copy

if TYPE_CHECKING:
    from collections.abc import Collection

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

_REFUSED_AGAIN = "Elasticsearch refuses the second search."
_NOT_COMPARED = "The hits are in the order of the first search, as windows were not compared."
_NOT_FITTED = "The boxes of hits were not fitted in time: they are those of windows."
_NO_BOXES = "The boxes of hits could not be read in time: search again, or use a longer timeout."


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
        self._windows = WindowSearcher(indices, matcher.method.settings.windows)

    async def search(self, request: Request, index: str, search: VisualSearch) -> Answer | Ranked:
        """Run a search; Elasticsearch's own answer if that is all, or it refuses.

        Args:
            request: of the caller, with the path and query string of a ``_search``.
            index: of the path, percent-encoded; empty for all, or for a point in time.
            search: its parsed body.

        Raises:
            NoWindows: the search needs windows, and the index has none.
            OneImageOnly: it re-ranks by several images and not by windows.
            CamsearchError: the query cannot be described, or Elasticsearch cannot be reached.
        """
        clock = asyncio.get_running_loop().time
        started = clock()
        with self._metrics.stage("contract"):
            if search.body.get("pit") is not None:
                index = await self._indices.of_pit(request, search.body["pit"])
            await self._indices.check(request, index)
            by_windows = self._windows.reranks(search)
        with self._metrics.stage("describe"):
            queries = await self._describe(request, index, search)
        # The timeout covers re-ranking and expansion, too.
        limit = self._timeout_s if search.timeout is None else search.timeout
        boxed = search.in_windows and not search.ranks and shows_boxes(search)
        query = without(search.query, ("filter_path",)) if boxed else forwarded_query(search)
        asked = replace(request, query=on_one_copy(query, search))
        running = Running(asked, search, queries, started + limit, by_windows)
        with self._metrics.stage("first_search"):
            body = first_body(search, running.vectors())
            first = await self._ask(replace(asked, body=body))
        if first.status != HTTPStatus.OK:
            return first
        if not search.ranks:
            return await self._boxed(running, first) if boxed else first
        response = orjson.loads(first.body)
        running.found = by_key(response)
        await self._rank(running)
        if not running.found and response.get("timed_out"):
            running.warnings.append(_LATE)
        hits = await self._fitted(running, await self._hits(running))
        with self._metrics.stage("render"):
            took = round((clock() - started) * 1e3)
            answer = answer_of(search, response, hits, took)
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

    async def _rank(self, running: Running) -> None:
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

    async def _rerank(self, running: Running, rerank: Rerank) -> None:
        window = running.order[: rerank.window]
        self._metrics.window(len(window))
        if running.by_windows:
            await self._rerank_by_windows(running, window)
            return
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

    async def _rerank_by_windows(self, running: Running, window: list[Candidate[HitKey]]) -> None:
        keys = {c.key for c in window}
        try:
            async with asyncio.timeout_at(running.until):
                cosines = await self._compare(running, keys, running.own.descriptor)
        except TimeoutError:
            running.warnings.append(_LATE)
        except (UpstreamRefused, UpstreamUnreachable) as failed:
            running.warnings.append(f"{_NOT_COMPARED} {failed.reason}")
        else:
            running.order[: len(window)] = rescored(window, cosines)

    async def _compare(
        self, running: Running, keys: Collection[HitKey], vector: Float[Tensor, " D"]
    ) -> dict[HitKey, float]:
        array = vector.float().cpu().numpy()
        cosines = await self._windows.cosines(running.asked, keys, array)
        running.compared |= cosines.keys()
        return cosines

    async def _search_again(self, running: Running, expand: Expand) -> None:
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
            if running.by_windows and search.by_vectors_alone and not search.in_windows:
                await self._again_by_windows(running, again)
                return
            running.again = await self._found_again(
                running, again_body(search, running.vectors(again))
            )
        cosines = {key: running.cosine(hit) for key, hit in running.again.items()}
        remembers = settings.remember_regions and search.by_vectors_alone
        order = searched_again(running.order, cosines, again if remembers else None)
        running.order = order[: search.first_hits]

    async def _found_again(self, running: Running, body: bytes) -> dict[HitKey, FoundHit]:
        answer = await self._ask(replace(running.asked, body=body))
        if answer.status != HTTPStatus.OK:
            raise UpstreamRefused(_REFUSED_AGAIN, answer)
        return by_key(orjson.loads(answer.body))

    async def _again_by_windows(self, running: Running, again: Float[Tensor, " D"]) -> None:
        """As a gallery is searched by windows: whole images give 1,000 hits, windows decide.

        Raises:
            UpstreamRefused, UpstreamUnreachable: Elasticsearch does not answer it.
        """
        search, vectors = running.search, running.vectors(again)
        body = wide_body(search, vectors)
        found = by_key(await self._indices.search(running.asked, body, _REFUSED_AGAIN))
        cosines = {key: running.cosine(hit) for key, hit in found.items()}
        cosines |= await self._compare(running, found.keys(), again)
        order = searched_again(running.order, cosines, None)[: shown_at_most(search)]
        page = page_of(search, replace(running, again=found, order=order).hits())
        if page:
            ids = sorted({hit.key[1] for hit in page})
            shown = await self._found_again(running, documents_body(search, vectors, ids))
            found |= {key: hit for key, hit in {**running.found, **shown}.items() if key in found}
        running.again, running.order = found, order

    async def _hits(self, running: Running) -> list[RankedHit]:
        """The hits to answer, those of the page that were compared by windows with their boxes."""
        hits, search = running.hits(), running.search
        compared = None if search.in_windows else running.compared
        if search.image is None or (compared is not None and not compared):
            return hits
        if not shows_boxes(search):
            return hits
        vector = running.vectors()[search.image]
        try:
            with self._metrics.stage("boxes"):
                async with asyncio.timeout_at(running.until):
                    return await self._windows.with_boxes(
                        running.asked, search, hits, vector, compared
                    )
        except (TimeoutError, UpstreamUnreachable, UpstreamRefused):
            running.warnings.append(_NO_BOXES)
            return hits

    async def _boxed(self, running: Running, first: Answer) -> Answer:
        with self._metrics.stage("boxes"):
            vectors = running.vectors()
            return await self._windows.in_answer(running.asked, running.search, first, vectors)

    async def _fitted(self, running: Running, hits: list[RankedHit]) -> list[RankedHit]:
        """The hits, those of the page with boxes fitted to the object if that is asked for."""
        rerank, page = running.search.rerank, page_of(running.search, hits)
        known = {**running.found, **(running.again or {})}
        boxes = [(known[hit.key], hit.box) for hit in page if hit.box is not None]
        if rerank is None or not rerank.refine or not boxes:
            return hits
        try:
            with self._metrics.stage("boxes"):
                async with asyncio.timeout_at(running.until), self._gate.passed():
                    fitted = await refine_by_maps(self._matcher, running.own, boxes)
        except (TimeoutError, NotReranked) as failed:
            running.warnings.append(str(failed) or _NOT_FITTED)
            return hits
        return with_boxes(hits, fitted)
