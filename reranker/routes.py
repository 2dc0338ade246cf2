"""Our own endpoints."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import APIRouter

if TYPE_CHECKING:
    from reranker.service import Service

__all__ = ["router_of"]


def router_of(service: Service) -> APIRouter:
    """The endpoints of a service."""
    router = APIRouter()

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        """Whether this process answers at all."""
        return {"status": "live"}

    return router
