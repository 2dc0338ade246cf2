"""Average precision of one ranking, as the Oxford evaluator counts it.

Convention:
    A ranking is ids, best first. What a dataset calls good and ok is positive; junk is
    taken out of the ranking first, so it neither helps nor harms. Ranks count from 0.

Source:
    docs/method.md section 9; Philbin et al. 2007 (Oxford buildings, compute_ap). Jégou et al. 2008
    (Holidays) and Radenovic et al. 2018 (revisited Oxford and Paris) count the same area from
    the ranks of the positives, in the ranking without the query or without the junk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from descriptors.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

__all__ = ["positive_ranks", "trapezoidal_average_precision"]


def positive_ranks(
    ranking: Iterable[str], positives: Collection[str], junk: Collection[str] = ()
) -> list[int]:
    """The ranks of the positives, ascending, in the ranking without the junk.

    Args:
        ranking: ids, best first, each at most once; those that are missing were not found.
        positives: ids that are right answers.
        junk: ids that are taken out.

    Raises:
        RequestError: if an id is both, or an answer comes twice.
    """
    if not set(positives).isdisjoint(junk):
        raise RequestError("A photo is both positive and junk: take it out of one of the lists.")
    kept = [answer for answer in ranking if answer not in junk]
    if len(set(kept)) != len(kept):
        raise RequestError("The ranking holds an answer twice: rank each photo once.")
    return [rank for rank, answer in enumerate(kept) if answer in positives]


def trapezoidal_average_precision(ranks: Sequence[int], positives: int) -> float:
    """The area under the precision-recall curve, by trapezoids.

    Args:
        ranks: of the positives that were found, ascending.
        positives: how many there are; those not found count as never found.

    Returns:
        0..1: at each hit the mean of the precision just before and just after it,
        where the precision before the first answer is 1.

    Source:
        Philbin et al. 2007; docs/method.md section 9. Their evaluator walks over every answer
        and keeps recall and precision from one to the next; between two hits recall stands
        still, so that only the hits have an area, and the precision just before one is
        found / rank.
    """
    if positives < 1:
        raise RequestError("A query without a positive has no average precision: leave it out.")
    if len(ranks) > positives:
        raise RequestError(
            f"{len(ranks)} positives were found of {positives}: count those in the gallery."
        )
    area = 0.0
    for found, rank in enumerate(ranks):
        before = found / rank if rank else 1.0
        area += (before + (found + 1) / (rank + 1)) / 2
    return area / positives
