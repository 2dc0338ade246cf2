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
    from es_mappings.documents import Document, Gallery, IndexedPicture
    from es_mappings.features import FeatureStore, KeptMaps
    from reranker.matching import Match
    from reranker.ranking import Ranking

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
        window, expand, regions: see `SearchPlan`.
    """

    name: str
    window: int = 0
    expand: int = 0
    regions: bool = True

    def plan(self, gallery: int, leave_out: str | None) -> SearchPlan:
        """A search that ranks a whole gallery of this many photos, perhaps but for one."""
        return SearchPlan(
            k=gallery,
            window=self.window,
            regions=self.regions,
            expand=self.expand,
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
    """What several stages need of one query: maps of hits, and their matches.

    Attributes:
        maps: by id.
        matches: by whether regions were tried, and by id.
        read_ms, match_ms: what each took.
        spared_ms: what the last search would have spent on what was remembered.
    """

    maps: dict[str, KeptMaps] = field(default_factory=dict)
    matches: dict[tuple[bool, str], Match | None] = field(default_factory=dict)
    read_ms: dict[str, float] = field(default_factory=dict)
    match_ms: dict[tuple[bool, str], float] = field(default_factory=dict)
    spared_ms: float = 0.0

    def forget(self) -> None:
        """Make room for the next query."""
        for kept in (self.maps, self.matches, self.read_ms, self.match_ms):
            kept.clear()


class StageMatcher(Matcher):
    """The product's matcher, which reads each hit of a query once for all stages."""

    memory: StageMemory

    def kept_maps(self, pictures: Sequence[IndexedPicture]) -> dict[str, KeptMaps]:
        """See `Matcher.kept_maps`."""
        memory = self.memory
        missing = [p for p in pictures if p.id not in memory.maps]
        started = time.perf_counter()
        found = super().kept_maps(missing)
        # The matcher's threads read side by side.
        took = (time.perf_counter() - started) * 1e3 / self.threads
        known = {p.id: memory.maps[p.id] for p in pictures if p.id in memory.maps}
        memory.spared_ms += sum(memory.read_ms[i] for i in known)
        memory.maps |= found
        memory.read_ms |= dict.fromkeys(found, took / max(1, len(found)))
        return known | found


class StageSearcher(Searcher):
    """The product's searcher, which reads and matches each hit of a query once for all stages.

    Convention:
        Several searchers may share one memory; it forgets before each new query.
    """

    def __init__(
        self,
        method: Method,
        gallery: Gallery,
        features: FeatureStore,
        regions: RegionSettings,
        memory: StageMemory,
    ) -> None:
        """Put the parts together; see `Searcher`. Hits without kept maps are encoded again."""
        again = partial(encode_again, encoder=method.encoder)
        super().__init__(method, gallery, features, regions, again)
        self.matcher = StageMatcher(method, features, regions, again)
        self.matcher.memory = self._memory = memory

    def search_timed(self, query: QueryDescription, plan: SearchPlan) -> tuple[Ranking, float]:
        """The answer, and the milliseconds it takes without remembering.

        Convention:
            Reading the documents of the answer does not count: it is the whole gallery
            here, and ten documents in a real search.
        """
        self._memory.spared_ms = 0.0
        ranking = self.search(query, plan)
        took = {**ranking.milliseconds, "documents": 0.0}
        return ranking, sum(took.values()) + self._memory.spared_ms

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
