"""``/health/live``, ``/health/ready`` and ``/metrics``."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import BaseModel

from reranker.search.readiness import Check

if TYPE_CHECKING:
    from reranker.service import Service

__all__ = ["health_router"]

_READY, _NOT_READY = HTTPStatus.OK, HTTPStatus.SERVICE_UNAVAILABLE


class Live(BaseModel):
    """The process is running."""

    status: str


class Ready(BaseModel):
    """Whether image searches can be answered, and with which method."""

    status: str
    checks: list[Check]
    fingerprint: str
    weights: str
    whitening: str


def health_router(service: Service) -> APIRouter:
    """The endpoints for probes."""
    router = APIRouter(tags=["operations"])
    method = service.method
    fingerprint, weights = method.fingerprint(), method.encoder.loaded.weights_digest
    whitening = method.whitening.digest()

    @router.get("/health/live")
    async def live() -> Live:
        """Whether the process is running."""
        return Live(status="live")

    @router.get(
        "/health/ready",
        response_model=Ready,
        responses={_NOT_READY: {"description": "Not now.", "model": Ready}},
    )
    async def ready() -> Response:
        """Whether image searches can be answered, and the result of each check."""
        checks = await service.readiness.checks()
        passed = all(check.passed for check in checks)
        found = Ready(
            status="ready" if passed else "not ready",
            checks=list(checks),
            fingerprint=fingerprint,
            weights=weights,
            whitening=whitening,
        )
        return JSONResponse(found.model_dump(), _READY if passed else _NOT_READY)

    @router.get(
        "/metrics",
        response_class=Response,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
    )
    async def metrics() -> Response:
        """Counters for Prometheus."""
        return Response(
            service.metrics.exposition(), headers={"content-type": CONTENT_TYPE_PLAIN_0_0_4}
        )

    return router
