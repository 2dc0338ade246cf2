"""The stages that are measured, and the product's own searcher going through them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from evaluation.encoding import encode_again
from reranker.matching import Matcher
from reranker.pipeline import Searcher
from reranker.ranking import SearchPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from descriptors.arrays import QueryDescription
    from descriptors.method import Method
    from descriptors.settings import RegionSettings
    from es_mappings.documents import Document, IndexedPicture
    from es_mappings.gallery import Searchable
    from es_mappings.kept_maps import KeptMaps
    from evaluation.encoding import PhotoMaps
    from reranker.matching import Match

__all__ = [
    "FIRST_STAGES",
    "OFFLINE_STAGES",
    "ONLINE_STAGES",
    "Stage",
    "StageMemory",
    "StageSearcher",
]


@dataclass(frozen=True)
class Stage:
    """One way to search.

    Attributes:
        name: in the table.
        window, expand, regions, alpha: see `SearchPlan`.
    """

    name: str
    window: int = 0
    expand: int = 0
    regions: bool = True
    alpha: float = 0.0

    def plan(self, gallery: int, leave_out: str | None) -> SearchPlan:
        """A search that ranks a whole gallery of this many photos, perhaps but for one."""
        return SearchPlan(
            k=gallery,
            window=self.window,
            regions=self.regions,
            expand=self.expand,
            alpha=self.alpha,
            leave_out=leave_out,
        )


FIRST_STAGES = (Stage("first"), Stage("first+QE5", expand=5), Stage("first+QE10", expand=10))
RERANKED_STAGES = (Stage("R100", 100), Stage("R100+QE5", 100, 5), Stage("R100+QE10", 100, 10))
ONLINE_STAGES = (*FIRST_STAGES, *RERANKED_STAGES)
OFFLINE_STAGES = (
    *ONLINE_STAGES,
    Stage("window100", 100, regions=False),
    Stage("window100+QE5", 100, 5, regions=False),
)


@dataclass
class StageMemory:
    """What several stages need of one query: the matches of its hits.

    Attributes:
        matches: by whether regions were tried, and by id.
        match_ms: what each took.
        spared_ms: what the last search would have spent on what was remembered.
    """

    matches: dict[tuple[bool, str], Match | None] = field(default_factory=dict)
    match_ms: dict[tuple[bool, str], float] = field(default_factory=dict)
    spared_ms: float = 0.0

    def forget(self) -> None:
        """Make room for the next query."""
        self.matches.clear()
        self.match_ms.clear()


class StageMatcher(Matcher):
    """The product's matcher, which knows what reading maps from memory has spared."""

    memory: StageMemory
    store: PhotoMaps

    def kept_maps(self, pictures: Sequence[IndexedPicture]) -> dict[str, KeptMaps]:
        """See `Matcher.kept_maps`."""
        averaged = self.regions.coarse_maps
        found = self.store.get_timed({p.id: p.digest for p in pictures}, averaged=averaged)
        # The matcher's threads read side by side.
        spared = sum(kept.spared_ms for kept in found.values())
        self.memory.spared_ms += spared / self.threads
        return {i: kept.maps for i, kept in found.items()}


class StageSearcher(Searcher):
    """The product's searcher, which reads and matches each hit of a query once for all stages.

    Convention:
        Several searchers may share one memory; it forgets before each new query.
    """

    def __init__(
        self,
        method: Method,
        gallery: Searchable,
        features: PhotoMaps,
        regions: RegionSettings,
        memory: StageMemory,
    ) -> None:
        """Put the parts together; see `Searcher`. Hits without kept maps are encoded again."""
        again = partial(encode_again, encoder=method.encoder)
        super().__init__(method, gallery, features, regions, again)
        self.matcher.close()
        self.matcher = StageMatcher(method, features, regions, again)
        self.matcher.memory = self._memory = memory
        self.matcher.store = features

    def rank_timed(self, query: QueryDescription, plan: SearchPlan) -> tuple[list[str], float]:
        """The ids of the answer, and the milliseconds it takes without remembering.

        Convention:
            The documents of the answer are not read: it is the whole gallery here, and ten
            documents in a real search.
        """
        self._memory.spared_ms = 0.0
        took: dict[str, float] = {}
        _, ranked = self._ranked(query, plan, took, [])
        found = [candidate.id for candidate in ranked[: plan.k]]
        return found, sum(took.values()) + self._memory.spared_ms

    def match(
        self, query: QueryDescription, documents: Sequence[Document], plan: SearchPlan
    ) -> dict[str, Match | None]:
        """See `Searcher.match`."""
        memory, keys = self._memory, {d.id: (plan.regions, d.id) for d in documents}
        known = {i: memory.matches[key] for i, key in keys.items() if key in memory.matches}
        before, started = memory.spared_ms, time.perf_counter()
        found = super().match(query, [d for d in documents if d.id not in known], plan)
        took = (time.perf_counter() - started) * 1e3 + memory.spared_ms - before
        memory.spared_ms += sum(memory.match_ms[keys[i]] for i in known)
        memory.matches |= {keys[i]: match for i, match in found.items()}
        memory.match_ms |= dict.fromkeys(map(keys.__getitem__, found), took / max(1, len(found)))
        return known | found
