"""``/vector`` and ``/rank``: single steps of a search, with the caller's credentials."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from reranker.dialect.answers import score_of
from reranker.dialect.endpoints import (
    RANK_SCHEMA,
    VECTOR_SCHEMA,
    read_rank_request,
    read_vector_request,
)
from reranker.dialect.values import written_json
from reranker.dialect.windows import window_levels
from reranker.endpoints.asking import ERRORS, asked_further, body_of, counted, response_of
from reranker.http.caller import Caller
from reranker.http.exchange import JSON, Answer, encoded_index

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from reranker.dialect.searches import DialectLimits
    from reranker.http.exchange import Request as FurtherRequest
    from reranker.search.steps import Compared
    from reranker.service import Service

__all__ = ["steps_router"]

# Clients of Elasticsearch refuse answers without the first.
_HEADERS = ((b"x-elastic-product", b"Elasticsearch"), *JSON)
_VERSION = 1


class Stepped(BaseModel):
    """`version` is that of this answer's form; vectors of another `fingerprint` do not compare."""

    version: Literal[1]
    fingerprint: str


class Vector(Stepped):
    """A query vector.

    `vector` is a unit vector for the field `descriptor`; `window_vector` is the same as whole
    numbers for `regions.vector`, and absent if the method has no windows.
    """

    dims: int
    vector: list[float]
    window_vector: list[int] | None = None


class Ranked(Stepped):
    """Compared hits.

    `scores` are (1 + cosine) / 2 of the best region, `boxes` that region in pixels of the hit, both
    by id; a hit without a region that is large enough has neither. `missing` could not be compared.
    """

    scores: dict[str, float]
    boxes: dict[str, list[float]]
    missing: list[str]


def steps_router(service: Service) -> APIRouter:
    """The endpoints for programs that run the other steps of a search themselves."""
    router = APIRouter(tags=["steps"])
    steps, same = service.steps, {"version": _VERSION, "fingerprint": service.method.fingerprint()}
    has_windows = service.method.settings.windows > 0

    @router.post("/vector", **_documented(Vector, VECTOR_SCHEMA))
    async def vector(request: Request) -> Response:
        """The vector of a new image, to search with in Elasticsearch itself."""
        found = await _stepped(request, service, "vector", read_vector_request, steps.describe)
        levels = {"window_vector": window_levels(found)} if has_windows else {}
        return _answered({**same, "dims": len(found), "vector": found, **levels})

    @router.post("/rank", **_documented(Ranked, RANK_SCHEMA))
    async def rank(request: Request) -> Response:
        """Compare hits with an image by their feature maps: a score and a box for each."""
        found = await _stepped(request, service, "rank", read_rank_request, steps.compare)
        return _answered({**same, **_scores_and_boxes(found), "missing": found.missing})

    return router


def _documented(answer: type[BaseModel], body: dict[str, Any]) -> dict[str, Any]:
    content = {"application/json": {"schema": body}}
    return {
        "response_model": answer,
        "responses": ERRORS,
        "openapi_extra": {"requestBody": {"required": True, "content": content}},
    }


async def _stepped(
    request: Request,
    service: Service,
    endpoint: str,
    read: Callable[[bytes, DialectLimits], Any],
    run: Callable[[FurtherRequest, str, Any], Awaitable[Any]],
) -> Any:
    """Read a request and run its step, which ends when the caller disconnects.

    Args:
        request: of the caller.
        service: its rate limit, limits and metrics apply.
        endpoint: for the metrics.
        read: parses the body.
        run: takes the caller's request to Elasticsearch, the index, and what `read` returns.
    """
    with counted(partial(service.metrics.step, endpoint), "answered"):
        asked_as = asked_further(request)
        service.rate.take(asked_as)
        body = await body_of(request, service.settings.serve_max_body)
        asked = await asyncio.to_thread(read, body, service.limits)
        async with Caller(request.receive, body).watched():
            return await run(asked_as, encoded_index(asked.index or service.index), asked)


def _scores_and_boxes(found: Compared) -> dict[str, Any]:
    matches = {i: match for i, match in found.matches.items() if match is not None}
    return {
        "scores": {i: score_of(match.score) for i, match in matches.items()},
        "boxes": {i: match.box.as_list() for i, match in matches.items()},
    }


def _answered(value: dict[str, Any]) -> Response:
    return response_of(Answer(200, _HEADERS, written_json(value)))
