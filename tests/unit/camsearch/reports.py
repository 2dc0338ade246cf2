"""Made searches for the tests of reports."""

from __future__ import annotations

from html.parser import HTMLParser
from typing import Any

import numpy as np
from PIL import Image

from camsearch.search_report import HitImage, SearchReport
from descriptors.arrays import Box, Size
from descriptors.images import RgbImage
from galleries.documents import Document, ImageClass
from reranker.ranking import Hit, Ranking, SearchPlan


class Page(HTMLParser):
    """Reads a page strictly: each tag must be closed, and by its own name."""

    VOID = frozenset({"meta", "br", "input", "link", "img", "hr"})

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.words = [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    def text(self):
        return " ".join(" ".join(self.words).split())

    def all(self, attribute):
        return [value for _, a in self.tags if (value := a.get(attribute)) is not None]


def drawn(width=400, height=300):
    across = np.linspace(0, 255, width)[None, :].repeat(height, axis=0)
    return Image.fromarray(np.stack([across, 255 - across, across / 2], axis=2).astype(np.uint8))


def heat(peak=(3, 4)):
    cells = np.zeros((8, 10), dtype=np.float32)
    cells[peak] = 1
    return cells


def document(image_id, meta=None):
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


def hit(image_id, rank, first_rank=None, *, box=None, meta=None):
    first_score = None if first_rank is None else 0.5 - first_rank / 100
    return Hit(document(image_id, meta), 0.9 - rank / 100, rank, first_score, first_rank, box)


def report(title="Find the cup", **changes):
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
