r"""Read Elasticsearch's hits, return them in a new order, and filter answers.

`filter_path` selects parts of an answer:

    hits.hits._id           keys from the root; lists are skipped
    hits.*.na*              * matches any text within a key
    **.name                 ** matches one or more keys
    aggregations.a\.b       a backslash escapes a dot within a key
    -hits.total             a minus excludes
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from descriptors.arrays import Box
from es_mappings.fields import DESCRIPTOR
from reranker.dialect.options import NAME
from reranker.dialect.searches import VisualSearch
from reranker.dialect.values import fits
from reranker.dialect.windows import REGIONS

__all__ = ["FoundHit", "RankedHit", "answer_of", "cut", "filtered", "page_of", "read_hits"]
__all__ += ["score_of", "shows_boxes", "with_boxes"]

_DOT = re.compile(r"(?<!\\)\.")
_ANY_NAMES = "**"
_LEFT_OUT = object()

# The rest of a path below the current key.
_Names = tuple[str, ...]


@dataclass(frozen=True)
class FoundHit:
    """A hit as Elasticsearch returned it.

    Attributes:
        index, id: its key.
        score: Elasticsearch's.
        rank: from 1.
        digest, uri, width, height: of the image; None if the document has none.
        raw: unchanged JSON.
    """

    index: str
    id: str
    score: float | None
    rank: int
    digest: str | None
    uri: str | None
    width: int | None
    height: int | None
    raw: Mapping[str, Any]


@dataclass(frozen=True)
class RankedHit:
    """A hit in the final order.

    Attributes:
        raw: Elasticsearch's JSON.
        cosine: of its best window or region, or of the second search; None to keep Elasticsearch's score.
        box: best window or region in pixels of the image; None if there is none.
        first_score, first_rank: in the first search; None if it did not find the hit.
    """

    raw: Mapping[str, Any]
    cosine: float | None = None
    box: Box | None = None
    first_score: float | None = None
    first_rank: int | None = None

    @property
    def key(self) -> tuple[str, str]:
        """Index and id."""
        return self.raw.get("_index", ""), self.raw["_id"]

    @property
    def score(self) -> float | None:
        """Elasticsearch's score for unit vectors, (1 + cosine) / 2."""
        return _number(self.raw.get("_score")) if self.cosine is None else score_of(self.cosine)


def score_of(cosine: float) -> float:
    """Elasticsearch's score of unit vectors with this cosine, 0..1."""
    return min(max((1 + cosine) / 2, 0.0), 1.0)


def read_hits(response: Mapping[str, Any]) -> list[FoundHit]:
    """The hits of an answer that have an id, in its order."""
    hits = response.get("hits", {}).get("hits", [])
    return [_found(raw, rank) for rank, raw in enumerate(hits, start=1) if "_id" in raw]


def answer_of(
    search: VisualSearch, first: Mapping[str, Any], ordered: Sequence[RankedHit], took: int
) -> dict[str, Any]:
    """The first search's answer with the final hits, before `filter_path`.

    Args:
        search: the parsed search.
        first: Elasticsearch's answer to `first_body`.
        ordered: all known hits, best first.
        took: milliseconds in total.

    Convention:
        `max_score` is that of all hits, not only of the page. The total is Elasticsearch's, but
        at least the number of known hits. With `min_score` it is the number of known hits that
        reach it, with relation `gte` if there may be more.
    """
    passed = _passed(search, ordered)
    scores = [hit.score for hit in passed if hit.score is not None] if search.size else []
    hits = {
        **first.get("hits", {}),
        "max_score": max(scores, default=None),
        "hits": [_rendered(hit, search) for hit in page_of(search, ordered)],
    }
    if "total" in hits:
        hits["total"] = _total(hits["total"], ordered, passed, search)
    return {**first, "took": took, "hits": hits}


def page_of(search: VisualSearch, ordered: Sequence[RankedHit]) -> list[RankedHit]:
    """The hits that are shown, of all in their final order."""
    return _passed(search, ordered)[search.start : search.start + search.size]


def with_boxes(hits: Sequence[RankedHit], boxes: Mapping[tuple[str, str], Box]) -> list[RankedHit]:
    """The hits with these boxes; those of other hits stay."""
    return [replace(hit, box=boxes[hit.key]) if hit.key in boxes else hit for hit in hits]


def _passed(search: VisualSearch, ordered: Sequence[RankedHit]) -> list[RankedHit]:
    return [hit for hit in ordered if _reaches(hit, search.min_score)]


def _rendered(hit: RankedHit, search: VisualSearch) -> dict[str, Any]:
    rendered = dict(hit.raw)
    rendered["_score"] = hit.score
    if search.hides_vectors and isinstance(rendered.get("_source"), dict):
        vectors = {DESCRIPTOR, REGIONS, *(slot.field for slot in search.slots)}
        rendered["_source"] = {k: v for k, v in rendered["_source"].items() if k not in vectors}
    ours = {
        "box": hit.box.as_list() if hit.box else None,
        "first_score": None if hit.first_score is None else [hit.first_score],
        "first_rank": None if hit.first_rank is None else [hit.first_rank],
    }
    fields = {k: v for k, v in hit.raw.get("fields", {}).items() if k not in search.added_fields}
    fields |= {f"{NAME}.{key}": value for key, value in ours.items() if value is not None}
    rendered.pop("fields", None)
    return rendered | ({"fields": fields} if fields else {})


