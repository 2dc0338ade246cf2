"""Compare hits by their windows in the index, with the caller's credentials."""

from __future__ import annotations

import asyncio
import secrets
from typing import TYPE_CHECKING, Any

import orjson

from es_mappings.windows import parts_of
from galleries.errors import NoWindows
from reranker.dialect.answers import filtered, page_of, read_hits, with_boxes
from reranker.dialect.values import parameters_of, written_json
from reranker.dialect.windows import WINDOW_VECTOR, best_boxes, best_cosines, windows_body
from reranker.errors import OneImageOnly
from reranker.http.exchange import Answer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import numpy as np
    from jaxtyping import Float32

    from descriptors.arrays import Box
    from reranker.dialect.answers import RankedHit
    from reranker.dialect.searches import ImageQuery, VisualSearch
    from reranker.http.exchange import Request
    from reranker.search.indices import Indices
    from reranker.search.running import HitKey

__all__ = ["WindowSearcher", "on_one_copy"]


def on_one_copy(query: str, search: VisualSearch) -> str:
    """The query string, with a preference if there is none, so that one shard copy answers all.

    Convention:
        A search of one stage stays as it is; a point in time refuses a preference.
    """
    stages = search.ranks or search.in_windows
    if not stages or search.body.get("pit") is not None or "preference" in parameters_of(query):
        return query
    return "&".join(part for part in (query, f"preference={secrets.token_hex(8)}") if part)


class WindowSearcher:
    """The windows of the documents of an index."""

    def __init__(self, indices: Indices, count: int) -> None:
        """Args: count of windows of each image; 0 if the method has none."""
        self._indices, self._count = indices, count

    def reranks(self, search: VisualSearch) -> bool:
        """Whether a search re-ranks by windows: if it says so, or by default if there are any.

        Raises:
            NoWindows: it needs windows, and there are none.
            OneImageOnly: it re-ranks by several images, and not by windows.
        """
        by = search.rerank.by if search.rerank else "images"
        if not self._count and (search.in_windows or by == "windows"):
            raise NoWindows
        by_windows = by == "windows" or (by is None and self._count > 0)
        several = search.image is not None and len(search.image.examples) > 1
        if search.rerank and several and not by_windows:
            raise OneImageOnly
        return by_windows

    async def cosines(
        self, request: Request, keys: Collection[HitKey], vector: Float32[np.ndarray, " D"]
    ) -> dict[HitKey, float]:
        """The cosine of the best window of each document, exactly; those without are left out.

        Args:
            request: the caller's search, whose path, headers and preference are used.
            keys: index and id of each.
            vector: unit vector.

        Raises:
            UpstreamRefused, UpstreamUnreachable: Elasticsearch does not answer.
        """
        found: dict[HitKey, float] = {}
        for response in await self._ask(request, keys, vector, boxes=False):
            found |= best_cosines(response)
        return {key: cosine for key, cosine in found.items() if key in keys}

    async def boxes(
        self,
        request: Request,
        keys: Collection[HitKey],
        vector: Float32[np.ndarray, " D"],
        pit: Mapping[str, Any] | None = None,
    ) -> dict[HitKey, Box]:
        """As `cosines`, the box of that window in pixels of the image."""
        found: dict[HitKey, Box] = {}
        for response in await self._ask(request, keys, vector, boxes=True, pit=pit):
            found |= best_boxes(response)
        return {key: box for key, box in found.items() if key in keys}

    async def with_boxes(
        self,
        request: Request,
        search: VisualSearch,
        hits: list[RankedHit],
        vector: Float32[np.ndarray, " D"],
        compared: Collection[HitKey] | None,
    ) -> list[RankedHit]:
        """All hits, those of the shown page with the box of their best window.

        Args: compared by their windows are these hits, which alone get a box; None for all.
        """
        page = {hit.key for hit in page_of(search, hits)}
        keys = page if compared is None else page.intersection(compared)
        return with_boxes(hits, await self.boxes(request, keys, vector))

    async def in_answer(
        self,
        request: Request,
        search: VisualSearch,
        answer: Answer,
        vectors: Mapping[ImageQuery, Float32[np.ndarray, " D"]],
    ) -> Answer:
        """Elasticsearch's answer to a search in windows, with the box of each hit.

        Convention:
            `filter_path` is applied here, since it may keep the boxes without the ids.
        """
        response = orjson.loads(answer.body)
        hits = {(hit.index, hit.id): hit.raw for hit in read_hits(response)}
        image = next(slot.image for slot in search.slots if slot.field == WINDOW_VECTOR)
        boxes = await self.boxes(request, hits, vectors[image], search.body.get("pit"))
        for key, box in boxes.items():
            raw: Any = hits[key]
            raw["fields"] = {**raw.get("fields", {}), "camsearch.box": box.as_list()}
        body = written_json(filtered(response, search.filter_path), pretty=search.pretty)
        return Answer(answer.status, answer.headers, body)

    async def _ask(
        self,
        request: Request,
        keys: Collection[HitKey],
        vector: Float32[np.ndarray, " D"],
        *,
        boxes: bool,
        pit: Mapping[str, Any] | None = None,
    ) -> list[Mapping[str, Any]]:
        refused = "Elasticsearch refused to compare windows of hits."
        parts = parts_of(sorted({image_id for _, image_id in keys}), self._count)
        bodies = [windows_body(vector, ids, boxes=boxes, pit=pit) for ids in parts]
        return await asyncio.gather(
            *(self._indices.search(request, body, refused) for body in bodies)
        )
