r"""What Elasticsearch answered: its hits, the answer with them in our order, and parts of it.

`filter_path` asks for those parts of an answer that it names:

hits.hits._id           names, one for each object on the way; lists do not count
hits.*.na*              a star stands for any text within a name
**.name                 two stars for one name or more
aggregations.a\.b       a backslash before a dot that belongs to the name
-hits.total             a minus leaves out
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from descriptors.arrays import Box
from es_mappings.fields import DESCRIPTOR
from reranker.dialect.options import NAME
from reranker.dialect.searches import VisualSearch
from reranker.dialect.values import fits

__all__ = ["FoundHit", "RankedHit", "answer_of", "cut", "filtered", "read_hits"]

_DOT = re.compile(r"(?<!\\)\.")
_ANY_NAMES = "**"
_LEFT_OUT = object()

# What is left of a path of `filter_path` on the way down.
_Names = tuple[str, ...]


@dataclass(frozen=True)
class FoundHit:
    """A hit of Elasticsearch.

    Attributes:
        index, id: what it is.
        score: Elasticsearch's.
        rank: from 1.
        digest, uri, width, height: of the image; None where the document has none.
        raw: as it came.
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
    """A hit in its place.

    Attributes:
        raw: as it came.
        cosine: of its best region or of the second search; None to keep Elasticsearch's score.
        box: where in the image, in its pixels; None if no region is known.
        first_score, first_rank: of the first search; None where they are not to be told.
    """

    raw: Mapping[str, Any]
    cosine: float | None = None
    box: Box | None = None
    first_score: float | None = None
    first_rank: int | None = None

    @property
    def score(self) -> float | None:
        """As Elasticsearch gives it for unit vectors: 0 for opposite ones, 1 for equal ones."""
        if self.cosine is None:
            return _number(self.raw.get("_score"))
        return min(max((1 + self.cosine) / 2, 0.0), 1.0)


def read_hits(response: Mapping[str, Any]) -> list[FoundHit]:
    """The hits of an answer, in its order; those without an id are none."""
    hits = response.get("hits", {}).get("hits", [])
    return [_found(raw, rank) for rank, raw in enumerate(hits, start=1) if "_id" in raw]


def answer_of(
    search: VisualSearch, first: Mapping[str, Any], ordered: Sequence[RankedHit], took: int
) -> dict[str, Any]:
    """The first search's answer with the final hits, `filter_path` not yet applied.

    Args:
        search: that was asked.
        first: what Elasticsearch answered to `first_body`.
        ordered: all hits that are known, best first.
        took: milliseconds, all in all.

    Convention:
        The greatest score is that of all hits, on the page or not. The total is
        Elasticsearch's, but never less than the hits that are known; with a `min_score` it
        counts those of them that reach it, and says `gte` where there may be more.
    """
    passed = [hit for hit in ordered if _reaches(hit, search.min_score)]
    page = passed[search.start : search.start + search.size]
    scores = [hit.score for hit in passed if hit.score is not None] if search.size else []
    hits = {
        **first.get("hits", {}),
        "max_score": max(scores, default=None),
        "hits": [_rendered(hit, search) for hit in page],
    }
    if "total" in hits:
        hits["total"] = _total(hits["total"], ordered, passed, search)
    return {**first, "took": took, "hits": hits}


def _rendered(hit: RankedHit, search: VisualSearch) -> dict[str, Any]:
    rendered = dict(hit.raw)
    rendered["_score"] = hit.score
    if search.hides_vectors and isinstance(rendered.get("_source"), dict):
        vectors = {DESCRIPTOR, *(slot.field for slot in search.slots)}
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
    """The total in the form it came, an object or a number."""
    value = total["value"] if isinstance(total, dict) else total
    if value < 0:  # not counted
        return total
    exact = not isinstance(total, dict) or total.get("relation") == "eq"
    if search.min_score is None:
        value = max(value, len(ordered))
    else:
        last = ordered[-1] if ordered else None
        # Whether those behind the known hits cannot reach the score either.
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
    """The value of a field; None if there is none of its kind."""
    values = fields.get(name)
    if not isinstance(values, list) or not values or not isinstance(values[0], kind):
        return None
    return values[0]


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None


def filtered(answer: Mapping[str, Any], filter_path: str) -> dict[str, Any]:
    """The parts of an answer that a `filter_path` names, as Elasticsearch cuts them out.

    Args:
        answer: whole.
        filter_path: paths with commas between; what is left out wins over what is asked for.
            Empty, or with nothing asked for: all that is not left out.
    """
    paths = [path for path in map(str.strip, filter_path.split(",")) if path]
    unwanted = [path[1:] for path in paths if path.startswith("-")]
    return cut(answer, [path for path in paths if not path.startswith("-")], unwanted)


def cut(value: Mapping[str, Any], wanted: Iterable[str], unwanted: Iterable[str]) -> dict[str, Any]:
    """What stays of an object if only the wanted paths stay, or all if there are none.

    Convention:
        An object or a list that has lost all it had goes too, and so does an empty one
        unless it is asked for itself.
    """
    asked = _Paths.of(wanted)
    return _cut_object(value, asked, _Paths.of(unwanted), whole=not asked.paths)


@dataclass(frozen=True)
class _Paths:
    """Paths, as far as they are not gone yet."""

    paths: frozenset[_Names]

    @staticmethod
    def of(written: Iterable[str]) -> _Paths:
        split = (_DOT.split(path) for path in written)
        return _Paths(
            frozenset(tuple(name.replace("\\.", ".") for name in names) for names in split)
        )

    @property
    def end_here(self) -> bool:
        """Whether one of them names what we stand at."""
        return () in self.paths

    def into(self, key: str) -> _Paths:
        """What is left of them one name further down."""
        left: set[_Names] = set()
        for path in self.paths:
            if path and fits(path[0], key):
                left.add(path[1:])
            if path and path[0] == _ANY_NAMES:
                left.add(path)
        return _Paths(frozenset(left))


def _cut(value: Any, wanted: _Paths, unwanted: _Paths, *, whole: bool) -> Any:
    """What stays of a value; `_LEFT_OUT` for nothing."""
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
