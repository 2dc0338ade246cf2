"""``/``, a search page, and ``/docs``, a list of the endpoints."""

from __future__ import annotations

import secrets
from dataclasses import replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined

from descriptors.errors import CamsearchError
from reranker.endpoints.asking import asked_further
from reranker.http.exchange import encoded_index

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reranker.service import Service

__all__ = ["pages_router"]

_METHODS = ("get", "post", "put", "delete")


def pages_router(service: Service) -> APIRouter:
    """The HTML pages; they load nothing from other servers."""
    router = APIRouter(include_in_schema=False)
    pages = Environment(
        loader=PackageLoader("reranker.endpoints"), autoescape=True, undefined=StrictUndefined
    )

    @router.get("/")
    async def page(request: Request) -> Response:
        """A page to search by an image."""
        index = service.index
        nonce = secrets.token_urlsafe(16)
        said = {
            "index": index,
            "images": await _count(service, request, index),
            "method": service.method.fingerprint()[:16],
            "nonce": nonce,
            "address": str(request.base_url).rstrip("/"),
        }
        return _html(pages.get_template("page.html").render(said), nonce)

    @router.get("/docs")
    async def docs(request: Request) -> Response:
        """A list of the endpoints in openapi.json."""
        nonce = secrets.token_urlsafe(16)
        said = {"endpoints": list(_endpoints(request.app.openapi())), "nonce": nonce}
        return _html(pages.get_template("docs.html").render(said), nonce)

    return router


async def _count(service: Service, request: Request, index: str) -> int | None:
    """Number of images in the index; None if the caller may not read it."""
    asked = replace(asked_further(request), path=f"/{encoded_index(index)}/_count")
    try:
        answer = await service.upstream.ask(asked)
    except CamsearchError:
        return None
    if answer.status != HTTPStatus.OK:
        return None
    try:
        found = orjson.loads(answer.body).get("count")
    except orjson.JSONDecodeError:
        return None
    return found if isinstance(found, int) else None


def _endpoints(openapi: dict[str, Any]) -> Iterator[dict[str, str]]:
    for path, methods in openapi["paths"].items():
        for method in _METHODS:
            if method in methods:
                about = methods[method].get("description") or methods[method].get("summary", "")
                yield {"method": method.upper(), "path": path, "about": about}


def _html(text: str, nonce: str) -> Response:
    """A page that may only load from this server and run its own script."""
    allowed = (
        "default-src 'none'; img-src 'self' data: blob:; connect-src 'self'; "
        f"style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
    headers = {
        "content-security-policy": allowed,
        "cache-control": "no-store",
        "x-content-type-options": "nosniff",
        "referrer-policy": "no-referrer",
    }
    return HTMLResponse(text, headers=headers)
