"""``/``, a search page with the files in ``page/``, and ``/docs``, a list of the endpoints."""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import replace
from http import HTTPStatus
from importlib.resources import files
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.exceptions import HTTPException

from descriptors.errors import CamsearchError
from reranker.endpoints.asking import asked_further
from reranker.http.exchange import encoded_index

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reranker.service import Service

__all__ = ["pages_router"]

_KINDS = {".js": "text/javascript", ".css": "text/css"}
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
        }
        return _html(pages.get_template("page.html").render(said), nonce)

    served = _page_files()

    @router.get("/page/{name}")
    async def page_file(request: Request, name: str) -> Response:
        """A module or style sheet of the page."""
        if name not in served:
            raise HTTPException(HTTPStatus.NOT_FOUND)
        body, kind, tag = served[name]
        headers = {"etag": tag, "cache-control": "no-cache", "x-content-type-options": "nosniff"}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return Response(body, headers=headers, media_type=kind)

    @router.get("/docs")
    async def docs(request: Request) -> Response:
        """A list of the endpoints in openapi.json."""
        nonce = secrets.token_urlsafe(16)
        said = {"endpoints": list(_endpoints(request.app.openapi())), "nonce": nonce}
        return _html(pages.get_template("docs.html").render(said), nonce)

    return router


def _page_files() -> dict[str, tuple[bytes, str, str]]:
    """Content, media type and ETag of each file of the page, by name."""
    found = {}
    for file in files("reranker.endpoints").joinpath("page").iterdir():
        kind = _KINDS.get(PurePath(file.name).suffix)
        if kind is not None:
            body = file.read_bytes()
            found[file.name] = (body, kind, f'"{hashlib.sha256(body).hexdigest()[:32]}"')
    return found


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
    """A page that may only load from this server and run its own scripts.

    A script with the nonce may import modules, but nothing that Elasticsearch stores can run.
    """
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
