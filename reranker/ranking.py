"""The parameters of a search, and its answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

from descriptors.errors import RequestError
from descriptors.expansion import GRAPH_HITS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from descriptors.arrays import Box
    from descriptors.settings import RegionSettings
    from galleries.documents import Document
    from galleries.filters import Filter

__all__ = ["RERANKED", "Hit", "Ranking", "RerankBy", "SearchPlan"]

RerankBy = Literal["windows", "maps", "images"]

# The default of R: windows are compared exactly in milliseconds, maps in about 1.5 ms a hit.
RERANKED: Mapping[RerankBy, int] = MappingProxyType({"windows": 1000, "maps": 100, "images": 100})


@dataclass(frozen=True)
class SearchPlan:
    """How to search.

    Attributes:
        k: hits wanted.
        window: R, how many first hits are re-ranked; 0 for none.
        by: re-rank by the windows in the index, by CAM regions of feature maps, or by whole images
            with the query's classes (OnA); None for windows if the gallery has them, else maps.
        windows: compare the query with windows in the first search.
        expand: n, hits that expand the query for a second search; 0 for none. See
            `descriptors.expansion.expanded_query`.
        alpha: exponent of alpha-QE; 0 for plain averaging.
        matching: filter on documents.
        leave_out: id of a document to leave out, such as the query's own.
        refine: fit the window of each hit of the answer to the object; encodes a hit whose maps are
            not kept. Refused where no windows are compared.
    """

    k: int = 10
    window: int = 0
    by: RerankBy | None = None
    windows: bool = False
    expand: int = 0
    alpha: float = 0.0
    matching: Filter | None = None
    leave_out: str | None = None
    refine: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers out of range."""
        if self.k < 1:
            raise RequestError(f"{self.k} hits were asked for: ask for at least 1.")
        if min(self.window, self.expand, self.alpha) < 0:
            raise RequestError("window, expand and alpha must not be negative: 0 turns each off.")

    def region_settings(self, of_gallery: RegionSettings) -> RegionSettings:
        """The gallery's settings, or those for whole images (OnA)."""
        return of_gallery.of_whole_images() if self.by == "images" else of_gallery

    @property
    def max_hits(self) -> int:
        """Hits that each search must return, including those needed for expansion."""
        return max(self.k, self.window, max(self.expand, GRAPH_HITS) if self.expand else 0)


@dataclass(frozen=True)
class Hit:
    """One hit of a search.

    Attributes:
        document: the image.
        score: cosine, of its best window or region if these were compared.
        rank: from 1.
        first_score, first_rank: in the first search; None if only the second one found it.
        box: best window or region in pixels of the image; None if only whole images were compared.
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
        first: hits before re-ranking and expansion.
        milliseconds: duration of each stage.
        warnings: sentences for the caller.
    """

    hits: tuple[Hit, ...]
    first: tuple[Hit, ...]
    milliseconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
