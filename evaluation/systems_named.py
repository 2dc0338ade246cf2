"""A system at a stage, as people name it: ``OfA:R100+QE5``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from evaluation.ours import OURS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from evaluation.scores import Row

__all__ = ["NamedSystem", "best_of_both", "check_pair", "named_pair"]


@dataclass(frozen=True)
class NamedSystem:
    """One system at one stage."""

    system: str
    stage: str

    def __str__(self) -> str:
        """As it is written on the command line."""
        return f"{self.system}:{self.stage}"


def check_pair(text: str, systems: Sequence[str]) -> None:
    """Refuse, before anything is measured, what cannot name two systems at their stages.

    Args:
        text: as for `named_pair`.
        systems: those that will be measured.

    Raises:
        RequestError: for another form, a system that is not measured, or the same twice.
    """
    names = [part.strip() for part in text.split(",")]
    pairs = [name.partition(":") for name in names]
    two = len(pairs) == len(("one", "other")) and names[0] != names[-1]
    if not two or not all(stage for _, _, stage in pairs):
        raise RequestError(
            f"--compare {text!r} does not name two systems at their stages: write them as "
            "OfA:R100+QE5,R-MAC:first+QE5."
        )
    missing = [system for system, _, _ in pairs if system not in systems]
    if missing:
        raise RequestError(
            f"--compare names {missing[0]!r}, which is not measured: choose among "
            f"{', '.join(systems)}."
        )


def named_pair(text: str, rows: Sequence[Row]) -> tuple[NamedSystem, NamedSystem]:
    """The two systems of ``OfA:R100+QE5,R-MAC:first+QE5``.

    Raises:
        RequestError: for other than two, or one that was not measured.
    """
    known = {str(one): one for one in (NamedSystem(row.system, row.stage) for row in rows)}
    names = [part.strip() for part in text.split(",")]
    missing = [name for name in names if name not in known]
    if missing or len(names) != len(("one", "other")):
        raise RequestError(
            f"--compare {text!r} does not name two systems that are measured: choose among "
            f"{', '.join(known)}."
        )
    return known[names[0]], known[names[1]]


def best_of_both(rows: Sequence[Row]) -> tuple[NamedSystem, NamedSystem] | None:
    """The best of ours and the best of the compared ones; None unless both were measured."""
    ours = [row for row in rows if row.system in OURS]
    theirs = [row for row in rows if row.system not in OURS]
    if not ours or not theirs:
        return None
    best = [max(some, key=lambda row: row.all) for some in (ours, theirs)]
    one, other = (NamedSystem(row.system, row.stage) for row in best)
    return one, other
