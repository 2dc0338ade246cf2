"""``/thumbnails/{id}``: pictures of hits, small, with the rights of who asks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.convertors import StringConvertor, register_url_convertor

from reranker.endpoints.asking import ERRORS, asked_further
from reranker.explain.requests import read_index

if TYPE_CHECKING:
    from reranker.service import Service

__all__ = ["thumbnails_router"]

# A browser may show it again without asking for an hour; a store between us and it keeps none, since
# rights are the caller's.
_KEPT = "private, max-age=3600"
_UNCHANGED = 304


class _AnyId(StringConvertor):
    """An id with slashes and line ends: Starlette's own ``path`` stops at a line's end."""

    regex = "(?s:.*)"


register_url_convertor("any_id", _AnyId())


def thumbnails_router(service: Service) -> APIRouter:
    """The endpoint of thumbnails."""
    router = APIRouter(tags=["pictures"])

    @router.get(
        "/thumbnails/{image_id:any_id}",
        response_class=Response,
        responses={
            200: {"description": "A JPEG.", "content": {"image/jpeg": {"schema": _BINARY}}},
            _UNCHANGED: {"description": "The caller has it already."},
            **ERRORS,
        },
    )
    async def thumbnail(
        request: Request,
        image_id: str,
        index: Annotated[str | None, Query(description="where the document is")] = None,
        size: Annotated[int, Query(ge=16, le=2048, description="of the longer side")] = 320,
    ) -> Response:
        """A document's picture as a small JPEG, upright.

        The id may hold slashes, encoded or not.
        """
        where = service.index if index is None else read_index(index)
        picture = await service.files.find(asked_further(request), where, image_id)
        tag = f'"{picture.digest[:32]}-{size}"'
        headers = {"etag": tag, "cache-control": _KEPT, "vary": "authorization"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=_UNCHANGED, headers=headers)
        file = await service.files.small(picture, size)
        return Response(file, headers=headers, media_type="image/jpeg")

    return router


_BINARY = {"type": "string", "format": "binary"}
