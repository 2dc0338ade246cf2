"""Write a report of searches as one self-contained HTML file."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from camsearch.search_report import (
    HitImage,
    SearchReport,
    after_words,
    move_after,
    move_before,
    name_of,
    plan_words,
    right_words,
    stages,
    was_reordered,
)
from descriptors.arrays import Size
from descriptors.errors import RequestError
from reranker.explain.drawing import data_url, heat_layer, thumbnail
from reranker.explain.pages import write_page

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["write_report"]

_MAX_META_TEXT = 200  # characters of a metadata value that are shown


@dataclass(frozen=True)
class _Shown:
    """An image of the page, embedded once and referenced by name.

    Attributes:
        name: unique on the page.
        size: of the upright image in pixels, the unit of boxes.
        url, heat: data URLs; "" for none.
    """

    name: str
    size: Size
    url: str
    heat: str


def write_report(path: Path, reports: Sequence[SearchReport], *, note: str = "") -> None:
    """Write searches with their images, boxes and heat maps.

    Args:
        path: ends in ``.html``.
        reports: one or more searches; several have a table of contents.
        note: a footnote, such as image credits.

    Raises:
        RequestError: for another suffix, no report, or a path that cannot be written.
    """
    if not reports:
        raise RequestError("There is no search to report: search first.")
    sections = [_section(f"search-{i}", report) for i, report in enumerate(reports, start=1)]
    write_page(path, "camsearch", "report.html", sections=sections, note=note)


def _section(name: str, report: SearchReport) -> dict[str, Any]:
    """The template's variables for one search."""
    ranking = report.ranking
    documents = {h.document.id: h.document for h in (*ranking.hits, *ranking.first)}
    shown = {
        i: _shown(f"{name}-image-{n}", Size(d.width, d.height), report.images.get(i))
        for n, (i, d) in enumerate(documents.items(), start=1)
    }
    query = _shown(
        f"{name}-query", report.query.size, HitImage(report.query.image, report.query_heat)
    )
    reordered = was_reordered(report)
    return {
        "name": name,
        "report": report,
        "query": query,
        "shown": [query, *shown.values()],
        "before": _cards(name, "before", report, shown) if reordered else (),
        "after": _cards(name, "after", report, shown),
        "after_title": after_words(report.plan) if reordered else "First search",
        "plan": plan_words(report.plan),
        "right": right_words(report),
        "stages": stages(ranking),
        "reordered": reordered,
    }


def _shown(name: str, size: Size, image: HitImage | None) -> _Shown:
    """Draw the thumbnail and the heat map of an image."""
    if image is None or image.image is None:
        return _Shown(name, size, "", "")
    heat = "" if image.heat is None else data_url(heat_layer(image.heat))
    return _Shown(name, size, data_url(thumbnail(image.image)), heat)


def _cards(
    name: str, order: str, report: SearchReport, shown: Mapping[str, _Shown]
) -> list[dict[str, Any]]:
    """The hits before or after re-ranking; each links to the same hit in the other order."""
    ranking, before = report.ranking, order == "before"
    other = {h.document.id: h.rank for h in (ranking.hits if before else ranking.first)}
    there = "after" if before else "before"
    return [
        {
            "anchor": f"{name}-{order}-{hit.rank}",
            "twin": f"{name}-{there}-{other[hit.document.id]}"
            if was_reordered(report) and hit.document.id in other
            else "",
            "place": hit.rank,
            "image": shown[hit.document.id],
            "box": hit.box,
            "document": hit.document,
            "name": name_of(hit.document),
            "meta": [(key, _text(value)) for key, value in hit.document.meta.items()],
            "score": hit.first_score if before else hit.score,
            "first_score": hit.first_score,
            "move": move_before(hit, ranking) if before else move_after(hit),
            "right": report.image_of(hit).right,
        }
        for hit in (ranking.first if before else ranking.hits)
    ]


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _MAX_META_TEXT else text[:_MAX_META_TEXT] + "…"
