"""Made searches for the tests of reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from camsearch.search_report import HitImage, SearchReport
from descriptors.arrays import Box, Size
from descriptors.images import RgbImage
from galleries.documents import Document, ImageClass
from reranker.ranking import Hit, Ranking, SearchPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["document", "drawn", "hit", "report"]


def drawn(width: int = 400, height: int = 300) -> Image.Image:
    across = np.linspace(0, 255, width)[None, :].repeat(height, axis=0)
    return Image.fromarray(np.stack([across, 255 - across, across / 2], axis=2).astype(np.uint8))


def heat(peak: tuple[int, int] = (3, 4)) -> np.ndarray:
    cells = np.zeros((8, 10), dtype=np.float32)
    cells[peak] = 1
    return cells


def document(image_id: str, meta: Mapping[str, Any] | None = None) -> Document:
    return Document(
        id=image_id,
        uri=f"/photos/{image_id}.jpg",
        digest="0" * 64,
        width=400,
        height=300,
        descriptor=np.eye(1, 8, dtype=np.float32)[0],
        classes=(ImageClass("espresso", 0.5),),
        meta=meta or {},
    )


def hit(
    image_id: str,
    rank: int,
    first_rank: int | None = None,
    *,
    box: Box | None = None,
    meta: Mapping[str, Any] | None = None,
) -> Hit:
    first_score = None if first_rank is None else 0.5 - first_rank / 100
    return Hit(document(image_id, meta), 0.9 - rank / 100, rank, first_score, first_rank, box)


def report(title: str = "Find the cup", **changes: Any) -> SearchReport:
    """Three hits re-ranked: c rises from 3 to 1, a falls to 2, b leaves, d is new."""
    box = Box(40, 30, 200, 150)
    ranking = Ranking(
        hits=(hit("c", 1, 3, box=box), hit("a", 2, 1, box=box), hit("d", 3)),
        first=(hit("a", 1, 1), hit("b", 2, 2), hit("c", 3, 3)),
        milliseconds={"first_search": 2.5, "rerank": 40.0},
    )
    known = {
        "a": HitImage(drawn(), heat(), right=False),
        "b": HitImage(drawn(), heat(), right=False),
        "c": HitImage(drawn(), heat(), right=True),
        "d": HitImage(drawn(300, 400), right=True),
    }
    values: dict[str, Any] = {
        "query": RgbImage(drawn(), Size(800, 600)),
        "ranking": ranking,
        "plan": SearchPlan(k=3, window=50, expand=2),
        "gallery_size": 1234,
        "images": known,
        "box": Box(100, 100, 500, 400),
        "query_heat": heat(),
        "classes": ("espresso", "cup"),
    }
    return SearchReport(title, **(values | changes))
