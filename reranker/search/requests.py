"""Answer `_search` and `_msearch` requests with images, in Elasticsearch's format."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson

from descriptors.errors import CamsearchError
from reranker.dialect.answers import filtered
from reranker.dialect.msearch import merge_msearch, parse_msearch
from reranker.dialect.parsing import parse_search
from reranker.dialect.values import warning, written_json
from reranker.errors import DialectError, Overloaded
from reranker.http.error_answers import error_answer, refusal
from reranker.http.exchange import JSON, Answer, encoded_index
from reranker.http.headers import value_of
from reranker.http.paths import index_of, words_of
from reranker.search.running import Ranked

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reranker.dialect.msearch import MultiSearch, MultiSearchItem
    from reranker.dialect.searches import DialectLimits
    from reranker.http.exchange import Ask, Headers, Request
    from reranker.observability.metrics import Metrics
    from reranker.search.admission import RateLimit
    from reranker.search.search import VisualSearcher

__all__ = ["VisualRequests"]

_NOT_READ = (b"yaml", b"cbor", b"smile")
_MAX_QUOTED = 300


@dataclass(frozen=True)
class _OneOfSeveral:
    """The answer to one search of an `_msearch`; headers are Elasticsearch's, if any."""

    body: Mapping[str, Any]
    headers: Headers = ()
    warnings: tuple[str, ...] = ()


class VisualRequests:
    """Answers image searches; see `reranker.http.exchange.Visual`."""

    def __init__(
        self,
        searcher: VisualSearcher,
        ask: Ask,
        limits: DialectLimits,
        metrics: Metrics,
        rate: RateLimit,
    ) -> None:
        """Args: ask sends the searches of an ``_msearch`` that have no image."""
        self._searcher, self._ask, self._limits = searcher, ask, limits
        self._metrics, self._rate = metrics, rate

    async def __call__(self, request: Request) -> Answer | None:
        """The answer; None if the request is not an image search."""
        index = index_of(request.path)
        if words_of(request.path)[-1] == "_msearch":
            several = parse_msearch(request.body, request.query, self._limits, index)
            return None if several is None else await self._several(request, several)
        try:
            search = parse_search(request.body, request.query, self._limits)
            if search is None:
                return None
            self._rate.take(request)
            _check_media(request.headers)
            found = await self._searcher.search(request, encoded_index(index), search)
        except CamsearchError as error:
            self._count(error)
            raise
        self._count(found)
        if isinstance(found, Answer):
            return found
        body = written_json(filtered(found.answer, search.filter_path), pretty=search.pretty)
        return Answer(HTTPStatus.OK, _with_warnings(found.headers, found.warnings), body)

    async def _several(self, request: Request, several: MultiSearch) -> Answer:
        started = time.monotonic()
        _check_media(request.headers)
        ours = asyncio.gather(*(self._one(request, item) for item in several.items if item.is_ours))
        try:
            others = await self._others(request, several)
        except BaseException:
            await _ended(ours)
            raise
        if isinstance(others, Answer):
            await _ended(ours)
            return others
        of_us, of_them = iter(await ours), iter(others)
        answers = [next(of_us if item.is_ours else of_them) for item in several.items]
        took = round((time.monotonic() - started) * 1e3)
        body = merge_msearch(several, [one.body for one in answers], took)
        warnings = [text for one in answers for text in one.warnings]
        return Answer(HTTPStatus.OK, _with_warnings(_joined(answers), warnings), body)

    async def _one(self, request: Request, item: MultiSearchItem) -> _OneOfSeveral:
        """Answer one search of several; errors become answers."""
        try:
            if item.error is not None:
                raise item.error
            if item.search is None:
                raise ValueError("The item is not an image search.")
            self._rate.take(request)
            alone = replace(
                request,
                path=item.path,
                query=item.search.query,
                headers=tuple(_of_one(request.headers)),
            )
            found = await self._searcher.search(alone, encoded_index(item.index), item.search)
        except CamsearchError as error:
            self._count(error)
            return _OneOfSeveral(_with_status(refusal(error)))
        self._count(found)
        if isinstance(found, Answer):
            headers = found.headers if found.status == HTTPStatus.OK else ()
            return _OneOfSeveral(_with_status(found), headers)
        body = filtered(found.answer, item.search.filter_path)
        return _OneOfSeveral(body, found.headers, found.warnings)

    async def _others(self, request: Request, several: MultiSearch) -> list[_OneOfSeveral] | Answer:
        """The answers to searches without images; Elasticsearch's error if it refuses them all."""
        if not several.others:
            return []
        asked = replace(request, query=several.query, body=several.others)
        answer = await self._ask(asked)
        if answer.status != HTTPStatus.OK:
            return answer
        responses = orjson.loads(answer.body)["responses"]
        return [_OneOfSeveral(response, answer.headers) for response in responses]

    def _count(self, found: Answer | Ranked | CamsearchError) -> None:
        if isinstance(found, Overloaded):
            outcome = "overloaded"
        elif isinstance(found, CamsearchError):
            outcome = "refused"
        elif isinstance(found, Answer):
            outcome = "first_search" if found.status == HTTPStatus.OK else "refused"
        else:
            outcome = "warned" if found.warnings else "ranked"
        self._metrics.outcome(outcome)


def _with_warnings(headers: Headers, warnings: Iterable[str]) -> Headers:
    return (*headers, *((b"warning", warning(text)) for text in dict.fromkeys(warnings)))


async def _ended(running: asyncio.Future[Any]) -> None:
    """Cancel and await, since asyncio logs exceptions that are not retrieved."""
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


def _check_media(headers: Headers) -> None:
    accepted = (value_of(headers, b"accept") or b"*/*").lower()
    written = any(media in accepted for media in (b"json", b"*/*", b"application/*"))
    # Elasticsearch answers in the first accepted format that it supports.
    if not written or any(other in accepted for other in _NOT_READ):
        raise DialectError(
            f"[Accept: {accepted.decode('latin-1')[:80]}] is not supported by image searches: "
            "accept application/json."
        )


def _of_one(headers: Headers) -> Iterable[tuple[bytes, bytes]]:
    """The headers of an ``_msearch``, with the media type of a ``_search``."""
    for name, value in headers:
        lines = name == b"content-type" and b"ndjson" in value
        yield (name, value.replace(b"x-ndjson", b"json")) if lines else (name, value)


def _with_status(answer: Answer) -> dict[str, Any]:
    """An answer within an `_msearch`; a proxy in between may answer other than JSON."""
    try:
        body = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        body = None
    if not isinstance(body, dict):
        said = answer.body.decode("utf-8", "replace")[:_MAX_QUOTED]
        body = error_answer(answer.status, "status_exception", f"The answer is not JSON: {said}")
    return {**body, "status": answer.status}


def _joined(answers: Sequence[_OneOfSeveral]) -> Headers:
    """The headers of Elasticsearch's first answer, with the warnings of all."""
    told = [one.headers for one in answers if one.headers]
    first = tuple(pair for pair in (told[0] if told else JSON) if pair[0] != b"warning")
    each = dict.fromkeys(pair for headers in told for pair in headers if pair[0] == b"warning")
    return (*first, *each)
