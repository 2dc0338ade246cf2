"""The hits of a search by pictures put in order: by regions, then by the expanded query.

The same steps as `reranker.pipeline.Searcher` takes over a `Gallery`, over answers of
Elasticsearch: what a hit looks like is the caller's affair, and its vector is not fetched.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from jaxtyping import Float
from torch import Tensor

from reranker.dialect.answers import RankedHit
from reranker.matching import better_regions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from descriptors.settings import RegionSettings
    from reranker.dialect.answers import FoundHit
    from reranker.matching import Match

__all__ = ["Placed", "first_order", "merged", "reordered"]


@dataclass(frozen=True)
class Placed:
    """A hit with all that is known of it.

    Attributes:
        hit: to be answered.
        key: index and id.
        descriptor: of its best region; None if it was not matched.
        expanding: what it expands the query with; None for the vector it is indexed with.
    """

    hit: RankedHit
    key: tuple[str, str]
    descriptor: Float[Tensor, " D"] | None = None
    expanding: Float[Tensor, " D"] | None = None


def first_order(found: Sequence[FoundHit]) -> list[Placed]:
    """The hits as Elasticsearch gave them."""
    return [
        Placed(RankedHit(h.raw, first_score=h.score, first_rank=h.rank), (h.index, h.id))
        for h in found
    ]


def reordered(
    placed: Sequence[Placed],
    window: int,
    matches: Mapping[tuple[str, str], Match],
    settings: RegionSettings,
    *,
    cosines: bool = True,
) -> list[Placed]:
    """The window sorted by the regions' cosines; the hits after it keep their order.

    Args:
        placed: the first order.
        window: R.
        matches: by index and id.
        settings: what a matched hit expands the query with.
        cosines: the first scores are those of the vectors alone.

    Convention:
        A hit of the window without a match keeps its first score, and is sorted by that where
        it compares with a cosine; else it comes after those with one.

    Source:
        paper section 5.1.
    """
    inside = [_matched(one, matches.get(one.key), settings) for one in placed[:window]]
    if cosines:
        return sorted(inside, key=_score, reverse=True) + list(placed[window:])
    with_region = [one for one in inside if one.descriptor is not None]
    without = [one for one in inside if one.descriptor is None]
    return sorted(with_region, key=_score, reverse=True) + without + list(placed[window:])


def merged(
    ranked: Sequence[Placed],
    again: Sequence[FoundHit],
    expanded: Float[Tensor, " D"] | None,
    *,
    cosines: bool,
) -> list[Placed]:
    """The hits of the second search, those known before with what is known of them.

    Args:
        ranked: in the order before.
        again: hits of the second search.
        expanded: the query of that search, if a re-ranked hit counts by its best region where
            that is better; None if regions do not count any more.
        cosines: Elasticsearch's scores are those of the vectors alone. Those of a search by
            text, too, are left as they are, and regions do not count.

    Source:
        docs/method.md section 5; docs/adr/0006.
    """
    known = {one.key: one for one in ranked}
    found = {(h.index, h.id): Placed(RankedHit(h.raw), (h.index, h.id)) for h in again}
    scores = {(h.index, h.id): h.score for h in again}
    if not cosines:
        return [_again(known.get(key, one), one, None) for key, one in found.items()]
    cosine = {key: 2 * score - 1 for key, score in scores.items() if score is not None}
    if expanded is not None:
        regions = {one.key: one.descriptor for one in ranked if one.descriptor is not None}
        cosine = better_regions(cosine, regions, expanded)
    everyone = {key: known.get(key, found.get(key)) for key in cosine}
    placed = [
        _again(one, found.get(key, one), cosine[key])
        for key, one in everyone.items()
        if one is not None
    ]
    return sorted(placed, key=_score, reverse=True)


def _matched(one: Placed, match: Match | None, settings: RegionSettings) -> Placed:
    if match is None:
        return one
    hit = replace(one.hit, cosine=match.score, box=match.box)
    expanding = match.expanding(settings)
    return replace(one, hit=hit, descriptor=match.descriptor, expanding=expanding)


def _again(known: Placed, found: Placed, cosine: float | None) -> Placed:
    """A hit in its new place; its document as the second search saw it."""
    return replace(known, hit=replace(known.hit, raw=found.hit.raw, cosine=cosine))


def _score(one: Placed) -> float:
    score = one.hit.score
    return 0.0 if score is None else score
