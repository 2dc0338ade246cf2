"""The whole as one ASGI application: the proxy, and our own endpoints below ``/_camsearch``."""

from __future__ import annotations

from contextlib import asynccontextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

from reranker.endpoints.asking import answer_errors
from reranker.endpoints.health import health_router
from reranker.endpoints.hits import hits_router
from reranker.endpoints.pages import pages_router
from reranker.observability.observed import ObservedApp, ObservedVisual
from reranker.proxy.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

    from reranker.service import Service

__all__ = ["make_app", "own_endpoints"]

# What a page of another origin may see of an answer.
_SHOWN = ("warning", "x-request-id", "x-opaque-id", "x-elastic-product", "retry-after", "etag")


def make_app(service: Service) -> ASGIApp:
    """What uvicorn serves: the proxy, and our own endpoints beside it."""
    settings = service.settings
    proxy = Proxy(
        service.upstream,
        ObservedApp(own_endpoints(service), service.tracing),
        ObservedVisual(service.visual, service.tracing),
        settings,
        service.metrics.forwarded,
    )
    return _shared_with_origins(proxy, settings.serve_cors)


def own_endpoints(service: Service) -> FastAPI:
    """What stands below ``/_camsearch``."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.upstream.close()

    own = FastAPI(
        title="camsearch",
        summary="Visual instance search for Elasticsearch.",
        version=version("camsearch"),
        # FastAPI's own page loads scripts from elsewhere; ours is among the pages.
        docs_url=None,
        redoc_url=None,
        openapi_url="/_camsearch/openapi.json",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    for router in (pages_router(service), health_router(service), hits_router(service)):
        own.include_router(router, prefix="/_camsearch")
    answer_errors(own)
    return own


def _shared_with_origins(app: ASGIApp, origins: str) -> ASGIApp:
    """The application for pages of these origins, too.

    Convention:
        The whole of it, searches and what is passed through: a page that may not call `_search`
        has no use for the rest. Elasticsearch's own CORS headers are replaced. Credentials that a
        browser sends by itself are not allowed; a page that has an API key sends it by name.
    """
    listed = [origin.strip() for origin in origins.split(",") if origin.strip()]
    if not listed:
        return app
    return CORSMiddleware(
        app,
        allow_origins=listed,
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["authorization", "content-type", "x-opaque-id", "x-request-id"],
        expose_headers=_SHOWN,
    )
