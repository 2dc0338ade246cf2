"""The stages that are measured, and the product's own searcher going through them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reranker.pipeline import Searcher
from reranker.ranking import SearchPlan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from descriptors.arrays import Encoded, QueryDescription, RegionMatch
    from descriptors.method import Method
    from descriptors.settings import RegionSettings
    from es_mappings.documents import Document, Gallery
    from es_mappings.features import FeatureStore
    from reranker.ranking import Ranking

    Match = tuple[RegionMatch | None, Encoded]

__all__ = [
    "FIRST_STAGES",
    "OFFLINE_STAGES",
    "ONLINE_STAGES",
    "MatchMemory",
    "Stage",
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

    def plan(self, gallery: int, leave_out: str) -> SearchPlan:
        """A search that ranks a whole gallery of this many photos, but for one."""
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
class MatchMemory:
    """The matches of one query, which several stages need.

    Attributes:
        matches: by whether regions were tried, and by id.
        milliseconds: what each took.
        spared: what the last search would have spent on matches that were remembered.
    """

    matches: dict[tuple[bool, str], Match] = field(default_factory=dict)
    milliseconds: dict[tuple[bool, str], float] = field(default_factory=dict)
    spared: float = 0.0


class StageSearcher(Searcher):
    """The product's searcher, for one query: it matches each hit once for all stages."""

    def __init__(
        self,
        method: Method,
        gallery: Gallery,
        features: FeatureStore,
        regions: RegionSettings,
        memory: MatchMemory,
    ) -> None:
        """Put the parts together; see `Searcher`."""
        super().__init__(method, gallery, features, regions)
        self._memory = memory

    def search_timed(self, query: QueryDescription, plan: SearchPlan) -> tuple[Ranking, float]:
        """The answer, and the milliseconds it takes without remembering.

        Convention:
            Reading the documents of the answer does not count: it is the whole gallery
            here, and ten documents in a real search.
        """
        self._memory.spared = 0.0
        ranking = self.search(query, plan)
        took = {**ranking.milliseconds, "documents": 0.0}
        return ranking, sum(took.values()) + self._memory.spared

    def _match(
        self, query: QueryDescription, documents: list[Document], plan: SearchPlan
    ) -> dict[str, Match]:
        memory, regions = self._memory, plan.regions
        missing = [d for d in documents if (regions, d.id) not in memory.matches]
        started = time.perf_counter()
        found: Mapping[str, Match] = super()._match(query, missing, plan) if missing else {}
        each = (time.perf_counter() - started) * 1e3 / max(1, len(found))
        memory.matches |= {(regions, i): match for i, match in found.items()}
        known = {
            d.id: memory.matches[regions, d.id]
            for d in documents
            if (regions, d.id) in memory.matches
        }
        memory.spared += sum(memory.milliseconds[regions, i] for i in known if i not in found)
        memory.milliseconds |= dict.fromkeys(((regions, i) for i in found), each)
        return known
