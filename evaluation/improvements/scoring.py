"""The table of ways to rank, and what each gives on one trial."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import torch

from descriptors.settings import RegionSettings
from evaluation.improvements.hand import Hand
from evaluation.improvements.rankings import (
    diffused,
    diffused_order,
    expanded,
    expanded_twice,
    fused,
    refined,
    region_and_picture,
    summed_with_neighbours,
)
from evaluation.scores import Score

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from descriptors.arrays import QueryDescription
    from es_mappings.documents import Document
    from evaluation.improvements.rankings import Ranking
    from evaluation.trials import PhotoQuery
    from reranker.matching import Matcher

__all__ = ["IMPROVEMENTS", "score_improvements"]

# R of every row, as of the table of our own systems.
_WINDOW = 100
_DEFAULT = RegionSettings.preset("default")

IMPROVEMENTS: Mapping[str, Ranking] = MappingProxyType(
    {
        "region": fused(0.0),
        "fused with first .5": fused(0.5),
        "refined, 10": refined(10),
        "diffused, 5": diffused_order(5, _DEFAULT),
        "+QE5": expanded(5),
        "+QE10": expanded(10),
        "+alpha-QE10, alpha 1": expanded(10, 1.0),
        "+alpha-QE10, alpha 3": expanded(10, 3.0),
        "+QE5, then alpha-QE10": expanded_twice(5, 10, 1.0),
        "fused with first .5 +QE5": fused(0.5, 5),
        "+QE5, picture and region": region_and_picture(5),
        "refined, 10 +QE5": refined(10, 5),
        "window DBA, 10 +QE5": summed_with_neighbours(10, 5),
        "first, no regions +diffusion 5": diffused(5, _DEFAULT, matched=False),
        "+diffusion 5": diffused(5, _DEFAULT),
        "+diffusion 10": diffused(10, _DEFAULT),
    }
)


def score_improvements(
    asked: Iterable[tuple[PhotoQuery, QueryDescription]],
    documents: Mapping[str, Document],
    matcher: Matcher,
) -> list[Score]:
    """The score of each query by each row of `IMPROVEMENTS`, all after one matching of 100 hits.

    Args:
        asked: the queries of a trial with their descriptions.
        documents: of the trial's gallery, by the photos' paths.
        matcher: of the method that described them.

    Returns:
        Scores of the system ``OfA`` at stages named ``R100`` and the row; their milliseconds are
        of what comes after first search and matching.
    """
    ids = list(documents)
    gallery = torch.from_numpy(np.stack([one.descriptor for one in documents.values()]))
    scores = []
    for query, described in asked:
        hand = _hand(query, described, ids, gallery, documents, matcher)
        for name, rank in IMPROVEMENTS.items():
            started = time.perf_counter()
            rows = rank(hand)
            took = (time.perf_counter() - started) * 1e3
            scores.append(Score.of("OfA", f"R100 {name}", query, [ids[r] for r in rows], took))
    return scores


def _hand(
    query: PhotoQuery,
    described: QueryDescription,
    ids: list[str],
    gallery: torch.Tensor,
    documents: Mapping[str, Document],
    matcher: Matcher,
) -> Hand:
    answers = torch.tensor([i != query.leave_out for i in ids])
    descriptor = described.descriptor.cpu()
    first = (gallery @ descriptor).masked_fill(~answers, -torch.inf)
    window = first.topk(min(_WINDOW, int(answers.sum()))).indices
    found = matcher.match(described, [documents[ids[row]] for row in window.tolist()])
    regions, wholes = gallery[window].clone(), gallery[window].clone()
    for place, row in enumerate(window.tolist()):
        match = found.get(ids[row])
        if match is not None:
            regions[place] = match.descriptor.cpu()
            wholes[place] = wholes[place] if match.whole is None else match.whole.cpu()
    return Hand(descriptor, gallery, answers, window, regions, wholes)
