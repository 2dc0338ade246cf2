"""What a compared system answers: each query's ranking of the gallery, a stage at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor

from evaluation.scores import Score

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evaluation.trials import Trial

__all__ = ["Rankings", "first_hits", "left_out", "ranked", "scores_of", "sorted_heads"]


@dataclass(frozen=True)
class Rankings:
    """The answers to all queries of a trial at one stage.

    Attributes:
        stage: its name in the table.
        rows: of the gallery, best first, a line a query; what a query leaves out stands last.
        milliseconds: a query's share; all queries of a trial are searched at once.
    """

    stage: str
    rows: Int[Tensor, "Q G"]
    milliseconds: float


def left_out(trial: Trial) -> Int[Tensor, " Q"]:
    """The row in the gallery of what each query leaves out; -1 where it is nothing."""
    rows = {photo.path: row for row, photo in enumerate(trial.gallery)}
    return torch.tensor([rows.get(query.leave_out or "", -1) for query in trial.queries])


def ranked(similarities: Float[Tensor, "Q G"], leave_out: Int[Tensor, " Q"]) -> Int[Tensor, "Q G"]:
    """Rows of the gallery by similarity, best first; what is left out last; ties by row."""
    similarities = similarities.clone()
    queries = torch.nonzero(leave_out >= 0)[:, 0]
    similarities[queries, leave_out[queries]] = -torch.inf
    return similarities.argsort(dim=1, descending=True, stable=True)


def first_hits(rows: Int[Tensor, "Q G"], most: int) -> Int[Tensor, "Q R"]:
    """The first of each ranking, but never the last of the whole: it may be what is left out."""
    return rows[:, : min(most, rows.shape[1] - 1)]


def sorted_heads(rows: Int[Tensor, "Q G"], scores: Float[Tensor, "Q R"]) -> Int[Tensor, "Q G"]:
    """Each ranking with its first R sorted by new scores; the rest keeps its order."""
    heads = scores.argsort(dim=1, descending=True, stable=True)
    window = scores.shape[1]
    return torch.cat([rows[:, :window].gather(1, heads), rows[:, window:]], dim=1)


def scores_of(name: str, trial: Trial, found: Rankings) -> Iterator[Score]:
    """The judgement of every ranking.

    Convention:
        What a query leaves out need not be taken out here: `Score.of` does.
    """
    ids = [photo.path for photo in trial.gallery]
    for query, rows in zip(trial.queries, found.rows.tolist(), strict=True):
        ranking = [ids[row] for row in rows]
        yield Score.of(name, found.stage, query, ranking, found.milliseconds)
