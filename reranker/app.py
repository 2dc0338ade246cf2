"""Our own endpoints, below ``/_camsearch``, and the whole as one ASGI application."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from fastapi import FastAPI

from reranker.proxy import Proxy, ProxySettings
from reranker.routes import router_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

    from reranker.service import Service

__all__ = ["make_app"]


def make_app(service: Service) -> ASGIApp:
    """What uvicorn serves: the proxy, and our own endpoints beside it."""
    settings = service.settings

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.parts.upstream.close()

    own = FastAPI(
        title="camsearch",
        summary="Visual instance search for Elasticsearch.",
        docs_url="/_camsearch/docs",
        openapi_url="/_camsearch/openapi.json",
        redoc_url=None,
        lifespan=lifespan,
    )
    own.include_router(router_of(service), prefix="/_camsearch")
    return Proxy(
        service.parts.upstream,
        own,
        service.visual,
        ProxySettings(settings.serve_read_only, settings.serve_most_body),
    )
