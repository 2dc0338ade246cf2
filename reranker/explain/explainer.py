"""Explain a hit: regions and their scores, classes, layers, channels, and a heat map."""

from __future__ import annotations

import asyncio
import base64
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from pydantic import BaseModel
from torch import Tensor

from descriptors.arrays import Box, Encoded, QueryDescription, Region, Size, box_of_region
from descriptors.class_patches import contact_sheet
from descriptors.regions import boxes_on_layers, on_layers
from es_mappings.fields import DESCRIPTOR
from reranker.dialect.searches import IMAGE_FIELDS
from reranker.errors import DialectError, ImageNotFound
from reranker.explain.contributions import NamedLayer, class_vectors_of, layer_parts
from reranker.explain.drawing import data_url
from reranker.explain.hit_files import heat_png
from reranker.http.exchange import encoded_index
from reranker.search.rerank import image_of

if TYPE_CHECKING:
    from descriptors.settings import RegionSettings
    from galleries.documents import IndexedImage
    from reranker.dialect.answers import FoundHit
    from reranker.dialect.endpoints import ExplainRequest
    from reranker.explain.hit_files import HitFiles
    from reranker.http.exchange import Request
    from reranker.matching import Matcher
    from reranker.search.admission import Gate
    from reranker.search.indices import Indices
    from reranker.search.query_images import QueryImages

__all__ = ["Explained", "Explainer"]


class TriedRegion(BaseModel):
    """A region that was compared with the query."""

    box: list[float]
    cosine: float


class NamedClass(BaseModel):
    """A class of the query, and its probability in the whole image of the hit.

    `patches` is a JPEG in base64: the parts of images that show a learned class most clearly; null
    for a label.
    """

    number: int
    name: str | None
    probability_in_hit: float
    patches: str | None = None


class Explained(BaseModel):
    """Why a hit matched.

    `score`, `cosine` and `box` are those of its best region, and null if no region is large enough;
    `first_cosine` is that of the indexed vector; `regions` are all compared regions, best first;
    `heat_map` is a PNG in base64.
    """

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


@dataclass(frozen=True)
class _Described:
    """A query with its feature maps."""

    query: QueryDescription
    encoded: Encoded


class Explainer:
    """Compares one hit with one query."""

    def __init__(
        self,
        indices: Indices,
        images: QueryImages,
        matcher: Matcher,
        files: HitFiles,
        gate: Gate,
        index: str,
    ) -> None:
        """Args: gate limits concurrent explanations; index is the default one of hits."""
        self._indices, self._images, self._files, self._gate = indices, images, files, gate
        self._matcher, self._method, self._index = matcher, matcher.method, index
        self._names = self._method.class_names

    async def explain(self, request: Request, asked: ExplainRequest) -> Explained:
        """Explain a hit.

        Args:
            request: of the caller, whose credentials are used.
            asked: the hit and the query.

        Raises:
            CamsearchError: the hit does not exist, the query cannot be described, or neither maps
                nor image of one of them can be read.
        """
        index = encoded_index(asked.index or self._index)
        await self._indices.check(request, index)
        hit, image = await self._hit(request, index, asked.id)
        [query], settings = asked.image.images, self._matcher.regions
        if not asked.regions:
            settings = settings.of_whole_images()
        async with self._gate.passed():
            source = await self._images.source(request, index, query.image)
            described = _Described(
                await self._images.describe_source(source, query.box, settings),
                await asyncio.to_thread(self._images.maps, source, query.box),
            )
            found, heat = await asyncio.to_thread(self._explain, described, hit, image, settings)
        shown = None if asked.overlay else await self._files.large(image)
        size = Size(image.width, image.height)
        box = None if found.box is None or asked.overlay else Box(*found.box)
        png = await asyncio.to_thread(heat_png, heat, size, shown, box)
        found.heat_map = base64.b64encode(png).decode("ascii")
        return found

    async def _hit(
        self, request: Request, index: str, hit_id: str
    ) -> tuple[FoundHit, IndexedImage]:
        """The document to explain, and its image.

        Raises:
            ImageNotFound: there is no such document.
            DialectError: camsearch did not write it.
        """
        hit = await self._indices.document(request, index, hit_id, (*IMAGE_FIELDS, DESCRIPTOR))
        if hit is None:
            raise ImageNotFound(
                f"[id] names [{hit_id}], which is not a document of [{index}]: use the _id of a "
                "hit."
            )
        image = image_of(hit)
        if image is None:
            raise DialectError(
                f"The document [{hit_id}] was not written by camsearch: there is nothing to "
                "explain."
            )
        return hit, image

    @torch.inference_mode()
    def _explain(
        self, described: _Described, hit: FoundHit, image: IndexedImage, settings: RegionSettings
    ) -> tuple[Explained, Float[np.ndarray, "H W"]]:
        """The explanation without its `heat_map`, and that map as values 0..1."""
        query = described.query
        encoded = self._images.maps(image, None)
        size, grid = Size(image.width, image.height), encoded.grid(encoded.finest)
        [match] = self._method.match_regions(query, encoded, settings)
        heat = self._method.query_heat(encoded, query.classes[None], settings)[0]
        tried = () if match is None else match.tried
        found = Explained(
            id=image.id,
            score=None if match is None else (1 + match.score) / 2,
            cosine=None if match is None else match.score,
            first_cosine=_first_cosine(hit, query.descriptor),
            box=None if match is None else box_of_region(match.region, size, grid).as_list(),
            width=image.width,
            height=image.height,
            regions=[
                TriedRegion(box=box_of_region(region, size, grid).as_list(), cosine=score)
                for region, score in sorted(tried, key=lambda one: -one[1])
            ],
            classes=self._classes(query, encoded, settings.n_classes),
            layers=[]
            if match is None
            else self._layers(described, encoded, match.region, settings),
            heat_map="",
        )
        return found, heat.float().cpu().numpy()

    def _classes(self, query: QueryDescription, hit: Encoded, count: int) -> list[NamedClass]:
        probabilities = hit.scores.softmax(dim=1)[0]
        return [
            NamedClass(
                number=number,
                name=self._names[number] if self._names else None,
                probability_in_hit=float(probabilities[number]),
                patches=self._patches(number),
            )
            for number in query.classes[:count].tolist()
        ]

    def _patches(self, number: int) -> str | None:
        sheet = contact_sheet(self._method.whitening, number)
        return None if sheet is None else data_url(sheet).partition(",")[2]

    def _layers(
        self, described: _Described, encoded: Encoded, region: Region, settings: RegionSettings
    ) -> list[NamedLayer]:
        query, method = described.query, self._method
        classes = query.classes[: settings.n_classes]
        cut = None
        if query.box is not None:
            inside = query.box.inside(query.image)
            cut = boxes_on_layers([inside], query.image, described.encoded)
        windows = on_layers(encoded, torch.tensor([[list(region)]], device=method.encoder.device))
        ours = class_vectors_of(method, described.encoded, classes, cut)
        theirs = class_vectors_of(method, encoded, classes, windows)
        of_region = method.describe_classes(encoded, classes[None], windows)[0, 0]
        return layer_parts(
            method,
            (query.region_descriptor, of_region),
            tuple(zip(ours, theirs, strict=True)),
        )


def _first_cosine(hit: FoundHit, descriptor: Float[Tensor, " D"]) -> float | None:
    vector = hit.raw.get("fields", {}).get(DESCRIPTOR)
    if not isinstance(vector, list) or len(vector) != len(descriptor):
        return None
    indexed = torch.tensor(vector, dtype=torch.float32, device=descriptor.device)
    return float(indexed @ descriptor.float())
