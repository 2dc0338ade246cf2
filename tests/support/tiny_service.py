"""The whole proxy over a folder of made images and the tiny network, asked within the process."""

from __future__ import annotations

import asyncio
import base64
import functools
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx

from descriptors.errors import CamsearchError
from descriptors.images import ImageLimits
from descriptors.settings import RegionSettings
from galleries.features import FeatureStore
from galleries.local import LocalGallery
from indexer.addresses import read_source
from indexer.encoding import encode_documents
from indexer.pipeline import index_sources
from indexer.reading import IndexingPlan
from indexer.sources import Source
from reranker.app import make_app
from reranker.folder import LocalUpstream
from reranker.http.exchange import Answer, Request
from reranker.matching import Matcher
from reranker.service import ImageFiles, Service
from reranker.settings import RerankerSettings
from tests.support.images import encoded, shapes
from tests.support.tiny_network import tiny_method

if TYPE_CHECKING:
    from collections.abc import Iterator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from reranker.observability.tracing import Tracing

__all__ = ["REGIONS", "Watched", "ask", "image_text", "make_gallery", "re_ranked", "tiny_service"]

COUNT = 6
REGIONS = RegionSettings(n_classes=3, min_side=16)
_METHOD = tiny_method()


@dataclass
class Watched:
    """An upstream that notes what it is asked, and may answer or fail in the other's place."""

    inner: LocalUpstream
    asked: list[Request] = field(default_factory=list)
    instead: dict[str, Answer | CamsearchError] = field(default_factory=dict)
    slow_s: float = 0.0
    slow_at: str = ""  # a part of the paths that are slow

    async def close(self) -> None:
        await self.inner.close()

    async def ask(self, request: Request) -> Answer:
        self.asked.append(request)
        await asyncio.sleep(self.slow_s if self.slow_at in request.path else 0)
        for part, answer in self.instead.items():
            if part in request.path:
                if isinstance(answer, CamsearchError):
                    raise answer
                return answer
        return await self.inner.ask(request)

    async def forward(self, scope: Scope, receive: Receive, send: Send, body: bytes | None) -> None:
        await self.inner.forward(scope, receive, send, body)


def make_gallery(folder: Path) -> None:
    """Images `0/a.png`, `1/a.png`, …, their documents and maps; ids with slashes."""
    sources = []
    for i in range(COUNT):
        path = folder / str(i) / "a.png"
        path.parent.mkdir()
        path.write_bytes(encoded(shapes(96, 64, seed=i, count=4)))
        sources.append(Source(f"{i}/a.png", str(path), {}))
    store = FeatureStore(str(folder / "maps"), _METHOD.fingerprint())
    dims, fingerprint = _METHOD.settings.dims, _METHOD.fingerprint()
    with LocalGallery.create(folder / "gallery", dims, fingerprint, {}) as gallery:
        index_sources(sources, _METHOD, gallery, store)
    store.close()


@contextmanager
def tiny_service(
    folder: Path,
    tracing: Tracing | None = None,
    parts: dict[str, Any] | None = None,
    **settings: Any,
) -> Iterator[Service]:
    """A service over what `make_gallery` made; its upstream is `Watched`."""
    plan, limits = IndexingPlan(batch_size=4, readers=1), ImageLimits()
    with LocalGallery.open(folder / "gallery") as gallery:
        given: dict[str, Any] = {
            "upstream": Watched(LocalUpstream(gallery)),
            "features": FeatureStore(str(folder / "maps"), _METHOD.fingerprint()),
            "encode": lambda images: encode_documents(images, _METHOD, plan),
            "read": lambda uri: read_source(uri, limits),
        } | (parts or {})
        made = RerankerSettings(**settings)
        matcher = Matcher(
            _METHOD, given["features"], REGIONS, given["encode"], made.serve_max_encoded
        )
        files = ImageFiles(limits, given.get("fetch"), given["read"])
        with closing(
            Service(matcher, given["upstream"], files, made, given.get("index", "images"), tracing)
        ) as service:
            yield service


def ask(of: Service | ASGIApp, method: str, path: str, **said: Any) -> httpx.Response:
    """One request, in a loop of its own."""
    app = _app(of) if isinstance(of, Service) else of

    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(app, raise_app_exceptions=True)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.request(method, path, **said)

    return asyncio.run(asked())


@functools.lru_cache(maxsize=4)
def _app(service: Service) -> ASGIApp:
    return make_app(service)


def image_text(folder: Path, number: int = 0) -> str:
    """An image of the gallery as a request holds it."""
    return base64.b64encode((folder / str(number) / "a.png").read_bytes()).decode()


def re_ranked(image: dict[str, Any], size: int = 3) -> dict[str, Any]:
    """The body of a re-ranked search."""
    builder = {"camsearch": {"image": image}}
    knn = {"field": "descriptor", "k": 6, "num_candidates": 9, "query_vector_builder": builder}
    return {
        "size": size,
        "retriever": {"camsearch": {"retriever": {"knn": knn}, "rerank": {"by": "maps"}}},
    }
