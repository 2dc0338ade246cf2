"""What a worker is given, and what comes of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from indexer.sources import Source

__all__ = ["Chunk", "Progress", "Result"]


@dataclass
class Progress:
    """Counts of one run, kept up to date while it goes on.

    Attributes:
        asked: images seen so far.
        indexed: encoded and written.
        unchanged: already in the gallery, the same.
        updated: already in the gallery with the same bytes; only metadata was written.
        rejected: noted in the gallery with a reason.
        out_of_reach: in the gallery, but the image cannot be read now; its document stays.
    """

    asked: int = 0
    indexed: int = 0
    unchanged: int = 0
    updated: int = 0
    rejected: int = 0
    out_of_reach: int = 0

    @property
    def finished(self) -> int:
        """Images that have met their end, whichever it was."""
        return self.indexed + self.unchanged + self.updated + self.rejected + self.out_of_reach


@dataclass(frozen=True)
class Chunk:
    """Images that are indexed together.

    Attributes:
        id: the same however often it is delivered.
        sources: of the images.
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
        """A chunk for each image."""
        return [
            replace(self, id=f"{self.id}.{i}", sources=(source,))
            for i, source in enumerate(self.sources)
        ]


@dataclass(frozen=True)
class Result:
    """What came of a chunk.

    Attributes:
        progress: its counts.
        failed: a reason for each image that was set aside.
        apart: smaller chunks that must be done in its place.
    """

    progress: Progress = field(default_factory=Progress)
    failed: dict[str, str] = field(default_factory=dict)
    apart: Sequence[Chunk] = ()
