"""Where: how often the box of a right hit fits the true one.

Convention:
    Counted are the right answers among the first 100 of a ranking (without junk) whose true place
    is known. Of several true boxes of the thing in one image any will do. A right hit without a
    box fits nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from descriptors.arrays import Box
    from evaluation.trials import DatasetQuery

__all__ = ["Where", "overlap", "placed_hits"]

# Answers that are looked at: a user's pages, and what is re-ranked.
_FIRST = 100

# Least intersection over union of a box that fits loosely, and of one that fits well.
_LOOSE, _WELL = 0.3, 0.5


@dataclass(frozen=True)
class Where:
    """How well the boxes of right hits fit.

    Attributes:
        right: the number of hits.
        iou_30, iou_50: share of them with an intersection over union of at least .3, .5.
        centre: share of them with the centre of their box inside a true one.
    """

    right: int
    iou_30: float
    iou_50: float
    centre: float

    @classmethod
    def of(cls, found: Sequence[tuple[Box | None, Sequence[Box]]]) -> Where | None:
        """Compare the box of each hit with its true ones; None without any hit."""
        return cls.pooled(_fit(box, true) for box, true in found)

    @classmethod
    def pooled(cls, parts: Iterable[Where]) -> Where | None:
        """Of all hits together, each with the same weight; None without any."""
        some = list(parts)
        right = sum(part.right for part in some)
        if not right:
            return None
        return cls(
            right,
            sum(part.right * part.iou_30 for part in some) / right,
            sum(part.right * part.iou_50 for part in some) / right,
            sum(part.right * part.centre for part in some) / right,
        )


def placed_hits(query: DatasetQuery, ranking: Iterable[str]) -> list[str]:
    """The right answers among the first 100 whose true place is known, best first."""
    judgement = next(iter(query.judgements.values()))
    answers = (path for path in ranking if path != query.leave_out and path not in judgement.junk)
    return [path for path in islice(answers, _FIRST) if path in query.places]


def overlap(one: Box, other: Box) -> float:
    """Intersection over union, 0..1."""
    width = min(one.x1, other.x1) - max(one.x0, other.x0)
    height = min(one.y1, other.y1) - max(one.y0, other.y0)
    common = max(width, 0.0) * max(height, 0.0)
    return common / (_area(one) + _area(other) - common)


def _fit(box: Box | None, true: Sequence[Box]) -> Where:
    if box is None:
        return Where(1, 0.0, 0.0, 0.0)
    best = max(overlap(box, one) for one in true)
    inside = any(_centre_inside(box, one) for one in true)
    return Where(1, float(best >= _LOOSE), float(best >= _WELL), float(inside))


def _centre_inside(box: Box, true: Box) -> bool:
    x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
    return true.x0 <= x < true.x1 and true.y0 <= y < true.y1


def _area(box: Box) -> float:
    return (box.x1 - box.x0) * (box.y1 - box.y0)
