"""What Elasticsearch answered: its hits, and the answer with them in our order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from descriptors.arrays import Box
from es_mappings.fields import DESCRIPTOR
from reranker.dialect.clauses import NAME
from reranker.dialect.filter_path import filtered
from reranker.dialect.searches import VisualSearch
from reranker.dialect.wording import written_json

__all__ = ["FoundHit", "RankedHit", "answer_of", "read_hits", "render"]


@dataclass(frozen=True)
class FoundHit:
    """A hit of Elasticsearch.

    Attributes:
        index, id: what it is.
        score: Elasticsearch's.
        rank: from 1.
        digest, uri, width, height: of the picture; None where the document has none.
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
        box: where in the picture, in its pixels; None if no region is known.
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


def render(
    search: VisualSearch, first: Mapping[str, Any], ordered: Sequence[RankedHit], took: int
) -> bytes:
    """The body of the answer; see `answer_of`."""
    whole = answer_of(search, first, ordered, took)
    return written_json(filtered(whole, search.filter_path), pretty=search.pretty)


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
        exact = (exact and value <= len(ordered)) or _ends_below(ordered, search.min_score)
        value = len(passed)
    if not isinstance(total, dict):
        return value
    return {**total, "value": value, "relation": "eq" if exact else "gte"}


def _ends_below(ordered: Sequence[RankedHit], least: float) -> bool:
    """Whether those behind the known hits cannot reach a score either."""
    return bool(ordered) and ordered[-1].cosine is None and not _reaches(ordered[-1], least)


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
