"""What made a hit match: regions and their scores, classes, layers, channels, and where."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.arrays import Box, Encoded, QueryDescription, Region, Size, box_of_region
from es_mappings.fields import DESCRIPTOR
from reranker.errors import DialectError, PictureNotFound
from reranker.explain.contributions import (
    LayerPart,
    box_windows,
    class_vectors_of,
    layer_parts,
    region_windows_of,
)
from reranker.http.exchange import encoded_index
from reranker.search.rerank import IMAGE_FIELDS, HitImage, image_of

if TYPE_CHECKING:
    from descriptors.settings import RegionSettings
    from reranker.dialect.answers import FoundHit
    from reranker.explain.requests import ExplainRequest
    from reranker.http.exchange import Request
    from reranker.matching import Matcher
    from reranker.search.admission import Gate
    from reranker.search.indices import Indices
    from reranker.search.query_pictures import QueryPictures

__all__ = ["Explainer", "Explanation", "QueryClass"]


@dataclass(frozen=True)
class QueryClass:
    """A class of the network that the query was described with.

    Attributes:
        number: of the class.
        in_hit: its softmax probability in the hit's whole picture.
    """

    number: int
    in_hit: float


@dataclass(frozen=True)
class Explanation:
    """Why a hit stands where it stands.

    Attributes:
        picture: the hit's.
        score: cosine of its best region with the query; None if no region is usable.
        first_score: cosine of the first search: of the vector that is indexed with the
            query's; None if the document shows no vector.
        box: of the best region, in pixels of the upright picture.
        tried: every region with its cosine, the best first.
        classes: of the query, best first.
        layers: parts of `score`; none if no region is usable.
        heat: 0..1, where in the hit the query's best classes speak.
    """

    picture: HitImage
    score: float | None
    first_score: float | None
    box: Box | None
    tried: tuple[tuple[Box, float], ...]
    classes: tuple[QueryClass, ...]
    layers: tuple[LayerPart, ...]
    heat: Float[np.ndarray, "H W"]


@dataclass(frozen=True)
class _Described:
    """A query with its own maps."""

    query: QueryDescription
    encoded: Encoded


class Explainer:
    """Compares one hit with one query, and tells all of it."""

    def __init__(
        self, indices: Indices, pictures: QueryPictures, matcher: Matcher, gate: Gate, index: str
    ) -> None:
        """Put the parts together.

        Args:
            indices: have the hit.
            pictures: describes queries.
            matcher: has method, kept maps and region settings.
            gate: how many hits are explained at the same time.
            index: where a hit is that names none.
        """
        self._indices, self._pictures, self._gate = indices, pictures, gate
        self._matcher, self._method, self._index = matcher, matcher.method, index

    async def explain(self, request: Request, asked: ExplainRequest) -> Explanation:
        """What made a hit match.

        Args:
            request: of the caller, whose rights are used.
            asked: which hit and which query.

        Raises:
            CamsearchError: there is no such hit, the query cannot be described, or neither maps
                nor picture of one of them can be read.
        """
        index = encoded_index(asked.index or self._index)
        await self._indices.check(request, index)
        hit = await self._indices.document(request, index, asked.id, (*IMAGE_FIELDS, DESCRIPTOR))
        if hit is None:
            raise PictureNotFound(
                f"[id] names [{asked.id}], which is no document of [{index}]: name a hit of a "
                "search there."
            )
        image = image_of(hit)
        if image is None:
            raise DialectError(
                f"The document [{asked.id}] was not written by camsearch: there is nothing to "
                "explain."
            )
        query, settings = asked.picture, self._matcher.regions
        if not asked.regions:
            settings = settings.of_whole_pictures()
        async with self._gate.passed():
            source = await self._pictures.source(request, index, query.image)
            described = _Described(
                await self._pictures.describe_source(source, query.box, settings),
                await asyncio.to_thread(self._pictures.maps, source, query.box),
            )
            return await asyncio.to_thread(self._explain, described, hit, image, settings)

    @torch.inference_mode()
    def _explain(
        self, described: _Described, hit: FoundHit, picture: HitImage, settings: RegionSettings
    ) -> Explanation:
        query = described.query
        encoded = self._pictures.maps(picture, None)
        size = Size(picture.width, picture.height)
        [match] = self._method.match_regions(query, encoded, settings)
        heat = self._method.query_heat(encoded, query.classes[None], settings)[0]
        grid = encoded.grid(encoded.finest)
        tried = () if match is None else match.tried
        layers = () if match is None else self._layers(described, encoded, match.region, settings)
        return Explanation(
            picture,
            None if match is None else match.score,
            _first_score(hit, query.descriptor),
            None if match is None else box_of_region(match.region, size, grid),
            tuple(
                (box_of_region(region, size, grid), score)
                for region, score in sorted(tried, key=lambda one: -one[1])
            ),
            _classes(query, encoded, settings.n_classes),
            layers,
            heat.float().cpu().numpy(),
        )

    def _layers(
        self, described: _Described, encoded: Encoded, region: Region, settings: RegionSettings
    ) -> tuple[LayerPart, ...]:
        query, method = described.query, self._method
        classes = query.classes[: settings.n_classes]
        cut = box_windows(described.encoded, query.picture, query.box)
        windows = region_windows_of(encoded, region)
        ours = class_vectors_of(method, described.encoded, classes, cut)
        theirs = class_vectors_of(method, encoded, classes, windows)
        of_region = method.describe_classes(
            encoded, classes[None], tuple(w.to(method.encoder.device) for w in windows)
        )[0, 0]
        return layer_parts(
            method,
            (query.region_descriptor, of_region),
            tuple(zip(ours, theirs, strict=True)),
        )


def _classes(query: QueryDescription, hit: Encoded, count: int) -> tuple[QueryClass, ...]:
    probabilities = hit.scores.softmax(dim=1)[0]
    return tuple(
        QueryClass(number, float(probabilities[number]))
        for number in query.classes[:count].tolist()
    )


def _first_score(hit: FoundHit, descriptor: Float[Tensor, " D"]) -> float | None:
    vector = hit.raw.get("fields", {}).get(DESCRIPTOR)
    if not isinstance(vector, list) or len(vector) != len(descriptor):
        return None
    indexed = torch.tensor(vector, dtype=torch.float32, device=descriptor.device)
    return float(indexed @ descriptor.float())
