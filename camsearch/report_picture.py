r"""A report of searches as one picture: the query, the hits before and after, their heat maps.

query  | first search   [1] [2] [3] [4] ...
       |                  \ /   |   /       lines lead to the new places
       | re-ranked      [2] [1] [3] [9] ...
       | heat maps      [ ] [ ] [ ] [ ] ...
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageOps

from camsearch.canvas import FINE, MAT, PAPER, SOFT, Canvas, cut_text, font, text_width, wrap_text
from camsearch.search_report import (
    after_words,
    move_after,
    name_of,
    plan_words,
    right_words,
    was_reordered,
)
from descriptors.arrays import Size
from reranker.explain.drawing import draw_box, with_heat

if TYPE_CHECKING:
    from collections.abc import Sequence

    from camsearch.search_report import SearchReport
    from reranker.ranking import Hit

__all__ = ["draw_report"]

_LINE = (205, 206, 200)
_GOOD, _BAD, _PLAIN = (19, 113, 74), (179, 50, 31), (120, 124, 132)

# Lengths in pixels of the finished picture; texts have these two sizes.
_TEXT, _LABEL = 14, 15
_WIDTH, _MARGIN = 1320, 32
_QUERY, _LABELS, _GAP = 270, 92, 10
_MOST_HITS = 10
_LARGEST_CELL = 210
_LINES = 54


@dataclass(frozen=True)
class _Columns:
    """Where the hits of a search stand."""

    count: int
    width: float

    @property
    def height(self) -> float:
        return self.width * 3 / 4

    def left(self, place: int) -> float:
        """Left edge of the hit at a place, from 1."""
        return _MARGIN * 2 + _QUERY + _LABELS + (place - 1) * (self.width + _GAP)


def draw_report(reports: Sequence[SearchReport], note: str = "") -> Image.Image:
    """Draw searches below each other, at most ten hits of each; and a note at the foot."""
    foot = wrap_text(note, _TEXT, _WIDTH - 2 * _MARGIN)
    heights = [_height(report) for report in reports]
    size = (_WIDTH * FINE, round(sum(heights) + 18 * len(foot) + _MARGIN) * FINE)
    page = Image.new("RGB", size, PAPER)
    canvas = Canvas(page, ImageDraw.Draw(page))
    top: float = _MARGIN
    for report, height in zip(reports, heights, strict=True):
        _draw_search(canvas, report, top)
        top += height
        if report is not reports[-1]:
            middle = top - _MARGIN / 2
            canvas.line([(_MARGIN, middle), (_WIDTH - _MARGIN, middle)], _LINE, 1)
    for i, line in enumerate(foot):
        canvas.text((_MARGIN, top - 6 + i * 18), line, _TEXT, SOFT)
    return page.reduce(FINE)


def _columns(report: SearchReport) -> _Columns:
    hits = max(len(report.ranking.hits), len(report.ranking.first), 4)
    count = min(hits, _MOST_HITS)
    room = _WIDTH - 3 * _MARGIN - _QUERY - _LABELS
    return _Columns(count, min((room - (count - 1) * _GAP) / count, _LARGEST_CELL))


def _height(report: SearchReport) -> float:
    """Room for one search, with the space below it."""
    cell = _columns(report).height
    rows = cell + 46
    if was_reordered(report):
        rows += cell + 24 + _LINES
    if _has_heat(report):
        rows += cell + _GAP
    return 40 + max(rows, _query_height(report)) + _MARGIN


def _has_heat(report: SearchReport) -> bool:
    return any(report.picture_of(h).heat is not None for h in report.ranking.hits)


def _draw_search(canvas: Canvas, report: SearchReport, top: float) -> None:
    canvas.text((_MARGIN, top - 8), report.title, 24)
    right = right_words(report)
    canvas.text((_MARGIN * 2 + _QUERY + _LABELS, top), right, _LABEL, SOFT)
    top += 40
    _draw_query(canvas, report, top)
    columns = _columns(report)
    if was_reordered(report):
        _draw_before(canvas, report, columns, top)
        _draw_moves(canvas, report, columns, top + columns.height + 24)
        top += columns.height + 24 + _LINES
    label = after_words(report.plan) if was_reordered(report) else "First search"
    _label(canvas, label, top)
    for hit in report.ranking.hits[: columns.count]:
        _draw_after(canvas, report, columns, hit, top)
    if _has_heat(report):
        _draw_heat(canvas, report, columns, top + columns.height + 46)


def _label(canvas: Canvas, words: str, top: float) -> None:
    lines = wrap_text(words, _LABEL, _LABELS - 8)
    for i, line in enumerate(lines):
        canvas.text((_MARGIN * 2 + _QUERY, top + i * 19), line, _LABEL)


def _fitted_query(report: SearchReport) -> Image.Image:
    query = report.query.image.convert("RGB")
    shown = ImageOps.contain(query, (_QUERY * FINE, round(_QUERY * 1.1 * FINE)))
    if report.box is not None:
        draw_box(shown, report.box, report.query.size, thick=3 * FINE)
    return shown


def _query_words(report: SearchReport) -> list[str]:
    took = sum(report.ranking.milliseconds.values())
    words = wrap_text(", ".join(report.classes), _TEXT, _QUERY)
    words += [""] * bool(words)
    words += wrap_text(plan_words(report.plan), _TEXT, _QUERY)
    return [*words, f"{report.gallery_size:,} pictures searched in {took:,.0f} ms."]


def _query_height(report: SearchReport) -> float:
    size = report.query.size
    shown = min(_QUERY * size.height / size.width, _QUERY * 1.1)
    heat = 100 if report.query_heat is not None else 0
    return shown + heat + 18 * len(_query_words(report)) + 14


def _draw_query(canvas: Canvas, report: SearchReport, top: float) -> None:
    shown = _fitted_query(report)
    canvas.paste(shown, (_MARGIN, top))
    top += shown.height / FINE + 10
    if report.query_heat is not None:
        small = ImageOps.contain(report.query.image.convert("RGB"), (130 * FINE, 90 * FINE))
        small = with_heat(small, report.query_heat)
        canvas.paste(small, (_MARGIN, top))
        beside = _MARGIN + small.width / FINE + 10
        for i, line in enumerate(wrap_text("where its best classes speak:", _TEXT, 130)):
            canvas.text((beside, top + small.height / FINE / 2 - 18 + i * 18), line, _TEXT, SOFT)
        top += small.height / FINE + 10
    for line in _query_words(report):
        canvas.text((_MARGIN, top), line, _TEXT, SOFT)
        top += 18


def _draw_before(canvas: Canvas, report: SearchReport, columns: _Columns, top: float) -> None:
    _label(canvas, "First search", top)
    for hit in report.ranking.first[: columns.count]:
        left = columns.left(hit.rank)
        canvas.paste(_cell(report, hit, columns), (left, top))
        below = top + columns.height + 4
        _mark(canvas, report.picture_of(hit).right, left + columns.width, below)
        if hit.first_score is not None:
            canvas.text((left, below), f"{hit.first_score:.3f}", _TEXT, SOFT)


def _draw_moves(canvas: Canvas, report: SearchReport, columns: _Columns, top: float) -> None:
    """Lead from each hit's first place to its last; lines of the best lie on top."""
    for hit in reversed(report.ranking.hits[: columns.count]):
        if hit.first_rank is None:
            continue
        right = report.picture_of(hit).right
        ink = _PLAIN if right is None else (_GOOD if right else _BAD)
        end = (columns.left(hit.rank) + columns.width / 2, top + _LINES - 5)
        if hit.first_rank <= columns.count:
            start = (columns.left(hit.first_rank) + columns.width / 2, top - 1)
        else:
            # From beyond the last column: a short tail that comes in from the right.
            start = (min(end[0] + 60, _WIDTH - _MARGIN), top + 12)
        canvas.line(_curve(start, end), ink, 2.2)
        tip = [(end[0] - 5, end[1] - 7), (end[0], end[1]), (end[0] + 5, end[1] - 7)]
        canvas.line(tip, ink, 2.2)


