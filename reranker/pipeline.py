"""A query's way to its answer: first search, re-ranking, expansion, second search.

first_search(R) -> per hit: heat map -> regions -> best match -> reorder
-> expand with the best regions -> search again
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from descriptors.arrays import QueryDescription
from descriptors.expansion import expanded_query, hits_to_read
from reranker.matching import Matcher, better_regions, unmatched_warning
from reranker.ranking import Hit, Ranking, SearchPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from descriptors.arrays import Box
    from descriptors.method import Method
    from descriptors.settings import RegionSettings
    from es_mappings.documents import Document, FirstHit, IndexedPicture
    from es_mappings.features import FeatureStore
    from es_mappings.gallery import Searchable
    from es_mappings.kept_maps import KeptMaps
    from reranker.matching import Match

__all__ = ["Searcher"]


@dataclass
class _Candidate:
    """A hit on its way through the stages."""

    id: str
    score: float
    first_score: float | None
    first_rank: int | None
    box: Box | None = None
    region_descriptor: Float[Tensor, " D"] | None = None
    expanding: Float[Tensor, " D"] | None = None


class Searcher:
    """Searches one gallery with one method."""

    def __init__(
        self,
        method: Method,
        gallery: Searchable,
        features: FeatureStore | None,
        regions: RegionSettings,
        encode: Callable[[Sequence[IndexedPicture]], Mapping[str, KeptMaps]] | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            method: made the gallery's vectors.
            gallery: of documents.
            features: kept maps; None where none are kept.
            regions: how regions are proposed and compared.
            encode: makes the maps of pictures that have none kept, from their addresses.
        """
        self.method, self.gallery, self.regions = method, gallery, regions
        self.matcher = Matcher(method, features, regions, encode)

    def search(self, query: QueryDescription, plan: SearchPlan) -> Ranking:
        """The answer to a query.

        Convention:
            Re-ranked hits come before those the re-ranking did not look at. With an
            expansion the whole gallery is searched again, as the paper does; boxes
            found on the way stay with their hits.

        Source:
            paper sections 5.1 and 4.4; docs/method.md sections 5 and 6.
        """
        took: dict[str, float] = {}
        warnings: list[str] = []
        first, ranked = self._ranked(query, plan, took, warnings)
        with _timed(took, "documents"):
            documents = self.gallery.get([c.id for c in (*ranked[: plan.k], *first[: plan.k])])
        return Ranking(
            _hits(ranked[: plan.k], documents),
            _hits(first[: plan.k], documents),
            took,
            tuple(warnings),
        )

    def close(self) -> None:
        """End the threads."""
        self.matcher.close()

    def _ranked(
        self,
        query: QueryDescription,
        plan: SearchPlan,
        took: dict[str, float],
        warnings: list[str],
    ) -> tuple[list[_Candidate], list[_Candidate]]:
        """The order of the first search, and the last one; no document is read."""
        with _timed(took, "first_search"):
            found = self._knn(_array(query.descriptor), plan.most_hits, plan)
        first = [_Candidate(h.id, h.cosine, h.cosine, i) for i, h in enumerate(found, start=1)]
        ranked = first
        if plan.window:
            with _timed(took, "rerank"):
                ranked = self._rerank(query, first, plan, warnings)
        if plan.expand:
            with _timed(took, "expand"):
                ranked = self._search_again(query, ranked, plan)
        return first, ranked

    def match(
        self, query: QueryDescription, documents: Sequence[Document], plan: SearchPlan
    ) -> dict[str, Match | None]:
        """The best region of each document whose maps can be had."""
        return self.matcher.match(query, documents, plan.region_settings(self.regions))

    def _knn(self, vector: Float32[np.ndarray, " D"], k: int, plan: SearchPlan) -> list[FirstHit]:
        hits = self.gallery.knn(vector, k + (plan.leave_out is not None), plan.matching)
        return [hit for hit in hits if hit.id != plan.leave_out][:k]

    def _rerank(
        self,
        query: QueryDescription,
        first: list[_Candidate],
        plan: SearchPlan,
        warnings: list[str],
    ) -> list[_Candidate]:
        """The window sorted by its best regions; the hits after it keep their order."""
        window, rest = first[: plan.window], first[plan.window :]
        documents = self.gallery.get([c.id for c in window])
        window = [c for c in window if c.id in documents]  # some may have been deleted meanwhile
        matches = self.match(query, list(documents.values()), plan)
        unmatched = len(window) - len(matches)
        if unmatched:
            warnings.append(unmatched_warning(unmatched, len(window)))
        ranked = [_reranked(c, matches.get(c.id), self.regions) for c in window]
        return sorted(ranked, key=lambda c: -c.score) + rest

    def _search_again(
        self, query: QueryDescription, ranked: list[_Candidate], plan: SearchPlan
    ) -> list[_Candidate]:
        """A second search, with the query plus its first hits.

        Source:
            docs/method.md section 5; what the default does otherwise: docs/adr/0006 and 0014.
        """
        best = ranked[: hits_to_read(plan.expand, self.regions)]
        vectors = self._vectors(best, query.descriptor.device)
        if not vectors:
            return ranked
        expanded = expanded_query(
            query.descriptor, torch.stack(vectors), plan.expand, plan.alpha, self.regions
        )
        found = {h.id: h.cosine for h in self._knn(_array(expanded), plan.most_hits, plan)}
        if self.regions.remember_regions:
            matched = {c.id: c.region_descriptor for c in ranked if c.region_descriptor is not None}
            found = better_regions(found, matched, expanded)
        known = {c.id: c for c in ranked}
        again = [_rescored(i, cosine, known.get(i)) for i, cosine in found.items()]
        return sorted(again, key=lambda c: -c.score)[: plan.most_hits]

    def _vectors(
        self, best: Sequence[_Candidate], device: torch.device
    ) -> list[Float[Tensor, " D"]]:
        """What hits expand the query with, in their order; one that is gone is left out."""
        indexed = self.gallery.get([c.id for c in best if c.expanding is None])
        vectors = []
        for c in best:
            if c.expanding is not None:
                vectors.append(c.expanding)
            elif c.id in indexed:
                vectors.append(torch.from_numpy(indexed[c.id].descriptor).to(device))
        return vectors


def _rescored(image_id: str, cosine: float, known: _Candidate | None) -> _Candidate:
    """A hit of the second search, with what the first knew of it."""
    if known is None:
        return _Candidate(image_id, cosine, None, None)
    # Written out, since `replace` takes several times as long, which tells over a whole gallery.
    return _Candidate(
        image_id,
        cosine,
        known.first_score,
        known.first_rank,
        known.box,
        known.region_descriptor,
    )


def _reranked(candidate: _Candidate, match: Match | None, settings: RegionSettings) -> _Candidate:
    if match is None:
        return candidate
    return replace(
        candidate,
        score=match.score,
        box=match.box,
        region_descriptor=match.descriptor,
        expanding=match.expanding(settings),
    )


def _hits(candidates: Sequence[_Candidate], documents: Mapping[str, Document]) -> tuple[Hit, ...]:
    """Answers; a document deleted since the search is left out."""
    present = [c for c in candidates if c.id in documents]
    return tuple(
        Hit(documents[c.id], c.score, rank, c.first_score, c.first_rank, c.box)
        for rank, c in enumerate(present, start=1)
    )


def _array(vector: Float[Tensor, " D"]) -> Float32[np.ndarray, " D"]:
    array: Float32[np.ndarray, " D"] = vector.cpu().numpy()
    return array


@contextmanager
def _timed(took: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    took[stage] = (time.perf_counter() - start) * 1e3
