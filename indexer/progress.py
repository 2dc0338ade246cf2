"""What has been asked for, done and refused."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Progress"]


@dataclass
class Progress:
    """Counts of one run, kept up to date while it goes on.

    Attributes:
        asked: pictures seen so far.
        indexed: encoded and written.
        unchanged: already in the gallery, the same.
        updated: already in the gallery with the same bytes; only metadata was written.
        rejected: noted in the gallery with a reason.
        out_of_reach: in the gallery, but the picture cannot be read now; its document stays.
    """

    asked: int = 0
    indexed: int = 0
    unchanged: int = 0
    updated: int = 0
    rejected: int = 0
    out_of_reach: int = 0

    @property
    def finished(self) -> int:
        """Pictures that have met their end, whichever it was."""
        return self.indexed + self.unchanged + self.updated + self.rejected + self.out_of_reach
