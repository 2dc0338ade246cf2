"""What a measurement gives: a score a query, and the rows of the table made of them."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from evaluation.average_precision import positive_ranks, trapezoidal_average_precision

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from evaluation.photos import PhotoQuery

__all__ = ["Labels", "Row", "Score", "TrialScore", "summarise"]


@dataclass(frozen=True)
class Score:
    """How well one query was answered by one system at one stage.

    Attributes:
        system, stage: names of the table.
        average_precision: trapezoidal.
        in_collection: see `PhotoQuery`.
        milliseconds: of the search alone.
    """

    system: str
    stage: str
    average_precision: float
    in_collection: bool
    milliseconds: float

    @classmethod
    def of(
        cls,
        system: str,
        stage: str,
        query: PhotoQuery,
        ranking: Iterable[str],
        milliseconds: float,
    ) -> Score:
        """Judge a ranking of the whole gallery."""
        ranks = positive_ranks(ranking, query.positives, query.junk | {query.photo.path})
        area = trapezoidal_average_precision(ranks, len(query.positives))
        return cls(system, stage, area, query.in_collection, milliseconds)


@dataclass(frozen=True)
class TrialScore:
    """Mean average precision in one trial.

    Attributes:
        all: over all queries.
        collections: over those in photo collections; None where there are none.
    """

    all: float
    collections: float | None


@dataclass(frozen=True)
class Labels:
    """What is the same in every row of a run.

    Attributes:
        preset: name of the settings.
        layers: names of the feature layers, joined by ``+``.
    """

    preset: str
    layers: str


@dataclass(frozen=True)
class Row:
    """One line of the table.

    Attributes:
        system: such as OfA or SPoC.
        preset, layers: see `Labels`.
        stage: such as first, first+QE5, R100+QE5.
        dims: of a descriptor.
        all: mean of the trials' mAP over all queries.
        collections: the same over queries in photo collections; None where there are none.
        ms_per_query: mean milliseconds of the search alone.
        trials: each trial's own values, in order (half 0, half 1).
    """

    system: str
    preset: str
    stage: str
    layers: str
    dims: int
    all: float
    collections: float | None
    ms_per_query: float
    trials: tuple[TrialScore, ...]


def summarise(trials: Sequence[Sequence[Score]], labels: Labels, dims: dict[str, int]) -> list[Row]:
    """The rows of a run, in order of their first score.

    Args:
        trials: the scores of each trial; all with the same systems and stages.
        labels: of the run.
        dims: of a descriptor, by system.
    """
    grouped: dict[tuple[str, str], list[list[Score]]] = defaultdict(list)
    for scores in trials:
        here: dict[tuple[str, str], list[Score]] = defaultdict(list)
        for score in scores:
            here[score.system, score.stage].append(score)
        for key, group in here.items():
            grouped[key].append(group)
    return [
        _row(system, stage, groups, labels, dims[system])
        for (system, stage), groups in grouped.items()
    ]


def _row(
    system: str, stage: str, groups: Sequence[Sequence[Score]], labels: Labels, dims: int
) -> Row:
    means = tuple(_trial(group) for group in groups)
    hard = [mean.collections for mean in means if mean.collections is not None]
    return Row(
        system,
        labels.preset,
        stage,
        labels.layers,
        dims,
        fmean(mean.all for mean in means),
        fmean(hard) if hard else None,
        fmean(score.milliseconds for group in groups for score in group),
        means,
    )


def _trial(scores: Sequence[Score]) -> TrialScore:
    hard = [score.average_precision for score in scores if score.in_collection]
    return TrialScore(
        fmean(score.average_precision for score in scores), fmean(hard) if hard else None
    )
