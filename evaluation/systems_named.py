"""A system at a stage, as people name it: ``OfA:R100+QE5``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from evaluation.ours import OURS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


def check_pair(text: str, stages: Mapping[str, Sequence[str]]) -> None:
    """Refuse, before anything is measured, what cannot name two systems at their stages.

    Args:
        text: as for `named_pair`.
        stages: those that will be measured, by the name of the system.

    Raises:
        RequestError: for another form, a system or stage that is not measured, or the same twice.
    """
    names = [part.strip() for part in text.split(",")]
    pairs = [name.partition(":") for name in names]
    two = len(pairs) == len(("one", "other")) and names[0] != names[-1]
    if not two or not all(stage for _, _, stage in pairs):
        raise RequestError(
            f"--compare {text!r} does not name two systems at their stages: write them as "
            "OfA:R100+QE5,R-MAC:first+QE5."
        )
    for system, _, stage in pairs:
        if system not in stages:
            raise RequestError(
                f"--compare names {system!r}, which is not measured: choose among "
                f"{', '.join(stages)}."
            )
        if stage not in stages[system]:
            raise RequestError(
                f"--compare names the stage {stage!r}, at which {system} is not measured: choose "
                f"among {', '.join(stages[system])}."
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
