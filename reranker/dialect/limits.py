"""How much one search may ask for."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["DialectLimits"]


@dataclass(frozen=True)
class DialectLimits:
    """The most that a search which names us may ask for.

    Attributes:
        window: R, hits that are re-ranked.
        k: hits of a `knn` clause that gets its vector from us.
        expand_hits: hits that expand a query.
        classes: of a query, the network's strongest.
        hits: `from` plus `size` of a re-ranked search, all of which are read.
        pictures: different ones in a search.
        picture_bytes: of a picture's file.
        depth: of objects and lists in one another; under 250, which is all that can be written.
        searches: in an `_msearch`, of those that name us.
    """

    window: int = 1000
    k: int = 10_000
    expand_hits: int = 100
    classes: int = 1000
    hits: int = 10_000
    pictures: int = 4
    picture_bytes: int = 20 * 2**20
    depth: int = 64
    searches: int = 32
