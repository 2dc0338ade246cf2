"""``/explain``: what made a hit match."""

from __future__ import annotations

import asyncio
import base64
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response

from descriptors.errors import CamsearchError
from reranker.endpoints.asking import ERRORS, asked_further, body_of, response_of, too_large
from reranker.errors import Overloaded
from reranker.explain.explainer import Explained
from reranker.explain.requests import EXPLAIN_SCHEMA, read_explain_request
from reranker.http.bodies import BodyTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reranker.observability.metrics import Metrics
    from reranker.service import Service

__all__ = ["explain_router"]

_PNG = "image/png"


def explain_router(service: Service) -> APIRouter:
    """The endpoint that explains."""
    router = APIRouter(tags=["pictures"])
    most = service.settings.serve_most_body

    @router.post(
        "/explain",
        response_model=Explained,
        responses={
            200: {"content": {_PNG: {"schema": {"type": "string", "format": "binary"}}}},
            **ERRORS,
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": EXPLAIN_SCHEMA}},
            }
        },
    )
    async def explain(request: Request) -> Response:
        """The regions of a hit with their cosines, the query's classes, what each layer and channel
        adds, and a heat map; that alone with `Accept: image/png`.
        """  # noqa: D205 - a description for OpenAPI, which has no first line
        try:
            with _counted(service.metrics):
                found = await explained(request)
        except BodyTooLarge:
            return response_of(too_large(most))
        if _wants_png(request):
            return Response(base64.b64decode(found.heat_map), media_type=_PNG)
        return Response(found.model_dump_json(), media_type="application/json")

    async def explained(request: Request) -> Explained:
        asked_as = asked_further(request)
        service.rate.take(asked_as)
        body = await body_of(request, most)
        asked = await asyncio.to_thread(read_explain_request, body, service.limits)
        with service.metrics.explains.time():
            return await service.explainer.explain(asked_as, asked)

    return router


@contextmanager
def _counted(metrics: Metrics) -> Iterator[None]:
    try:
        yield
    except Overloaded:
        metrics.explained("overloaded")
        raise
    except (CamsearchError, BodyTooLarge):
        metrics.explained("refused")
        raise
    metrics.explained("explained")


def _wants_png(request: Request) -> bool:
    kinds = [kind.split(";")[0].strip() for kind in request.headers.get("accept", "").split(",")]
    return _PNG in kinds and "application/json" not in kinds