def _curve(start: tuple[float, float], end: tuple[float, float]) -> list[tuple[float, float]]:
    """Points of a line that leaves downwards and arrives downwards."""
    points = []
    for i in range(25):
        t = i / 24
        ease = t * t * (3 - 2 * t)
        points.append((start[0] + (end[0] - start[0]) * ease, start[1] + (end[1] - start[1]) * t))
    return points


def _draw_after(
    canvas: Canvas, report: SearchReport, columns: _Columns, hit: Hit, top: float
) -> None:
    left, below = columns.left(hit.rank), top + columns.height + 4
    canvas.paste(_cell(report, hit, columns, boxed=True), (left, top))
    _mark(canvas, report.picture_of(hit).right, left + columns.width, below)
    canvas.text((left, below), cut_text(name_of(hit.document), _TEXT, columns.width - 20), _TEXT)
    score = f"{hit.score:.3f}"
    canvas.text((left, below + 18), score, _TEXT, SOFT)
    if was_reordered(report):
        _draw_move(canvas, hit, left + text_width(score, _TEXT) + 10, below + 18)


def _draw_move(canvas: Canvas, hit: Hit, left: float, top: float) -> None:
    """Write such as ``5 -> 1``; the font has no arrow, so that is drawn."""
    move = move_after(hit)
    ink = {"up": _GOOD, "new": _GOOD, "down": _BAD}.get(move.kind, SOFT)
    if move.kind in ("same", "new"):
        canvas.text((left, top), "=" if move.kind == "same" else "new", _TEXT, ink)
        return
    canvas.text((left, top), str(move.before), _TEXT, ink)
    left += text_width(str(move.before), _TEXT) + 4
    middle = top + 8.5
    canvas.line([(left, middle), (left + 12, middle)], ink, 1.3)
    canvas.line([(left + 8, middle - 3.5), (left + 12, middle), (left + 8, middle + 3.5)], ink, 1.3)
    canvas.text((left + 16, top), str(move.after), _TEXT, ink)


