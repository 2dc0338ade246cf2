"""Whether the difference of two systems on the same queries may be chance.

Queries for one object succeed or fail together, so a test must take whole scenes, and not
single queries, as independent.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from jaxtyping import Float64

from descriptors.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.scores import Score
    from evaluation.trials import DatasetQuery

__all__ = ["Comparison", "NamedSystem", "QueryDifference", "compare", "holm", "named_pair"]

# Makes the second digit of a p-value near .05 stable, in a tenth of a second.
_RESAMPLES = 9999
_CONFIDENCE = 0.95
_SEED = 0

# With fewer scenes nothing is significant: if all agreed, chance would do so once in sixteen.
_MIN_GROUPS = 6


class NamedSystem(NamedTuple):
    """One system at one stage."""

    system: str
    stage: str

    def __str__(self) -> str:
        """The form of the command line."""
        return f"{self.system}:{self.stage}"


def named_pair(text: str, stages: Mapping[str, Sequence[str]]) -> tuple[NamedSystem, NamedSystem]:
    """The two systems of ``OfA:R100+QE5,R-MAC:first+QE5``.

    Args:
        text: the value of ``--compare``.
        stages: those that are measured, by the name of the system.

    Raises:
        RequestError: for another form, a system or stage that is not measured, or the same twice.
    """
    names = [part.strip() for part in text.split(",")]
    pairs = [NamedSystem(*name.partition(":")[::2]) for name in names]
    if len(pairs) != 2 or len(set(pairs)) != 2 or not all(p.stage for p in pairs):  # noqa: PLR2004
        raise RequestError(
            f"--compare {text!r} does not name two systems at their stages: write them as "
            "OfA:R100+QE5,R-MAC:first+QE5."
        )
    for system, stage in pairs:
        if system not in stages:
            raise RequestError(
                f"--compare names {system!r}, which is not measured: choose among "
                f"{', '.join(stages)}."
            )
        if stage not in stages[system]:
            raise RequestError(
                f"--compare names the stage {stage!r}, at which {system} is not measured: choose "
                f"among {', '.join(stages[system])}."
            )
    return pairs[0], pairs[1]


class QueryDifference(NamedTuple):
    """One query with its average precision by two systems."""

    query: DatasetQuery
    one: float
    other: float

    @property
    def gained(self) -> float:
        """By the first system over the other."""
        return self.one - self.other


@dataclass(frozen=True)
class Comparison:
    """One system against another on the same queries.

    Attributes:
        gained: mAP of the first less that of the other; the mean of the trials.
        trials: the same in each trial.
        p_value: how often chance alone would give as large a difference, either way; 1 with
            too few scenes.
        low, high: 95 % interval of the difference for other scenes; -1 and 1 with too few.
        better, worse: numbers of queries that gained and lost.
        queries, groups: numbers of queries and of scenes.
    """

    gained: float
    trials: tuple[float, ...]
    p_value: float
    low: float
    high: float
    better: int
    worse: int
    queries: int
    groups: int


def compare(
    one: Sequence[Sequence[Score]], other: Sequence[Sequence[Score]]
) -> tuple[Comparison, tuple[QueryDifference, ...]]:
    """Compare two systems by a permutation test and a bootstrap, both over scenes.

    Args:
        one, other: trial by trial the scores of the same queries; the first measure counts.

    Returns:
        The comparison, and the queries, greatest gain first.

    Convention:
        Queries are weighted as in the table: one over the queries of the trial, one over the
        trials. A query without a scene is a group of its own. The same scores always give the
        same numbers.

    Raises:
        RequestError: if the two have different queries.
    """
    trials = [_differences(mine, theirs) for mine, theirs in zip(one, other, strict=True)]
    groups = _groups(trials)
    p_value, low, high = _tested(groups)
    every = [difference for found in trials for difference in found]
    means = tuple(fmean(difference.gained for difference in found) for found in trials)
    comparison = Comparison(
        fmean(means),
        means,
        p_value,
        low,
        high,
        sum(difference.gained > 0 for difference in every),
        sum(difference.gained < 0 for difference in every),
        len(every),
        len(groups),
    )
    return comparison, tuple(sorted(every, key=lambda d: (-d.gained, d.query.name)))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, corrected for their number (Holm's method).

    Source:
        Holm 1979, "A Simple Sequentially Rejective Multiple Test Procedure".
    """
    raised, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(np.argsort(p_values, kind="stable").tolist()):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        raised[i] = highest
    return raised


def _differences(one: Sequence[Score], other: Sequence[Score]) -> list[QueryDifference]:
    theirs = {score.query.name: score.average_precision for score in other}
    if theirs.keys() != {score.query.name for score in one}:
        raise RequestError("Two systems have different queries: compare them on the same ones.")
    return [QueryDifference(s.query, s.average_precision, theirs[s.query.name]) for s in one]


def _groups(trials: Sequence[Sequence[QueryDifference]]) -> Float64[np.ndarray, "G 2"]:
    """What each scene adds to the mean difference, and its weight."""
    groups: dict[tuple[int, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for number, found in enumerate(trials):
        weight = 1 / (len(trials) * len(found))
        for difference in found:
            scene = difference.query.image.scene or difference.query.name
            group = groups[number, scene]
            group[0] += weight * difference.gained
            group[1] += weight
    return np.array(list(groups.values()))


def _tested(groups: Float64[np.ndarray, "G 2"]) -> tuple[float, float, float]:
    """The p-value, and the ends of the interval."""
    from scipy.stats import bootstrap, permutation_test

    gained, weights = groups.T
    if not gained.any():
        return 1.0, 0.0, 0.0
    if len(groups) < _MIN_GROUPS:
        return 1.0, -1.0, 1.0
    test = permutation_test(
        (gained,),
        lambda sample, axis: sample.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=_RESAMPLES,
        rng=np.random.default_rng(_SEED),
    )
    drawn = bootstrap(
        (gained, weights),
        lambda g, w, axis: g.sum(axis=axis) / w.sum(axis=axis),
        paired=True,
        vectorized=True,
        n_resamples=_RESAMPLES,
        confidence_level=_CONFIDENCE,
        method="percentile",
        rng=np.random.default_rng(_SEED),
    )
    interval = drawn.confidence_interval
    return float(test.pvalue), float(interval.low), float(interval.high)
