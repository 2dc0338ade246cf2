"""What a search holds in its hand once the first hits are matched with the query."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

__all__ = ["Hand"]


@dataclass(frozen=True)
class Hand:
    """One query, the gallery, and the window of first hits.

    Attributes:
        query: the query's descriptor, unit.
        gallery: descriptors of all photos, a unit row each.
        answers: which photos may be answered: all but the query's own.
        window: rows of the first R hits, best first.
        regions: the descriptor of the best region of each hit of the window.
        wholes: of each whole picture of the window with the query's classes.
    """

    query: Float[Tensor, " D"]
    gallery: Float[Tensor, "P D"]
    answers: Bool[Tensor, " P"]
    window: Int[Tensor, " R"]
    regions: Float[Tensor, "R D"]
    wholes: Float[Tensor, "R D"]

    @cached_property
    def first(self) -> Float[Tensor, " P"]:
        """Cosines of the first search."""
        return self.gallery @ self.query

    @cached_property
    def matched(self) -> Float[Tensor, " R"]:
        """Cosines of the window's best regions with the query."""
        return self.regions @ self.query

    @cached_property
    def pictures(self) -> Float[Tensor, "R D"]:
        """Descriptors of the window's pictures as they are indexed."""
        return self.gallery[self.window]

    @cached_property
    def both(self) -> Float[Tensor, "R D"]:
        """Picture and best region together, unit."""
        return functional.normalize(self.pictures + self.regions, dim=1)

    def ranked(self, scores: Float[Tensor, " P"]) -> list[int]:
        """All rows that may be answered, by their scores."""
        kept = scores.masked_fill(~self.answers, -torch.inf)
        order = kept.argsort(descending=True, stable=True)
        return order[: int(self.answers.sum())].tolist()

    def reordered(self, scores: Float[Tensor, " R"]) -> list[int]:
        """The window by new scores, before all others in the order of the first search."""
        raised = self.first.clone()
        places = scores.argsort(descending=True, stable=True).argsort()
        raised[self.window] = 2.0 + len(self.window) - places.to(raised.dtype)
        return self.ranked(raised)

    def searched_again(
        self, query: Float[Tensor, " D"], window: Float[Tensor, "R D"] | None = None
    ) -> list[int]:
        """A second search, in which a hit of the window counts by its region where that is better.

        Args:
            query: the expanded one.
            window: what stands for the window's regions; None for the best regions.

        Source:
            docs/adr/0006.
        """
        scores = self.gallery @ query
        regions = (self.regions if window is None else window) @ query
        scores[self.window] = torch.maximum(scores[self.window], regions)
        return self.ranked(scores)