def _total(
    total: Any, ordered: Sequence[RankedHit], passed: Sequence[RankedHit], search: VisualSearch
) -> Any:
    """The total in the form of Elasticsearch's, an object or a number."""
    value = total["value"] if isinstance(total, dict) else total
    if value < 0:  # not counted
        return total
    exact = not isinstance(total, dict) or total.get("relation") == "eq"
    if search.min_score is None:
        value = max(value, len(ordered))
    else:
        last = ordered[-1] if ordered else None
        # If the last known hit does not reach the score, later ones cannot either.
        ends = last and last.cosine is None and not _reaches(last, search.min_score)
        exact = bool((exact and value <= len(ordered)) or ends)
        value = len(passed)
    if not isinstance(total, dict):
        return value
    return {**total, "value": value, "relation": "eq" if exact else "gte"}


def _reaches(hit: RankedHit, least: float | None) -> bool:
    return least is None or (hit.score is not None and hit.score >= least)


def _found(raw: Mapping[str, Any], rank: int) -> FoundHit:
    fields = raw.get("fields", {})
    return FoundHit(
        raw.get("_index", ""),
        raw["_id"],
        _number(raw.get("_score")),
        rank,
        _first(fields, "digest", str),
        _first(fields, "uri", str),
        _first(fields, "width", int),
        _first(fields, "height", int),
        raw,
    )


def _first(fields: Mapping[str, Any], name: str, kind: type) -> Any:
    """The first value of a field; None if it is missing or of another type."""
    values = fields.get(name)
    if not isinstance(values, list) or not values or not isinstance(values[0], kind):
        return None
    return values[0]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def shows_boxes(search: VisualSearch) -> bool:
    """Whether the search's `filter_path` keeps the box of a hit."""
    hit = {"hits": {"hits": [{"fields": {f"{NAME}.box": [0]}}]}}
    return filtered(hit, search.filter_path) == hit


def filtered(answer: Mapping[str, Any], filter_path: str) -> dict[str, Any]:
    """Apply a `filter_path` as Elasticsearch does.

    Args:
        answer: the whole answer.
        filter_path: paths separated by commas; exclusions take precedence. Without inclusions,
            everything that is not excluded stays.
    """
    paths = [path for path in map(str.strip, filter_path.split(",")) if path]
    unwanted = [path[1:] for path in paths if path.startswith("-")]
    return cut(answer, [path for path in paths if not path.startswith("-")], unwanted)


def cut(value: Mapping[str, Any], wanted: Iterable[str], unwanted: Iterable[str]) -> dict[str, Any]:
    """Keep only the wanted paths of an object, or all if there are none, and drop the unwanted.

    Convention:
        An object or list that becomes empty is dropped too, and so is one that was empty unless
        it is wanted itself.
    """
    asked = _Paths.of(wanted)
    return _cut_object(value, asked, _Paths.of(unwanted), whole=not asked.paths)


@dataclass(frozen=True)
class _Paths:
    """The rests of paths below the current key."""

    paths: frozenset[_Names]

    @staticmethod
    def of(written: Iterable[str]) -> _Paths:
        split = (_DOT.split(path) for path in written)
        return _Paths(
            frozenset(tuple(name.replace("\\.", ".") for name in names) for names in split)
        )

    @property
    def end_here(self) -> bool:
        """Whether a path ends at the current key."""
        return () in self.paths

    def into(self, key: str) -> _Paths:
        """The paths that continue below a key."""
        left: set[_Names] = set()
        for path in self.paths:
            if path and fits(path[0], key):
                left.add(path[1:])
            if path and path[0] == _ANY_NAMES:
                left.add(path)
        return _Paths(frozenset(left))


def _cut(value: Any, wanted: _Paths, unwanted: _Paths, *, whole: bool) -> Any:
    """Filter a value; `_LEFT_OUT` if nothing stays."""
    if whole and not unwanted.paths:
        return value
    if isinstance(value, dict):
        kept: Any = _cut_object(value, wanted, unwanted, whole=whole)
    elif isinstance(value, list):
        each = (_cut(one, wanted, unwanted, whole=whole) for one in value)
        kept = [one for one in each if one is not _LEFT_OUT]
    else:
        return value if whole else _LEFT_OUT
    return kept if kept or (whole and not value) else _LEFT_OUT


def _cut_object(
    value: Mapping[str, Any], wanted: _Paths, unwanted: _Paths, *, whole: bool
) -> dict[str, Any]:
    kept = {}
    for key, inner in value.items():
        out = unwanted.into(key)
        asked = wanted if whole else wanted.into(key)
        all_of_it = whole or asked.end_here
        if out.end_here or not (all_of_it or asked.paths):
            continue
        stays = _cut(inner, asked, out, whole=all_of_it)
        if stays is not _LEFT_OUT:
            kept[key] = stays
    return kept
