"""Requests that name us, answered in Elasticsearch's shape: `_search` and `_msearch`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import orjson

from descriptors.errors import CamsearchError
from reranker.dialect.filter_path import filtered
from reranker.dialect.msearch import merge_msearch, parse_msearch
from reranker.dialect.parsing import parse_search
from reranker.dialect.wording import warning, written_json
from reranker.errors import DialectError, Overloaded
from reranker.exchange import Answer
from reranker.hop_headers import value_of
from reranker.reading_paths import words_of
from reranker.refusals import refusal
from reranker.visual_search import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterable

    from reranker.dialect.limits import DialectLimits
    from reranker.dialect.msearch import MultiSearch, MultiSearchItem
    from reranker.exchange import Headers, Request, Upstream
    from reranker.metrics import Metrics
    from reranker.visual_search import VisualSearcher

__all__ = ["VisualRequests"]

_OK = 200


class VisualRequests:
    """Implements `reranker.proxy.Visual`."""

    def __init__(
        self,
        searcher: VisualSearcher,
        upstream: Upstream,
        limits: DialectLimits,
        metrics: Metrics,
        version: str = "9.0.0",
    ) -> None:
        """Put the parts together.

        Args:
            searcher: answers one search.
            upstream: asked for those of an ``_msearch`` that do not name us.
            limits: of what a search may ask.
            metrics: where outcomes are counted.
            version: of Elasticsearch, as warnings say it.
        """
        self._searcher, self._upstream, self._limits = searcher, upstream, limits
        self._metrics, self._version = metrics, version

    async def __call__(self, request: Request) -> Answer | None:
        """The answer; None if the body does not name us after all."""
        words = words_of(request.path)
        index = unquote(words[0]) if len(words) > 1 else ""
        if words[-1] == "_msearch":
            several = parse_msearch(request.body, request.query, self._limits, index)
            return None if several is None else await self._several(request, several)
        try:
            search = parse_search(request.body, request.query, self._limits)
            if search is None:
                return None
            _check_media(request.headers)
            found = await self._searcher.search(request, _encoded(index), search)
        except CamsearchError as error:
            self._count(error)
            raise
        self._count(found)
        if isinstance(found, Answer):
            return found
        body = written_json(filtered(found.answer, search.filter_path), pretty=search.pretty)
        return Answer(_OK, self._headers(found.headers, found.warnings), body)

    async def _several(self, request: Request, several: MultiSearch) -> Answer:
        started = time.monotonic()
        _check_media(request.headers)
        warnings: list[str] = []
        ours = asyncio.gather(
            *(self._one(request, item, warnings) for item in several.items if item.is_ours)
        )
        try:
            others = await self._others(request, several)
        except BaseException:
            ours.cancel()
            raise
        if isinstance(others, Answer):
            ours.cancel()
            return others
        of_us, of_them = iter(await ours), iter(others)
        answers = [next(of_us if item.is_ours else of_them) for item in several.items]
        body = merge_msearch(several, answers, round((time.monotonic() - started) * 1e3))
        return Answer(_OK, self._headers(((b"content-type", b"application/json"),), warnings), body)

    async def _one(
        self, request: Request, item: MultiSearchItem, warnings: list[str]
    ) -> dict[str, Any]:
        """The answer to one search, as it stands among several; an error is one, too."""
        try:
            if item.error is not None:
                raise item.error
            if item.search is None:
                raise ValueError("A search that does not name us is not ours to answer.")
            alone = replace(
                request,
                path=item.path,
                query=item.search.query,
                headers=tuple(_of_one(request.headers)),
            )
            found = await self._searcher.search(alone, _encoded(item.index), item.search)
        except CamsearchError as error:
            self._count(error)
            answer: dict[str, Any] = orjson.loads(refusal(error).body)
            return answer
        self._count(found)
        if isinstance(found, Answer):
            answer = orjson.loads(found.body)
            return {**answer, "status": found.status}
        warnings.extend(found.warnings)
        return filtered(found.answer, item.search.filter_path)

    async def _others(
        self, request: Request, several: MultiSearch
    ) -> list[dict[str, Any]] | Answer:
        """The answers to those that do not name us; Elasticsearch's own if it refuses them all."""
        if not several.others:
            return []
        asked = replace(request, query=several.query, body=several.others)
        answer = await self._upstream.ask(asked)
        if answer.status != _OK:
            return answer
        responses: list[dict[str, Any]] = orjson.loads(answer.body)["responses"]
        return responses

    def _headers(self, headers: Headers, warnings: Iterable[str]) -> Headers:
        said = tuple((b"warning", warning(text, self._version)) for text in dict.fromkeys(warnings))
        return (*headers, *said)

    def _count(self, found: Answer | Ranked | CamsearchError) -> None:
        if isinstance(found, Overloaded):
            outcome = "overloaded"
        elif isinstance(found, CamsearchError):
            outcome = "refused"
        elif isinstance(found, Answer):
            outcome = "first_search" if found.status == _OK else "refused"
        else:
            outcome = "warned" if found.warnings else "ranked"
        self._metrics.searches.labels(outcome).inc()


def _encoded(index: str) -> str:
    return quote(index, safe=",*")


def _check_media(headers: Headers) -> None:
    accepted = value_of(headers, b"accept") or b"*/*"
    if b"json" not in accepted and b"*/*" not in accepted and b"application/*" not in accepted:
        raise DialectError(
            f"[Accept: {accepted.decode('latin-1')[:80]}] cannot be written for a search that names "
            "camsearch: accept application/json."
        )


def _of_one(headers: Headers) -> Iterable[tuple[bytes, bytes]]:
    """The headers of an ``_msearch``, of one search instead of lines of them."""
    for name, value in headers:
        lines = name == b"content-type" and b"ndjson" in value
        yield (name, value.replace(b"x-ndjson", b"json")) if lines else (name, value)
