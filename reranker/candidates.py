"""The order of a search's hits: re-ranking, query expansion, second search.

    first hits -> rescored(first, cosines) or reranked(first, matches)
    -> expanded(query, ...) -> searched_again(found)

Pure functions over keys, cosines and matches. `reranker.pipeline` calls them for a gallery,
`reranker.search` for Elasticsearch; these read documents, maps and vectors. Any function that
returns a cosine or a `Match` per hit can re-rank.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.expansion import expanded_query, hits_to_read
from reranker.matching import Match

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from descriptors.settings import RegionSettings

__all__ = [
    "UNCOMPARED",
    "Candidate",
    "expanded",
    "reranked",
    "rescored",
    "searched_again",
    "unmatched_warning",
    "without_vector",
]

_Key = TypeVar("_Key", bound=Hashable)

# The score of a hit whose Elasticsearch score is not a cosine, as in a search by text.
UNCOMPARED = float("-inf")


@dataclass(slots=True)
class Candidate(Generic[_Key]):
    """A hit between the stages of a search.

    Attributes:
        key: identifies the hit.
        score: cosine, or `UNCOMPARED`.
        match: its best region; None if it has none.
    """

    key: _Key
    score: float
    match: Match | None = None


def reranked(
    first: Sequence[Candidate[_Key]], matches: Mapping[_Key, Match | None]
) -> list[Candidate[_Key]]:
    """Sort the first hits by the cosine of the best region of each.

    Convention:
        A hit without a match keeps its score; `UNCOMPARED` hits come last, in their order.

    Source:
        paper section 5.1.
    """
    return _best_first(
        c if (match := matches.get(c.key)) is None else Candidate(c.key, match.score, match)
        for c in first
    )


def rescored(
    first: Sequence[Candidate[_Key]], cosines: Mapping[_Key, float]
) -> list[Candidate[_Key]]:
    """Sort the first hits by the cosine of the best window of each, as stored in the index.

    Convention:
        A hit without a cosine keeps its score; `UNCOMPARED` hits come last, in their order.
    """
    return _best_first(Candidate(c.key, cosines.get(c.key, c.score)) for c in first)


def without_vector(
    ranked: Sequence[Candidate[_Key]], hits: int, settings: RegionSettings
) -> list[_Key]:
    """Keys of the hits that expand the query with their indexed vector."""
    best = ranked[: hits_to_read(hits, settings)]
    return [c.key for c in best if _of_match(c, settings) is None]


def expanded(
    query: Float[Tensor, " D"],
    ranked: Sequence[Candidate[_Key]],
    indexed: Mapping[_Key, Float[Tensor, " D"]],
    *,
    hits: int,
    alpha: float,
    settings: RegionSettings,
) -> Float[Tensor, " D"] | None:
    """The query vector of the second search; None if all of the first hits have been deleted.

    Args:
        query: unit vector.
        ranked: best first.
        indexed: vectors of the hits that `without_vector` returns; deleted ones are missing.
        hits, alpha, settings: see `expanded_query`.

    Source:
        docs/method.md section 5; deviations: docs/adr/0006 and 0014.
    """
    vectors = []
    for c in ranked[: hits_to_read(hits, settings)]:
        matched = _of_match(c, settings)
        vector = indexed.get(c.key) if matched is None else matched
        if vector is not None:
            vectors.append(vector)
    if not vectors:
        return None
    return expanded_query(query, torch.stack(vectors), hits, alpha, settings)


def searched_again(
    ranked: Sequence[Candidate[_Key]],
    found: Mapping[_Key, float],
    query: Float[Tensor, " D"] | None,
) -> list[Candidate[_Key]]:
    """Merge the second search's hits with the matches found so far.

    Args:
        ranked: the hits before the second search.
        found: cosines of the second search, in its order.
        query: of the second search. A matched hit is scored by its region if that is more similar
            than the whole image. None to ignore regions.

    Convention:
        A matched hit that the second search did not find is scored by its region alone.

    Source:
        docs/method.md section 5; docs/adr/0006.
    """
    matches = {c.key: c.match for c in ranked if c.match is not None}
    scores = dict(found)
    if query is not None and matches:
        regions = torch.stack([match.descriptor for match in matches.values()])
        for key, region in zip(matches, (regions @ query).tolist(), strict=True):
            scores[key] = max(region, scores.get(key, region))
    return _best_first(Candidate(key, score, matches.get(key)) for key, score in scores.items())


def unmatched_warning(unmatched: int, window: int) -> str:
    """The warning about hits whose maps could not be read."""
    return (
        f"{unmatched} of {window} hits keep their first score: their feature maps are not kept and "
        "their images cannot be read. Index them again."
    )


def _of_match(c: Candidate[_Key], settings: RegionSettings) -> Float[Tensor, " D"] | None:
    return None if c.match is None else c.match.expanding(settings)


def _best_first(candidates: Iterable[Candidate[_Key]]) -> list[Candidate[_Key]]:
    return sorted(candidates, key=lambda c: -c.score)
