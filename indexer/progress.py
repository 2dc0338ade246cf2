"""Chunks of work and their results."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.sources import Source

__all__ = ["Chunk", "Progress", "Result"]


@dataclass
class Progress:
    """Image counts of a run, updated in place.

    Attributes:
        asked: images seen so far.
        indexed: encoded and written.
        unchanged: already indexed.
        updated: already indexed with the same bytes; only metadata was written.
        rejected: listed as rejects with a reason.
        out_of_reach: already indexed but unreadable now; the document is kept.
    """

    asked: int = 0
    indexed: int = 0
    unchanged: int = 0
    updated: int = 0
    rejected: int = 0
    out_of_reach: int = 0

    @property
    def finished(self) -> int:
        """Images with an outcome."""
        return self.indexed + self.unchanged + self.updated + self.rejected + self.out_of_reach


@dataclass(frozen=True)
class Chunk:
    """Images that are indexed together.

    Attributes:
        id: the same for each delivery.
        gallery: name of a gallery, or of one of its concrete indices.
        run: the run to count it in; "" for none.
        again, retry_rejects: see `IndexingPlan`.
    """

    id: str
    sources: tuple[Source, ...]
    gallery: str
    run: str = ""
    again: bool = False
    retry_rejects: bool = False

    def apart(self) -> list[Chunk]:
        """Split into chunks of one image."""
        return [
            replace(self, id=f"{self.id}.{i}", sources=(source,))
            for i, source in enumerate(self.sources)
        ]


@dataclass(frozen=True)
class Result:
    """The result of a chunk.

    Attributes:
        failed: reasons by image id.
        apart: smaller chunks that replace this one.
    """

    progress: Progress = field(default_factory=Progress)
    failed: dict[str, str] = field(default_factory=dict)
    apart: Sequence[Chunk] = ()
