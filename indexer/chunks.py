"""What a worker is given, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from indexer.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.sources import Source

__all__ = ["Chunk", "Result", "counts_of"]


@dataclass(frozen=True)
class Chunk:
    """Pictures that are indexed together.

    Attributes:
        id: the same however often it is delivered.
        sources: of the pictures.
        gallery: name of a gallery, or of one of its concrete indices.
        run: that it is counted in; "" for none.
        again, retry_rejects: see `IndexingPlan`.
    """

    id: str
    sources: tuple[Source, ...]
    gallery: str
    run: str = ""
    again: bool = False
    retry_rejects: bool = False

    def apart(self) -> list[Chunk]:
        """A chunk for each picture."""
        return [
            replace(self, id=f"{self.id}.{i}", sources=(source,))
            for i, source in enumerate(self.sources)
        ]


@dataclass(frozen=True)
class Result:
    """What came of a chunk.

    Attributes:
        progress: its counts.
        failed: a reason for each picture that was set aside.
        apart: smaller chunks that must be done in its place.
    """

    progress: Progress = field(default_factory=Progress)
    failed: dict[str, str] = field(default_factory=dict)
    apart: Sequence[Chunk] = ()


def counts_of(result: Result) -> dict[str, Any]:
    """A result as the answer of a task."""
    progress = result.progress
    return {
        "indexed": progress.indexed,
        "unchanged": progress.unchanged,
        "updated": progress.updated,
        "rejected": progress.rejected,
        "out_of_reach": progress.out_of_reach,
        "failed": result.failed,
        "divided": len(result.apart),
    }
