"""What a search asks for and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from descriptors.expansion import GRAPH_HITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from descriptors.arrays import Box
    from descriptors.settings import RegionSettings
    from galleries.documents import Document
    from galleries.filters import Filter

__all__ = ["Hit", "Ranking", "SearchPlan"]


@dataclass(frozen=True)
class SearchPlan:
    """How to search.

    Attributes:
        k: hits wanted.
        window: R, how many first hits are re-ranked; 0 for none.
        regions: re-rank by CAM regions; False for OnA on the window only.
        expand: n, hits that expand the query for a second search; 0 for none. What they bring
            along is the region settings' affair: `descriptors.expansion.expanded_query`.
        alpha: of alpha-QE; 0 is plain.
        matching: only documents that match this filter.
        leave_out: an id that shall not be answered, such as the query's own.
    """

    k: int = 10
    window: int = 0
    regions: bool = True
    expand: int = 0
    alpha: float = 0.0
    matching: Filter | None = None
    leave_out: str | None = None

    def __post_init__(self) -> None:
        """Refuse numbers that ask for nothing."""
        if self.k < 1:
            raise RequestError(f"{self.k} hits were asked for: ask for at least 1.")
        if min(self.window, self.expand, self.alpha) < 0:
            raise RequestError("window, expand and alpha must not be negative: 0 turns each off.")

    def region_settings(self, of_gallery: RegionSettings) -> RegionSettings:
        """How hits are matched: the gallery's way, or only as a whole (OnA)."""
        return of_gallery if self.regions else of_gallery.of_whole_images()

    @property
    def max_hits(self) -> int:
        """How many hits each search must bring; for an expansion as many as it can be made of."""
        return max(self.k, self.window, max(self.expand, GRAPH_HITS) if self.expand else 0)


@dataclass(frozen=True)
class Hit:
    """One answer.

    Attributes:
        document: the image.
        score: cosine, of its best region if it was re-ranked.
        rank: from 1.
        first_score, first_rank: of the first search; None if it only came with the expansion.
        box: where in the image, in its pixels; None if it was not re-ranked.
    """

    document: Document
    score: float
    rank: int
    first_score: float | None
    first_rank: int | None
    box: Box | None


@dataclass(frozen=True)
class Ranking:
    """The answer of a search.

    Attributes:
        hits: best first.
        first: the order before re-ranking and expansion.
        milliseconds: what each stage took.
        warnings: sentences about what could not be done as asked.
    """

    hits: tuple[Hit, ...]
    first: tuple[Hit, ...]
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
