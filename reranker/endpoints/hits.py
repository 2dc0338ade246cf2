"""``/explain``: why a hit matched; ``/thumbnails/{id}``. Both use the caller's credentials."""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.convertors import StringConvertor, register_url_convertor

from reranker.dialect.endpoints import EXPLAIN_SCHEMA, read_explain_request, read_index
from reranker.endpoints.asking import ERRORS, asked_further, body_of, counted
from reranker.explain.explainer import Explained

if TYPE_CHECKING:
    from reranker.service import Service

__all__ = ["hits_router"]

_PNG = "image/png"
_BINARY = {"type": "string", "format": "binary"}
# Browsers cache for an hour; shared caches must not, since access depends on the caller.
_KEPT = "private, max-age=3600"
_UNCHANGED = 304


class _AnyId(StringConvertor):
    """An id with slashes and line breaks; Starlette's ``path`` stops at a line break."""

    regex = "(?s:.*)"


register_url_convertor("any_id", _AnyId())


def hits_router(service: Service) -> APIRouter:
    """The endpoints about single hits."""
    router = APIRouter(tags=["images"])
    _add_explain(router, service)
    _add_thumbnails(router, service)
    return router


def _add_explain(router: APIRouter, service: Service) -> None:
    most = service.settings.serve_max_body

    @router.post(
        "/explain",
        response_model=Explained,
        responses={
            200: {"content": {_PNG: {"schema": _BINARY}}},
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
        with counted(service.metrics.explained, "explained"):
            asked_as = asked_further(request)
            service.rate.take(asked_as)
            body = await body_of(request, most)
            asked = await asyncio.to_thread(read_explain_request, body, service.limits)
            with service.metrics.explains.time():
                found = await service.explainer.explain(asked_as, asked)
        if _wants_png(request):
            return Response(base64.b64decode(found.heat_map), media_type=_PNG)
        return Response(found.model_dump_json(), media_type="application/json")


def _add_thumbnails(router: APIRouter, service: Service) -> None:
    @router.get(
        "/thumbnails/{image_id:any_id}",
        response_class=Response,
        responses={
            200: {"description": "A JPEG.", "content": {"image/jpeg": {"schema": _BINARY}}},
            _UNCHANGED: {"description": "The caller has the current image."},
            **ERRORS,
        },
    )
    async def thumbnail(
        request: Request,
        image_id: str,
        index: Annotated[str | None, Query(description="of the document")] = None,
        size: Annotated[int, Query(ge=16, le=2048, description="of the longer side")] = 320,
    ) -> Response:
        """A document's image as a small, upright JPEG.

        The id may contain slashes, encoded or not.
        """
        where = service.index if index is None else read_index(index)
        image = await service.files.find(asked_further(request), where, image_id)
        tag = f'"{image.digest[:32]}-{size}"'
        headers = {"etag": tag, "cache-control": _KEPT, "vary": "authorization"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=_UNCHANGED, headers=headers)
        file = await service.files.small(image, size)
        return Response(file, headers=headers, media_type="image/jpeg")


def _wants_png(request: Request) -> bool:
    kinds = [kind.split(";")[0].strip() for kind in request.headers.get("accept", "").split(",")]
    return _PNG in kinds and "application/json" not in kinds
