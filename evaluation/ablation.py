"""One setting after the other varied around a preset: what each value gains, and what it costs.

All that can be shared is: a photo passes the network again only where its size or its layers
change, its class vectors are made again only where their weights do, and what comes after the
vectors (how many, how many dimensions) is arithmetic on those at hand.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from evaluation.setups import Cost, Measured, all_photos, measure_setups
from evaluation.significance import Comparison, compare, holm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from descriptors.encoder import Encoder
    from evaluation.encoding import Progress
    from evaluation.knobs import Choice, Setup
    from evaluation.trials import PhotoQuery, Trial

__all__ = ["Ablation", "Variant", "ablate", "sampled"]


@dataclass(frozen=True)
class Variant:
    """One value of one setting, measured.

    Attributes:
        setting, value: what was varied, and to what.
        default: whether it is what the preset has.
        stage: at which it is judged.
        mean: average precision, the mean of the trials; None where it could not be measured.
        against: the preset, with the paired test; None of the preset itself.
        p_value: of that test, raised for the number of values tried (Holm).
        cost: see `Cost`.
        ms_per_query: of the search alone.
        failed: why it could not be measured; "" where it could.
    """

    setting: str
    value: str
    default: bool
    stage: str
    mean: float | None
    against: Comparison | None
    p_value: float | None
    cost: Cost | None
    ms_per_query: float | None
    failed: str = ""


@dataclass(frozen=True)
class Ablation:
    """What varying a preset's settings gave.

    Attributes:
        preset: its name.
        trials: names of the parts that were measured.
        photos, asked: how many photos and queries there were, over all trials.
        seconds: of the whole run.
        variants: setting by setting, in the order asked for.
    """

    preset: str
    trials: tuple[str, ...]
    photos: int
    asked: int
    seconds: float
    variants: tuple[Variant, ...]


def ablate(  # noqa: PLR0913 - all that a run is of
    trials: Sequence[Trial],
    encoder: Encoder,
    setup: Setup,
    choices: Sequence[Choice],
    cache: Path,
    *,
    preset_name: str,
    progress: Progress,
) -> Ablation:
    """Vary one setting at a time around a setup.

    Args:
        trials: at least one; see `sampled`.
        encoder: the network; its settings are the setup's.
        setup: what is varied around; its stage re-ranks.
        choices: of settings and values.
        cache: where feature maps are kept.
        preset_name: what people call the setup.
        progress: told what is done.

    Raises:
        RequestError: for a value that cannot be, or a photo that cannot be read.
    """
    started = time.perf_counter()
    bases = {True: setup, False: setup.first}
    asked = [
        (choice, value, one)
        for choice in choices
        for value, one in _varied(choice, bases[choice.knob.reranked])
    ]
    every = [*bases.values(), *(one for _, _, one in asked)]
    found = measure_setups(trials, encoder, every, cache, progress)
    variants = [
        _variant(choice, value, one, found, bases[choice.knob.reranked])
        for choice, value, one in asked
    ]
    return Ablation(
        preset_name,
        tuple(trial.name for trial in trials),
        len(all_photos(trials)),
        sum(len(trial.queries) for trial in trials),
        time.perf_counter() - started,
        tuple(_raised(variants)),
    )


def sampled(trials: Sequence[Trial], queries: int) -> tuple[Trial, ...]:
    """Trials with at most so many queries each, spread evenly over their order.

    Convention:
        Queries lie scene by scene, so that every scene keeps its share: what a test can tell
        hangs on the number of scenes more than on that of queries.
    """
    return tuple(
        replace(trial, queries=_spread(trial.queries, queries)) if queries else trial
        for trial in trials
    )


def _spread(queries: tuple[PhotoQuery, ...], most: int) -> tuple[PhotoQuery, ...]:
    if len(queries) <= most:
        return queries
    return tuple(queries[len(queries) * i // most] for i in range(most))


def _varied(choice: Choice, base: Setup) -> list[tuple[str, Setup]]:
    """Each value with its setup; the preset's own among them, whether asked for or not."""
    varied = [(value, choice.knob.apply(base, value)) for value in choice.values]
    if any(one == base for _, one in varied):
        return varied
    own = choice.knob.read(base)
    larger = (at for at, (value, _) in enumerate(varied) if not _is_less(value, own))
    place = next(larger, len(varied))
    return [*varied[:place], (own, base), *varied[place:]]


def _is_less(one: str, other: str) -> bool:
    """Whether one value is a smaller number than another; words are not."""
    try:
        return float(one) < float(other)
    except ValueError:
        return False


def _variant(
    choice: Choice,
    value: str,
    setup: Setup,
    found: Mapping[Setup, Measured | str],
    base: Setup,
) -> Variant:
    measured, default = found[setup], found[base]
    is_default = setup == base
    if isinstance(measured, str) or isinstance(default, str):
        why = measured if isinstance(measured, str) else str(default)
        name = setup.stage.name
        return Variant(choice.name, value, is_default, name, None, None, None, None, None, why)
    against = None if is_default else compare(measured.scores, default.scores)[0]
    return Variant(
        choice.name,
        value,
        is_default,
        setup.stage.name,
        measured.mean,
        against,
        None if against is None else against.p_value,
        measured.cost,
        measured.ms_per_query,
    )


def _raised(variants: Sequence[Variant]) -> Iterator[Variant]:
    """The same, with p-values raised for all the values that were tried."""
    tested = [v.against.p_value for v in variants if v.against is not None]
    raised = iter(holm(tested))
    for variant in variants:
        yield variant if variant.against is None else replace(variant, p_value=next(raised))
