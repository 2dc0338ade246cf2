"""First searches of an index, by descriptors or by windows, with ties in order of ids."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32, Int8

from descriptors.errors import RequestError
from es_mappings.elastic_client import answered
from es_mappings.elastic_reading import nearest
from es_mappings.fields import query_of
from es_mappings.windows import MAX_HITS, parts_of
from galleries.checks import fits_as_id
from galleries.documents import levels_of
from galleries.filters import Ids
from galleries.gallery import FIRST_DOCUMENTS

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from elasticsearch import Elasticsearch

    from galleries.documents import FirstHit

__all__ = ["FirstSearch"]

# Windows that profile `rerank` compares in one search, in about 50 ms on 2 cores.
_ALL_WINDOWS = 300_000


@dataclass(frozen=True)
class FirstSearch:
    """kNN searches of one index.

    Attributes:
        client: of the server.
        index: to search.
        windows: of each image; 0 for none.
        profile: of the windows; see `IndexPlan`.
    """

    client: Elasticsearch
    index: str
    windows: int
    profile: str

    def nearest(
        self,
        vector: Float32[np.ndarray, " D"] | Int8[np.ndarray, " D"],
        k: int,
        query: Mapping[str, Any],
    ) -> list[FirstHit]:
        """The k best hits among the documents that match a query, as exact as the index.

        Convention:
            More hits are requested until ties at the end are complete and can be ordered by id.

        Raises:
            RequestError: k is more than 10,000, or the query is refused.
        """
        _check_count(k)
        if k < 1:
            return []
        asked = k + 1
        while True:
            found = nearest(self.client, self.index, vector, min(asked, MAX_HITS), query)
            whole = len(found) < asked or asked >= MAX_HITS
            # With one extra hit, the last two show whether a tie is cut off.
            if whole or found[k - 1].cosine > found[-1].cosine:
                return sorted(found, key=_order)[:k]
            asked = min(4 * asked, MAX_HITS)

    def by_windows(
        self,
        vector: Float32[np.ndarray, " D"],
        k: int,
        query: Mapping[str, Any],
        among: Collection[str] | None,
    ) -> list[FirstHit]:
        """The k documents with the most similar windows; see `ElasticGallery.knn_windows`."""
        _check_count(k)
        if k < 1:
            return []
        levels = levels_of(vector)
        if among is None and self.profile == "rerank" and self._is_large(query):
            among = [hit.id for hit in self.nearest(vector, max(k, FIRST_DOCUMENTS), query)]
        if among is None:
            return self.nearest(levels, k, query)
        ids = [id_ for id_ in dict.fromkeys(among) if fits_as_id(id_)]
        parts = parts_of(ids, 1 if self.profile == "rerank" else self.windows)
        found = [hit for part in parts for hit in self._among(levels, part, query)]
        return sorted(found, key=_order)[:k]

    def _among(
        self, levels: Int8[np.ndarray, " D"], ids: Sequence[str], query: Mapping[str, Any]
    ) -> list[FirstHit]:
        """All documents with these ids that match a query, so that ties can be ordered."""
        both = {"bool": {"filter": [query, query_of(Ids(tuple(ids)))]}}
        return nearest(self.client, self.index, levels, len(ids), both, candidates=MAX_HITS)

    def _is_large(self, query: Mapping[str, Any]) -> bool:
        """Whether comparing the windows of all documents that match takes too long."""
        with answered("a count"):
            count = int(self.client.count(index=self.index, query=query)["count"])
        return count * self.windows > _ALL_WINDOWS


def _check_count(k: int) -> None:
    if k > MAX_HITS:
        raise RequestError(
            f"{k} hits are more than Elasticsearch's limit of {MAX_HITS:,}: ask for fewer."
        )


def _order(hit: FirstHit) -> tuple[float, str]:
    return -hit.cosine, hit.id
