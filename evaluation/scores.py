"""A score per query by average precision, and the rows of the table computed from them.

Convention:
    A ranking is ids, best first; ranks count from 0. What a dataset calls good and ok is positive;
    junk is removed from the ranking first, so it neither helps nor harms.

Source:
    docs/method.md section 9; Philbin et al. 2007 (Oxford buildings, compute_ap). Jégou et al. 2008
    (Holidays) and Radenovic et al. 2018 (revisited Oxford and Paris) compute the same area from
    the ranks of the positives, in the ranking without the query or without the junk.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import islice
from statistics import fmean
from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from evaluation.datasets.files import unreadable_note
from evaluation.datasets.photos import COLLECTIONS
from evaluation.where import Where

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from evaluation.trials import DatasetQuery

__all__ = [
    "JudgedHit",
    "LeftOut",
    "Row",
    "Score",
    "by_system",
    "mean_precision",
    "positive_ranks",
    "summarise",
    "trapezoidal_average_precision",
]


def positive_ranks(
    ranking: Iterable[str], positives: Collection[str], junk: Collection[str] = ()
) -> list[int]:
    """The ranks of the positives, ascending, in the ranking without the junk.

    Args:
        ranking: ids, best first, each at most once; missing ones were not found.
        positives: ids of right answers.
        junk: ids to remove.

    Raises:
        RequestError: if an id is both positive and junk, or is ranked twice.
    """
    if not set(positives).isdisjoint(junk):
        raise RequestError("An image is both positive and junk: remove it from one of the lists.")
    kept = [answer for answer in ranking if answer not in junk]
    if len(set(kept)) != len(kept):
        raise RequestError("The ranking has an answer twice: rank each image once.")
    return [rank for rank, answer in enumerate(kept) if answer in positives]


def trapezoidal_average_precision(ranks: Sequence[int], positives: int) -> float:
    """The area under the precision-recall curve, by trapezoids.

    Args:
        ranks: of the positives that were found, ascending.
        positives: how many there are.

    Returns:
        0..1: at each hit the mean of the precision just before and just after it,
        where the precision before the first answer is 1.

    Source:
        Philbin et al. 2007; docs/method.md section 9. Their evaluator goes through every answer;
        recall changes only at the hits, and the precision just before one is found / rank.
    """
    if positives < 1:
        raise RequestError("A query without a positive has no average precision: remove it.")
    if len(ranks) > positives:
        raise RequestError(
            f"{len(ranks)} positives were found of {positives}: count those in the gallery."
        )
    area = 0.0
    for found, rank in enumerate(ranks):
        before = found / rank if rank else 1.0
        area += (before + (found + 1) / (rank + 1)) / 2
    return area / positives


# First answers kept for the report; a run has tens of thousands of scores.
_ANSWERS_KEPT = 8


@dataclass(frozen=True)
class JudgedHit:
    """One of the first answers to a query: an image, and whether it is right; None for junk."""

    path: str
    right: bool | None


@dataclass(frozen=True)
class Score:
    """How well one query was answered by one system at one stage.

    Attributes:
        precision: trapezoidal average precision by the name of a measure.
        ranks: of the positives of the first measure in the ranking without junk, from 0.
        milliseconds: of the search alone.
        answers: the first few of the ranking, without the query's own image.
        where: how well the boxes of the right hits fit; None if there are none, or no true ones.
    """

    system: str
    stage: str
    query: DatasetQuery
    precision: Mapping[str, float]
    ranks: tuple[int, ...]
    milliseconds: float
    answers: tuple[JudgedHit, ...] = ()
    where: Where | None = None

    @classmethod
    def of(
        cls,
        system: str,
        stage: str,
        query: DatasetQuery,
        ranking: Iterable[str],
        milliseconds: float,
        where: Where | None = None,
    ) -> Score:
        """Score a ranking of the whole gallery."""
        found = list(ranking)
        own = () if query.leave_out is None else (query.leave_out,)
        distinct = dict.fromkeys(query.judgements.values())
        ranks = {j: positive_ranks(found, j.positives, j.junk.union(own)) for j in distinct}
        areas = {j: trapezoidal_average_precision(r, len(j.positives)) for j, r in ranks.items()}
        precision = {measure: areas[j] for measure, j in query.judgements.items()}
        first = tuple(next(iter(ranks.values())))
        answers = tuple(_answers(query, found))
        return cls(system, stage, query, precision, first, milliseconds, answers, where)

    @property
    def average_precision(self) -> float:
        """By the first measure of the query."""
        return next(iter(self.precision.values()))

    @property
    def positives(self) -> int:
        """The number of right answers, by the first measure of the query."""
        return len(next(iter(self.query.judgements.values())).positives)


@dataclass(frozen=True)
class TrialScore:
    """Mean average precision in one trial.

    Attributes:
        all: over all queries, by the first measure of the dataset.
        collections: over those in photo collections; None without any.
        measures: by every measure.
    """

    all: float
    collections: float | None
    measures: Mapping[str, float]

    @classmethod
    def of(cls, values: Sequence[Mapping[str, float]]) -> TrialScore:
        """The mean of each measure over the values that have it, in order of first appearance."""
        names = dict.fromkeys(name for of_one in values for name in of_one)
        measures = {name: fmean(v[name] for v in values if name in v) for name in names}
        return cls(next(iter(measures.values())), measures.get(COLLECTIONS), measures)


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        system: such as OfA or SPoC.
        preset, layers: names of the settings, and of the feature layers joined by ``+``.
        stage: such as first, first+QE5, R100+QE5.
        dims: of a descriptor.
        all, collections, measures: mean of the trials' values, see `TrialScore`.
        ms_per_query: mean milliseconds of the search alone.
        trials: each trial's own values, in order (half 0, half 1).
        where: how well the boxes fit, by measure: of the right hits of all of its queries in all
            trials together; empty without true boxes.
    """

    system: str
    preset: str
    stage: str
    layers: str
    dims: int
    all: float
    collections: float | None
    measures: Mapping[str, float]
    ms_per_query: float
    trials: tuple[TrialScore, ...]
    where: Mapping[str, Where] = field(default_factory=dict)