def _draw_heat(canvas: Canvas, report: SearchReport, columns: _Columns, top: float) -> None:
    _label(canvas, "Heat maps", top)
    for hit in report.ranking.hits[: columns.count]:
        if report.picture_of(hit).heat is not None:
            canvas.paste(_cell(report, hit, columns, hot=True), (columns.left(hit.rank), top))


def _cell(
    report: SearchReport, hit: Hit, columns: _Columns, *, boxed: bool = False, hot: bool = False
) -> Image.Image:
    """Fit a hit's picture on its mat, or a note that it cannot be read."""
    size = (round(columns.width * FINE), round(columns.height * FINE))
    cell = Image.new("RGB", size, MAT)
    known = report.picture_of(hit)
    if known.image is None:
        pen = ImageDraw.Draw(cell)
        words, middle = "cannot be read", (size[0] / 2, size[1] / 2)
        pen.text(middle, words, font=font(12), fill=SOFT, anchor="mm")
        return cell
    shown = ImageOps.contain(known.image.convert("RGB"), size, Image.Resampling.LANCZOS)
    if hot and known.heat is not None:
        shown = with_heat(shown, known.heat)
    if boxed and hit.box is not None:
        full = Size(hit.document.width, hit.document.height)
        draw_box(shown, hit.box, full, thick=2 * FINE)
    cell.paste(shown, ((size[0] - shown.width) // 2, (size[1] - shown.height) // 2))
    return cell


def _mark(canvas: Canvas, right: bool | None, edge: float, top: float) -> None:
    """Draw a tick or a cross left of an edge, where somebody knows."""
    if right is None:
        return
    x, y, r = edge - 8, top + 8.5, 7.5
    corners = ((x - r) * FINE, (y - r) * FINE, (x + r) * FINE, (y + r) * FINE)
    canvas.pen.ellipse(corners, fill=_GOOD if right else _BAD)
    strokes = [[(-3.4, 0.4), (-0.9, 2.9), (3.6, -2.6)]]
    if not right:
        strokes = [[(-2.6, -2.6), (2.6, 2.6)], [(-2.6, 2.6), (2.6, -2.6)]]
    for stroke in strokes:
        canvas.line([(x + dx, y + dy) for dx, dy in stroke], (255, 255, 255), 1.6)
