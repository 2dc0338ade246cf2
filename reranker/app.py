"""The server as one ASGI application: the proxy, and its endpoints below ``/_camsearch``."""

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
from reranker.endpoints.steps import steps_router
from reranker.observability.observed import ObservedApp, ObservedVisual
from reranker.proxy.proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import ASGIApp

    from reranker.service import Service

__all__ = ["make_app"]

# Response headers that pages of other origins may read.
_EXPOSED_HEADERS = (
    "warning",
    "x-request-id",
    "x-opaque-id",
    "x-elastic-product",
    "retry-after",
    "etag",
)


def make_app(service: Service) -> ASGIApp:
    """Build the application that uvicorn serves."""
    settings = service.settings
    proxy = Proxy(
        service.upstream,
        ObservedApp(_own_endpoints(service), service.tracing),
        ObservedVisual(service.visual, service.tracing),
        settings,
        service.metrics.forwarded,
    )
    return _with_cors(proxy, settings.serve_cors)


def _own_endpoints(service: Service) -> FastAPI:
    """Build the application that serves ``/_camsearch``."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await service.upstream.close()

    own = FastAPI(
        title="camsearch",
        summary="Visual instance search for Elasticsearch.",
        version=version("camsearch"),
        # FastAPI's page loads scripts from a CDN; `endpoints/pages.py` has one that does not.
        docs_url=None,
        redoc_url=None,
        openapi_url="/_camsearch/openapi.json",
        lifespan=lifespan,
        redirect_slashes=False,
    )
    for router_of in (pages_router, health_router, hits_router, steps_router):
        own.include_router(router_of(service), prefix="/_camsearch")
    answer_errors(own)
    return own


def _with_cors(app: ASGIApp, origins: str) -> ASGIApp:
    """Add CORS for these origins, separated by commas.

    Convention:
        Applies to every path, and replaces Elasticsearch's own CORS headers. Cookies are not
        allowed: a page sends an API key in ``Authorization``.
    """
    listed = [origin.strip() for origin in origins.split(",") if origin.strip()]
    if not listed:
        return app
    return CORSMiddleware(
        app,
        allow_origins=listed,
        allow_methods=["GET", "HEAD", "POST"],
        allow_headers=["authorization", "content-type", "x-opaque-id", "x-request-id"],
        expose_headers=_EXPOSED_HEADERS,
    )
