"""A query's way to its answer over a gallery.

first search -> re-rank R hits by their windows, or by CAM regions -> expand -> search again
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from descriptors.arrays import Box, QueryDescription
from descriptors.errors import RequestError
from reranker.candidates import (
    Candidate,
    expanded,
    reranked,
    rescored,
    searched_again,
    unmatched_warning,
    without_vector,
)
from reranker.errors import OneImageOnly
from reranker.matching import Matcher
from reranker.ranking import Hit, Ranking, SearchPlan

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from descriptors.method import Method
    from descriptors.settings import RegionSettings
    from galleries.documents import Document, FirstHit, IndexedImage
    from galleries.features import FeatureStore
    from galleries.gallery import Searchable
    from galleries.kept_maps import KeptMaps
    from reranker.matching import Match
    from reranker.ranking import RerankBy

__all__ = ["Order", "Searcher"]


@dataclass
class Order:
    """The hits of a search in their order, without documents.

    Attributes:
        first: after the first search.
        last: after re-ranking and expansion.
        milliseconds: duration of each stage.
        warnings: sentences for the caller.
    """

    first: list[Candidate[str]] = field(default_factory=list)
    last: list[Candidate[str]] = field(default_factory=list)
    milliseconds: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)


class Searcher:
    """Searches one gallery with one method."""

    def __init__(
        self,
        method: Method,
        gallery: Searchable,
        features: FeatureStore | None,
        regions: RegionSettings,
        encode: Callable[[Sequence[IndexedImage]], Mapping[str, KeptMaps]] | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            method: made the gallery's vectors.
            gallery: of documents.
            features: kept maps; None if none are kept.
            regions: how regions are proposed and compared.
            encode: reads and encodes images without kept maps.
        """
        self.method, self.gallery, self.regions = method, gallery, regions
        self.matcher = Matcher(method, features, regions, encode)

    def search(self, query: QueryDescription, plan: SearchPlan) -> Ranking:
        """Search the gallery.

        Convention:
            Re-ranked hits come before all others. With expansion the whole gallery is searched
            again, as in the paper; hits keep the boxes found by re-ranking.

        Raises:
            OneImageOnly: a query of several images is re-ranked by maps or whole images.

        Source:
            paper sections 5.1 and 4.4; docs/method.md sections 5 and 6.

        Raises:
            RequestError: boxes are to be refined, and no windows are compared.
        """
        windows = self.compares_windows(plan)
        if plan.refine and not windows:
            raise RequestError(
                "Only windows are refined, and this search compares none: re-rank by windows, or "
                "search without refine."
            )
        order = self.rank(query, plan)
        first, last = order.first[: plan.k], order.last[: plan.k]
        with _timed(order.milliseconds, "documents"):
            documents = self.gallery.get([c.key for c in (*last, *first)])
        places = {c.key: (c.score, rank) for rank, c in enumerate(order.first, start=1)}
        boxes = self.boxes(query, last, documents, windows=windows)
        boxes_before = self.boxes(query, first, documents, windows=plan.windows)
        hits = _hits(last, documents, places, boxes)
        if plan.refine:
            with _timed(order.milliseconds, "refine"):
                hits = self.refined(query, hits)
        return Ranking(
            hits,
            _hits(first, documents, places, boxes_before),
            order.milliseconds,
            tuple(order.warnings),
        )

    def rank(self, query: QueryDescription, plan: SearchPlan) -> Order:
        """As `search`, but without reading the documents of the answer."""
        order = Order()
        with _timed(order.milliseconds, "first_search"):
            found = self._knn(query.descriptor, plan, windows=plan.windows)
        order.first = order.last = [Candidate(hit.id, hit.cosine) for hit in found]
        if plan.window:
            with _timed(order.milliseconds, "rerank"):
                order.last = self._rerank(query, order, plan)
        if plan.expand:
            with _timed(order.milliseconds, "expand"):
                order.last = self._search_again(query, order.last, plan)
        return order

    def _knn(
        self, vector: Float[Tensor, " D"], plan: SearchPlan, *, windows: bool
    ) -> list[FirstHit]:
        search = self.gallery.knn_windows if windows else self.gallery.knn
        k = plan.max_hits
        hits = search(_array(vector), k + (plan.leave_out is not None), plan.matching)
        return [hit for hit in hits if hit.id != plan.leave_out][:k]

    def _rerank(
        self, query: QueryDescription, order: Order, plan: SearchPlan
    ) -> list[Candidate[str]]:
        first, rest = order.first[: plan.window], order.first[plan.window :]
        if self.by_windows(plan):
            ids = [c.key for c in first]
            found = self.gallery.knn_windows(_array(query.descriptor), len(ids), among=ids)
            cosines = {hit.id: hit.cosine for hit in found}
            return rescored(first, cosines) + rest
        if query.examples > 1:
            raise OneImageOnly
        documents = self.gallery.get([c.key for c in first], windows=False)
        window = [c for c in first if c.key in documents]  # some may have been deleted meanwhile
        matches = self.match(query, list(documents.values()), plan)
        unmatched = len(window) - len(matches)
        if unmatched:
            order.warnings.append(unmatched_warning(unmatched, len(window)))
        return reranked(window, matches) + rest

    def match(
        self, query: QueryDescription, documents: Sequence[Document], plan: SearchPlan
    ) -> dict[str, Match | None]:
        """The best region of each document whose maps can be read or made."""
        return self.matcher.match(query, documents, plan.region_settings(self.regions))

    def _search_again(
        self, query: QueryDescription, ranked: list[Candidate[str]], plan: SearchPlan
    ) -> list[Candidate[str]]:
        expanding = without_vector(ranked, plan.expand, self.regions)
        documents = self.gallery.get(expanding, windows=False)
        again = expanded(
            query.descriptor,
            ranked,
            {
                i: torch.from_numpy(document.descriptor).to(query.descriptor.device)
                for i, document in documents.items()
            },
            hits=plan.expand,
            alpha=plan.alpha,
            settings=self.regions,
        )
        if again is None:
            return ranked
        hits = self._knn(again, plan, windows=self.compares_windows(plan))
        found = {hit.id: hit.cosine for hit in hits}
        remembered = again if self.regions.remember_regions else None
        return searched_again(ranked, found, remembered)[: plan.max_hits]

    def boxes(
        self,
        query: QueryDescription,
        hits: Sequence[Candidate[str]],
        documents: Mapping[str, Document],
        *,
        windows: bool,
    ) -> dict[str, Box]:
        """Where hits show the query, by id: the best region, or the window most similar to it.

        Args:
            query: what was searched.
            hits: of a search; those deleted meanwhile, or compared as whole images, have no box.
            documents: of the hits, by id.
            windows: whether the query was compared with windows.
        """
        compared = _array(query.descriptor) if windows else None
        present = [hit for hit in hits if hit.key in documents]
        boxes = ((hit.key, _box(hit, documents[hit.key], compared)) for hit in present)
        return {key: box for key, box in boxes if box is not None}

    def refined(self, query: QueryDescription, hits: Sequence[Hit]) -> tuple[Hit, ...]:
        """Hits whose boxes are fitted to the object; see `descriptors.refining`.

        Convention:
            A hit without a box stays as it is, and so does one without kept maps whose image
            cannot be read.
        """
        boxes = [(hit.document, hit.box) for hit in hits if hit.box is not None]
        fitted = self.matcher.refined(query, boxes)
        return tuple(replace(hit, box=fitted.get(hit.document.id, hit.box)) for hit in hits)

    def compared(self, by: RerankBy | None) -> RerankBy:
        """What re-ranking compares: by default windows if the gallery has them, else maps."""
        return by or ("windows" if self.method.settings.windows else "maps")

    def by_windows(self, plan: SearchPlan) -> bool:
        """Whether a plan re-ranks by the windows in the index."""
        return plan.window > 0 and self.compared(plan.by) == "windows"

    def compares_windows(self, plan: SearchPlan) -> bool:
        """Whether some stage of a plan compares the windows in the index."""
        return plan.windows or self.by_windows(plan)

    def close(self) -> None:
        """Stop the threads."""
        self.matcher.close()