def by_system(
    trials: Sequence[Sequence[Score]],
) -> dict[tuple[str, str], tuple[tuple[Score, ...], ...]]:
    """The scores of each system at each stage, trial by trial, in order of their first score."""
    grouped: dict[tuple[str, str], list[list[Score]]] = defaultdict(lambda: [[] for _ in trials])
    for number, scores in enumerate(trials):
        for score in scores:
            grouped[score.system, score.stage][number].append(score)
    return {key: tuple(tuple(g) for g in groups if g) for key, groups in grouped.items()}


def mean_precision(trials: Sequence[Sequence[Score]]) -> float:
    """MAP of one system at one stage by the first measure, the mean of the trials."""
    return fmean(fmean(score.average_precision for score in scores) for scores in trials)


def summarise(
    trials: Sequence[Sequence[Score]], preset: str, layers: str, dims: Mapping[str, int]
) -> tuple[Row, ...]:
    """The rows of a run, in order of their first score.

    Args:
        trials: the scores of each trial, all with the same systems and stages.
        preset, layers: see `Row`.
        dims: of a descriptor, by system.
    """
    rows = []
    for (system, stage), groups in by_system(trials).items():
        means = tuple(TrialScore.of([score.precision for score in group]) for group in groups)
        mean = TrialScore.of([of_trial.measures for of_trial in means])
        took = fmean(score.milliseconds for group in groups for score in group)
        figures = (mean.all, mean.collections, mean.measures, took, means)
        where = _where([score for group in groups for score in group])
        rows.append(Row(system, preset, stage, layers, dims[system], *figures, where))
    return tuple(rows)


def _where(scores: Sequence[Score]) -> dict[str, Where]:
    """Of the right hits of each measure's queries."""
    found: dict[str, list[Where]] = defaultdict(list)
    for score in scores:
        if score.where is not None:
            for measure in score.precision:
                found[measure].append(score.where)
    pooled = {measure: Where.pooled(some) for measure, some in found.items()}
    return {measure: where for measure, where in pooled.items() if where is not None}


def _answers(query: DatasetQuery, ranking: Sequence[str]) -> Iterator[JudgedHit]:
    """The first answers of a ranking, by the query's first measure."""
    judgement = next(iter(query.judgements.values()))
    others = (path for path in ranking if path != query.leave_out)
    for path in islice(others, _ANSWERS_KEPT):
        yield JudgedHit(path, None if path in judgement.junk else path in judgement.positives)


@dataclass
class LeftOut:
    """What a run does not measure, and why.

    Attributes:
        reasons: a sentence by the name of a system; the first one stays.
        streamed: names of streamed images that cannot be read.
    """

    reasons: dict[str, str] = field(default_factory=dict)
    streamed: set[str] = field(default_factory=set)

    def add(self, system: str, reason: str) -> None:
        """Leave out a system."""
        self.reasons.setdefault(system, reason)

    def sentences(self) -> tuple[str, ...]:
        """Each reason once, with its systems; then the unreadable images."""
        systems: dict[str, list[str]] = {}
        for system, reason in self.reasons.items():
            systems.setdefault(reason, []).append(system)
        sentences = [f"Left out, {', '.join(names)}: {why}" for why, names in systems.items()]
        return (*sentences, *unreadable_note(sorted(self.streamed), "streamed distractors"))
