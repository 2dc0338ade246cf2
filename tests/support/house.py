"""A gallery of made images with all that answers searches in it, on the tiny network."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from descriptors.images import ImageLimits, RgbImage, read_image
from descriptors.method import Method
from descriptors.settings import RegionSettings
from galleries.features import FeatureStore
from galleries.local import LocalGallery
from indexer.pipeline import index_sources
from indexer.sources import Source
from reranker.folder import LocalUpstream
from reranker.http.exchange import Answer, Headers, Request, Upstream
from reranker.matching import Matcher
from reranker.service import ImageFiles, Service
from reranker.settings import RerankerSettings
from tests.support.images import encoded, shapes
from tests.support.tiny_network import tiny_method

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

COUNT = 21
KNN = {"field": "descriptor", "k": COUNT, "num_candidates": COUNT}
SIZES = ((64, 48), (48, 64), (120, 120))
# Regions small enough for working sizes of 64 pixels, and no more classes than the network has.
REGIONS = RegionSettings(n_classes=3, min_side=16)
JSON: Headers = ((b"content-type", b"application/json"), (b"accept", b"application/json"))

Turn = Callable[[Request], Answer | Exception | float | Callable[[Answer], Answer] | None]


@dataclass(frozen=True)
class House:
    """Images 00.png … in a folder, every third in Köln, and their gallery."""

    root: Path
    method: Method
    gallery: LocalGallery

    @classmethod
    @contextmanager
    def built(cls, root: Path) -> Iterator[House]:
        """Indexed once; its files may be read by many."""
        method, sources = tiny_method(), []
        for i in range(COUNT):
            path = root / f"{i:02d}.png"
            path.write_bytes(encoded(shapes(*SIZES[i % 3], seed=i, count=4)))
            city = "Köln" if i % 3 == 0 else "Bonn"
            sources.append(Source(f"{i:02d}", str(path), {"city": city}))
        about = {"method": method.settings.model_dump(mode="json")}
        gallery = LocalGallery.create(
            root / "gallery", method.settings.dims, method.fingerprint(), about
        )
        house = cls(root, method, gallery)
        store = house.store()
        with house.gallery:
            assert index_sources(sources, method, house.gallery, store).indexed == COUNT
            store.close()
            yield house

    def store(self, name: str = "maps") -> FeatureStore:
        """Kept maps, the caller's to close; there are none under another name."""
        return FeatureStore(str(self.root / name), self.method.fingerprint())

    def data(self, number: int) -> bytes:
        """The bytes of an image's file."""
        return (self.root / f"{number:02d}.png").read_bytes()

    def rgb_image(self, number: int) -> RgbImage:
        """An image as it is described."""
        return read_image(self.data(number))

    def image(self, number: int) -> dict[str, Any]:
        """An image as a search has it."""
        return {"data": base64.b64encode(self.data(number)).decode()}

    @contextmanager
    def service(
        self, upstream: Upstream | None = None, *, settings: Mapping[str, Any] = {}, **said: Any
    ) -> Iterator[Service]:
        """Over the gallery, or another upstream; `said` are parts of matcher and files."""
        parts: dict[str, Any] = {
            "features": self.store(),
            "regions": REGIONS,
            "encode": None,
        } | said
        made = RerankerSettings(**settings)
        matcher = Matcher(
            self.method,
            parts["features"],
            parts["regions"],
            parts["encode"],
            made.serve_max_encoded,
        )
        files = ImageFiles(parts.get("limits", ImageLimits()), parts.get("fetch"))
        with closing(
            Service(matcher, upstream or LocalUpstream(self.gallery), files, made)
        ) as service:
            yield service


@dataclass
class Scripted:
    """An upstream that notes what it is asked, says what it is told to, and else asks another.

    `turn` gives an answer, an error to raise, seconds to wait before the other is asked, what to
    make of the other's answer, or None.
    """

    other: Upstream | None = None
    turn: Turn = lambda request: None
    asked: list[Request] = field(default_factory=list)

    async def ask(self, request: Request) -> Answer:
        self.asked.append(request)
        told = self.turn(request)
        if isinstance(told, Exception):
            raise told
        if isinstance(told, Answer):
            return told
        if isinstance(told, float):
            await asyncio.sleep(told)
        if self.other is None:
            raise AssertionError(f"Nobody answers {request}.")
        answer = await self.other.ask(request)
        return told(answer) if callable(told) else answer

    async def forward(self, scope: Scope, receive: Receive, send: Send, body: bytes | None) -> None:
        raise AssertionError("Nothing is passed through here.")

    async def close(self) -> None:
        """Nothing to end."""

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """Of the searches, in their order."""
        return [orjson.loads(one.body) for one in self.asked if one.path.endswith("_search")]


def said(body: object, status: int = 200, *headers: tuple[bytes, bytes]) -> Answer:
    """An answer of Elasticsearch."""
    return Answer(status, headers or ((b"content-type", b"application/json"),), orjson.dumps(body))


def answered(
    service: Service, body: Mapping[str, Any], path: str = "/images/_search", query: str = ""
) -> tuple[dict[str, Any], list[str]]:
    """A search's answer and its warnings."""
    request = Request("POST", path, query, JSON, orjson.dumps(body))
    answer = asyncio.run(service.visual(request))
    assert answer is not None
    assert answer.status == 200, answer.body
    warnings = [value.decode() for name, value in answer.headers if name == b"warning"]
    return orjson.loads(answer.body), warnings


def first(image: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A search by an image, without re-ranking."""
    builder = {"camsearch": {"image": image, **more}}
    return {"knn": KNN | {"query_vector_builder": builder}, "size": COUNT}


def ranked(image: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """A search by an image whose hits are re-ranked."""
    inner = {"knn": first(image)["knn"]}
    return {"retriever": {"camsearch": {"retriever": inner, **more}}, "size": COUNT}


def found_ids(answer: Mapping[str, Any]) -> list[str]:
    """Of an answer's hits."""
    return [hit["_id"] for hit in answer["hits"]["hits"]]
