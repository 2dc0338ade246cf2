"""``/explain``: what made a hit match."""

from __future__ import annotations

import asyncio
import base64
from contextlib import contextmanager
from typing import TYPE_CHECKING

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from descriptors.arrays import Size
from descriptors.classes import class_names
from descriptors.errors import CamsearchError
from reranker.endpoints.asking import ERRORS, asked_further, body_of, response_of, too_large
from reranker.errors import Overloaded
from reranker.explain.hit_files import heat_png
from reranker.explain.requests import EXPLAIN_SCHEMA, read_explain_request
from reranker.http.bodies import BodyTooLarge

if TYPE_CHECKING:
    from collections.abc import Iterator

    from reranker.explain.contributions import LayerPart
    from reranker.explain.explainer import Explanation
    from reranker.observability.metrics import Metrics
    from reranker.service import Service

__all__ = ["explain_router"]

_PNG = "image/png"


class TriedRegion(BaseModel):
    """A region that was compared with the query."""

    box: list[float]
    cosine: float


class NamedClass(BaseModel):
    """A class that the query was described with; `probability_in_hit` is the hit's, as a whole."""

    number: int
    name: str | None
    probability_in_hit: float


class NamedChannel(BaseModel):
    """A channel's summand of the product of the class vectors, before whitening."""

    channel: int
    product: float
    share: float


class NamedLayer(BaseModel):
    """A layer's part of `cosine`, exact, and the channels with the largest products."""

    name: str
    cosine: float
    channels: list[NamedChannel]


class Explained(BaseModel):
    """What made a hit match."""

    id: str
    score: float | None
    cosine: float | None
    first_cosine: float | None
    box: list[float] | None
    width: int
    height: int
    regions: list[TriedRegion]
    classes: list[NamedClass]
    layers: list[NamedLayer]
    heat_map: str


def explain_router(service: Service) -> APIRouter:
    """The endpoint that explains."""
    router = APIRouter(tags=["pictures"])
    most = service.settings.serve_most_body
    names = _names(len(service.method.encoder.weight))

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
                found, png = await explained(request)
        except BodyTooLarge:
            return response_of(too_large(most))
        if _wants_png(request):
            return Response(png, media_type=_PNG)
        answer = _explained(found, names, png)
        return Response(answer.model_dump_json(), media_type="application/json")

    async def explained(request: Request) -> tuple[Explanation, bytes]:
        """What made the hit match, and its heat map as a PNG."""
        asked_as = asked_further(request)
        service.rate.take(asked_as)
        body = await body_of(request, most)
        asked = await asyncio.to_thread(read_explain_request, body, service.limits)
        with service.metrics.explains.time():
            found = await service.explainer.explain(asked_as, asked)
            image = await service.files.large(found.picture)
            size = Size(found.picture.width, found.picture.height)
            return found, await asyncio.to_thread(heat_png, found.heat, size, image, found.box)

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


def _explained(found: Explanation, names: tuple[str, ...] | None, png: bytes) -> Explained:
    return Explained(
        id=found.picture.id,
        score=None if found.score is None else (1 + found.score) / 2,
        cosine=found.score,
        first_cosine=found.first_score,
        box=None if found.box is None else found.box.as_list(),
        width=found.picture.width,
        height=found.picture.height,
        regions=[TriedRegion(box=box.as_list(), cosine=score) for box, score in found.tried],
        classes=[
            NamedClass(
                number=one.number,
                name=None if names is None else names[one.number],
                probability_in_hit=one.in_hit,
            )
            for one in found.classes
        ],
        layers=[_layer(layer) for layer in found.layers],
        heat_map=base64.b64encode(png).decode("ascii"),
    )


def _layer(layer: LayerPart) -> NamedLayer:
    channels = [
        NamedChannel(channel=one.channel, product=one.product, share=one.share)
        for one in layer.channels
    ]
    return NamedLayer(name=layer.name, cosine=layer.cosine, channels=channels)


def _names(classes: int) -> tuple[str, ...] | None:
    """ImageNet's names, where the network may know ImageNet's classes."""
    names = class_names()
    return names if len(names) == classes else None


def _wants_png(request: Request) -> bool:
    kinds = [kind.split(";")[0].strip() for kind in request.headers.get("accept", "").split(",")]
    return _PNG in kinds and "application/json" not in kinds
