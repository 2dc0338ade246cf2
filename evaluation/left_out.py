"""What a run does not measure, and why: a table must not be silent about it."""

from __future__ import annotations

from dataclasses import dataclass, field

from evaluation.datasets.pictures import unreadable_note

__all__ = ["LeftOut"]


@dataclass
class LeftOut:
    """Collects, while a run goes on, what it cannot measure.

    Attributes:
        reasons: a sentence by the name of a system; the first that is found stays.
        streamed: names of streamed photos that cannot be read; trials may share them.
    """

    reasons: dict[str, str] = field(default_factory=dict)
    streamed: set[str] = field(default_factory=set)

    def add(self, system: str, reason: str) -> None:
        """Say that a system is left out."""
        self.reasons.setdefault(system, reason)

    def sentences(self) -> tuple[str, ...]:
        """Each reason once, with the systems it is true of; then the photos."""
        systems: dict[str, list[str]] = {}
        for system, reason in self.reasons.items():
            systems.setdefault(reason, []).append(system)
        told = [f"Left out, {', '.join(names)}: {why}" for why, names in systems.items()]
        return (*told, *unreadable_note(sorted(self.streamed), "streamed distractors"))