def _hits(
    candidates: Sequence[Candidate[str]],
    documents: Mapping[str, Document],
    places: Mapping[str, tuple[float, int]],
    boxes: Mapping[str, Box],
) -> tuple[Hit, ...]:
    """Hits with their documents; those deleted since the search are left out.

    Args:
        candidates: best first.
        documents: by id.
        places: first score and rank by id.
        boxes: by id, of the hits that have one.
    """
    hits: list[Hit] = []
    for c in candidates:
        if c.key in documents:
            first_score, first_rank = places.get(c.key, (None, None))
            rank, box = len(hits) + 1, boxes.get(c.key)
            hits.append(Hit(documents[c.key], c.score, rank, first_score, first_rank, box))
    return tuple(hits)


def _box(
    hit: Candidate[str], document: Document, compared: Float32[np.ndarray, " D"] | None
) -> Box | None:
    """The best region of a hit, or its window that is most similar to a vector."""
    if hit.match is not None:
        return hit.match.box
    if compared is None or document.windows is None:
        return None
    return document.windows.best(compared)


def _array(vector: Float[Tensor, " D"]) -> Float32[np.ndarray, " D"]:
    return vector.cpu().numpy()


@contextmanager
def _timed(took: dict[str, float], stage: str) -> Iterator[None]:
    start = time.perf_counter()
    yield
    took[stage] = (time.perf_counter() - start) * 1e3
