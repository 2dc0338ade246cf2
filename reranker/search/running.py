"""The state of an image search between its stages, and its answer."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from reranker.candidates import UNCOMPARED, Candidate
from reranker.dialect.answers import RankedHit, read_hits

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    from jaxtyping import Float
    from torch import Tensor

    from descriptors.arrays import QueryDescription
    from reranker.dialect.answers import FoundHit
    from reranker.dialect.searches import ImageQuery, VisualSearch
    from reranker.http.exchange import Request

__all__ = ["HitKey", "Ranked", "Running", "by_key"]

# Index and id of a hit.
HitKey = tuple[str, str]


@dataclass(frozen=True)
class Ranked:
    """The answer of a ranked search.

    Attributes:
        answer: JSON, before `filter_path`.
        headers: of Elasticsearch's first answer.
        warnings: sentences for the caller.
    """

    answer: dict[str, Any]
    headers: tuple[tuple[bytes, bytes], ...]
    warnings: tuple[str, ...]


@dataclass
class Running:
    """The state of a running search.

    Attributes:
        asked: the caller's request, for Elasticsearch; its body is replaced.
        search: the parsed search.
        queries: description of each of its images.
        until: deadline, in seconds of the loop's clock.
        by_windows: whether hits are re-ranked by their windows.
        compared: hits that were compared by their windows.
        found: hits of the first search, by index and id.
        again: hits of the second search; None if there was none.
        order: the current order of the hits.
        warnings: sentences for the caller.
    """

    asked: Request
    search: VisualSearch
    queries: Mapping[ImageQuery, QueryDescription]
    until: float
    by_windows: bool = False
    found: Mapping[HitKey, FoundHit] = field(default_factory=dict)
    again: Mapping[HitKey, FoundHit] | None = None
    compared: set[HitKey] = field(default_factory=set)
    order: list[Candidate[HitKey]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def own(self) -> QueryDescription:
        """The query that re-ranking and expansion compare with."""
        if self.search.image is None:
            raise ValueError("A search that does not rank has no image of its own.")
        return self.queries[self.search.image]

    def vectors(self, expanded: Float[Tensor, " D"] | None = None) -> dict[ImageQuery, np.ndarray]:
        """The vector of each image, with the expanded one, if any, for the search's own."""
        found = {image: query.descriptor for image, query in self.queries.items()}
        if expanded is not None and self.search.image is not None:
            found[self.search.image] = expanded
        return {image: vector.float().cpu().numpy() for image, vector in found.items()}

    def cosine(self, hit: FoundHit) -> float:
        """The cosine of a hit, if Elasticsearch's score is one."""
        if hit.score is None or not self.search.by_vectors_alone:
            return UNCOMPARED
        return 2 * hit.score - 1

    def hits(self) -> list[RankedHit]:
        """The hits to answer, with each document as of the last search that found it."""
        again = self.again or {}
        hits = []
        for c in self.order:
            first = self.found.get(c.key)
            known = self.again is not None or c.match is not None or c.key in self.compared
            hits.append(
                RankedHit(
                    (again.get(c.key) or self.found[c.key]).raw,
                    c.score if known and c.score != UNCOMPARED else None,
                    None if c.match is None else c.match.box,
                    None if first is None else first.score,
                    None if first is None else first.rank,
                )
            )
        return hits


def by_key(response: Mapping[str, Any]) -> dict[HitKey, FoundHit]:
    """The hits of an answer, by index and id."""
    return {(hit.index, hit.id): hit for hit in read_hits(response)}
