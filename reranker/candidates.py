"""The order of a search's hits: re-ranked by regions, expanded, searched again.

    first hits -> reranked(window, matches) -> expanded(query, ...) -> searched_again(found)

Pure functions over keys, cosines and matches. A gallery (`reranker.pipeline`) and an
Elasticsearch (`reranker.search`) feed them, and read documents, maps and vectors on the way. A
re-ranking step is whatever makes a `Match` for each hit.
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
    "searched_again",
    "unmatched_warning",
    "without_vector",
]

Key = TypeVar("Key", bound=Hashable)

# The score of a hit that has none which compares with a cosine, as of a search by text.
UNCOMPARED = float("-inf")


@dataclass(slots=True)
class Candidate(Generic[Key]):
    """A hit on its way through the stages.

    Attributes:
        key: names the hit.
        score: cosine, or `UNCOMPARED`.
        match: its best region; None if it was not matched.
    """

    key: Key
    score: float
    match: Match | None = None


def reranked(
    window: Sequence[Candidate[Key]], matches: Mapping[Key, Match | None]
) -> list[Candidate[Key]]:
    """The window sorted by its best regions.

    Convention:
        A hit without a match keeps its score; what is `UNCOMPARED` stands last, in its order.

    Source:
        paper section 5.1.
    """
    return _best_first(
        c if (match := matches.get(c.key)) is None else Candidate(c.key, match.score, match)
        for c in window
    )


def without_vector(
    ranked: Sequence[Candidate[Key]], hits: int, settings: RegionSettings
) -> list[Key]:
    """The hits that expand the query with the vector they are indexed with."""
    best = ranked[: hits_to_read(hits, settings)]
    return [c.key for c in best if _of_match(c, settings) is None]


def expanded(
    query: Float[Tensor, " D"],
    ranked: Sequence[Candidate[Key]],
    indexed: Mapping[Key, Float[Tensor, " D"]],
    *,
    hits: int,
    alpha: float,
    settings: RegionSettings,
) -> Float[Tensor, " D"] | None:
    """The query of the second search; None if none of the first hits is there any more.

    Args:
        query: unit.
        ranked: best first.
        indexed: vectors of the hits that `without_vector` names; those that are gone are left out.
        hits, alpha, settings: see `expanded_query`.

    Source:
        docs/method.md section 5; what the default does otherwise: docs/adr/0006 and 0014.
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
    ranked: Sequence[Candidate[Key]],
    found: Mapping[Key, float],
    query: Float[Tensor, " D"] | None,
) -> list[Candidate[Key]]:
    """The hits of the second search with what is known of them.

    Args:
        ranked: the order before.
        found: scores of the second search, in its order.
        query: of that search, where a matched hit counts by its best region if that is more like
            it; None if regions no longer count.

    Convention:
        The whole image, as it is indexed, is one of a hit's regions. Of a hit that the second
        search did not find only the re-ranking's region is known.

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
    """What is said of hits whose maps could not be had."""
    return (
        f"{unmatched} of {window} hits keep their first score: their feature maps are not kept and "
        "their images cannot be read. Index them again."
    )


def _of_match(c: Candidate[Key], settings: RegionSettings) -> Float[Tensor, " D"] | None:
    return None if c.match is None else c.match.expanding(settings)


def _best_first(candidates: Iterable[Candidate[Key]]) -> list[Candidate[Key]]:
    return sorted(candidates, key=lambda c: -c.score)
