"""One setting at a time varied around a preset: what each value gains, and what it costs."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass, replace
from statistics import fmean, median
from typing import TYPE_CHECKING, Any

from descriptors.encoder import Encoder, to_working_size
from descriptors.errors import RequestError
from evaluation.encoding import EncodedImages, encode_images, maps_digest, pixels_of
from evaluation.fitting import fit_method
from evaluation.knobs import KNOBS, Setup
from evaluation.ours import PreparedTrial
from evaluation.scores import mean_precision
from evaluation.searching import stage_of
from evaluation.significance import Comparison, compare, holm
from evaluation.trials import all_images

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from descriptors.method import Method
    from descriptors.settings import MethodSettings
    from evaluation.scores import Score
    from evaluation.trials import DatasetQuery, Progress, Trial

__all__ = ["Ablation", "Cost", "Variant", "ablate", "measure_cost", "sampled"]

# Images that are timed.
_TIMED = 9


@dataclass(frozen=True)
class Cost:
    """What a setup costs.

    Attributes:
        encode_ms: of one image's pass through the network.
        describe_ms: from its maps to its descriptor.
        bytes: of a descriptor.
    """

    encode_ms: float
    describe_ms: float
    bytes: int

    @property
    def ms_per_image(self) -> float:
        """To index one image, without reading it."""
        return self.encode_ms + self.describe_ms


@dataclass(frozen=True)
class Variant:
    """One value of one setting, measured.

    Attributes:
        default: whether it is the preset's value.
        stage: at which it is measured.
        mean: average precision, the mean of the trials; None if it could not be measured.
        against: the preset, with the paired test; None for the preset itself.
        p_value: of that test, corrected for the number of values tried (Holm).
        ms_per_query: of the search alone.
        failed: why it could not be measured; "" if it could.
    """

    setting: str
    value: str
    default: bool
    stage: str
    mean: float | None = None
    against: Comparison | None = None
    p_value: float | None = None
    cost: Cost | None = None
    ms_per_query: float | None = None
    failed: str = ""


@dataclass(frozen=True)
class Ablation:
    """The result of varying a preset's settings.

    Attributes:
        preset: its name.
        trials: names of the parts that were measured.
        photos, asked: numbers of images and queries, over all trials.
        seconds: of the whole run.
        variants: setting by setting, in the order asked for.
    """

    preset: str
    trials: tuple[str, ...]
    photos: int
    asked: int
    seconds: float
    variants: tuple[Variant, ...]

    @property
    def by_setting(self) -> dict[str, list[Variant]]:
        """The variants of each setting."""
        groups: dict[str, list[Variant]] = defaultdict(list)
        for variant in self.variants:
            groups[variant.setting].append(variant)
        return groups


def ablate(  # noqa: PLR0913 - all that a run is of
    trials: Sequence[Trial],
    encoder: Encoder,
    setup: Setup,
    choices: Mapping[str, tuple[str, ...]],
    cache: Path,
    progress: Progress,
    *,
    preset_name: str,
) -> Ablation:
    """Vary one setting at a time around a setup.

    Args:
        trials: at least one; see `sampled`.
        encoder: the network; its settings are the setup's.
        setup: what is varied around, called `preset_name`; its stage re-ranks.
        choices: see `chosen_knobs`.
        cache, progress: see `evaluation.runs.evaluate_trials`.

    Raises:
        RequestError: for an impossible value, or an image that cannot be read.
    """
    started = time.perf_counter()
    stage = setup.stage
    first = replace(setup, stage=stage_of(0, stage.expand, stage.alpha))
    asked = [
        (name, value, one, setup if KNOBS[name].reranked else first)
        for name, values in choices.items()
        for value, one in _varied(name, values, setup if KNOBS[name].reranked else first)
    ]
    every = dict.fromkeys([setup, first, *(one for _, _, one, _ in asked)])
    found = _measured(trials, encoder, list(every), cache, progress)
    variants = [
        _variant(Variant(name, value, one == base, one.stage.name), found[one], found[base])
        for name, value, one, base in asked
    ]
    raised = iter(holm([v.against.p_value for v in variants if v.against is not None]))
    return Ablation(
        preset_name,
        tuple(trial.name for trial in trials),
        len(all_images(trials)),
        sum(len(trial.queries) for trial in trials),
        time.perf_counter() - started,
        tuple(v if v.against is None else replace(v, p_value=next(raised)) for v in variants),
    )


def sampled(trials: Sequence[Trial], queries: int) -> tuple[Trial, ...]:
    """Trials with at most this many queries each (0 for all), evenly spread.

    Convention:
        Queries are ordered by scene, so every scene keeps its share: the power of a test
        depends on the number of scenes more than on that of queries.
    """

    def spread(every: tuple[DatasetQuery, ...]) -> tuple[DatasetQuery, ...]:
        count = min(queries or len(every), len(every))
        return tuple(every[len(every) * i // count] for i in range(count))

    return tuple(replace(trial, queries=spread(trial.queries)) for trial in trials)


def measure_cost(encoded: EncodedImages, trial: Trial) -> Cost:
    """The cost of describing an image of a trial with the encoder's own settings.

    Raises:
        RequestError: if there are too few images to fit the whitening on.
    """
    method = fit_method(trial.fit, encoded)
    describe_ms = _describe_ms(replace(encoded, encoder=method.encoder), trial, method)
    return Cost(_encode_ms(encoded, trial), describe_ms, 4 * encoded.encoder.settings.dims)


def _encode_ms(encoded: EncodedImages, trial: Trial) -> float:
    """The network's pass of one image, the median of a few."""
    encoder, took = encoded.encoder, []
    for image in trial.gallery[:_TIMED]:
        batch = encoder.prepare([to_working_size(pixels_of(image), encoder.settings)])
        started = time.perf_counter()
        encoder.encode(batch)
        took.append((time.perf_counter() - started) * 1e3)
    return median(took)


def _describe_ms(encoded: EncodedImages, trial: Trial, method: Method) -> float:
    """From one image's maps to its descriptor, the median of a few."""
    took = []
    for _, maps in encoded.batches(trial.gallery[:_TIMED]):
        for row in range(len(maps)):
            started = time.perf_counter()
            method.describe_encoded(maps[row : row + 1])
            took.append((time.perf_counter() - started) * 1e3)
    return median(took)


# Scores of every query trial by trial, and the cost of an image.
_Measured = tuple[list[tuple["Score", ...]], Cost]


def _measured(
    trials: Sequence[Trial],
    encoder: Encoder,
    setups: Sequence[Setup],
    cache: Path,
    progress: Progress,
) -> dict[Setup, _Measured | str]:
    """Each setup's scores by OfA, or why there are none; equal descriptors are computed once."""
    by_settings: dict[MethodSettings, list[Setup]] = defaultdict(list)
    for setup in setups:
        by_settings[setup.settings].append(setup)
    precision: Any = "bfloat16" if encoder.autocast else "float32"
    found: dict[Setup, _Measured | str] = {}
    # Settings that share their maps also share the measured time of encoding.
    known: dict[str, tuple[EncodedImages, float]] = {}
    for settings, group in by_settings.items():
        one = Encoder(encoder.loaded, settings, str(encoder.device), precision)
        digest = maps_digest(one)
        if digest not in known:
            encoded = encode_images(all_images(trials), one, cache, progress)
            known[digest] = encoded, _encode_ms(encoded, trials[0])
        encoded, encode_ms = known[digest]
        try:
            found |= _of_settings(trials, replace(encoded, encoder=one), group, encode_ms)
        except RequestError as error:
            found |= dict.fromkeys(group, error.reason)
        progress("settings", len(found), len(setups))
    return found


def _of_settings(
    trials: Sequence[Trial], encoded: EncodedImages, setups: Sequence[Setup], encode_ms: float
) -> dict[Setup, _Measured]:
    """Setups that differ only in the search."""
    methods = [fit_method(trial.fit, encoded) for trial in trials]
    describe_ms = _describe_ms(encoded, trials[0], methods[0])
    cost = Cost(encode_ms, describe_ms, 4 * encoded.encoder.settings.dims)
    scores: dict[Setup, list[tuple[Score, ...]]] = {setup: [] for setup in setups}
    for trial, method in zip(trials, methods, strict=True):
        described = PreparedTrial.of(trial, encoded, method, setups[0].regions)
        for regions in dict.fromkeys(setup.regions for setup in setups):
            group = [setup for setup in setups if setup.regions == regions]
            for setup, of_trial in zip(
                group, _scored(described.with_regions(regions), group), strict=True
            ):
                scores[setup].append(of_trial)
    return {setup: (of_setup, cost) for setup, of_setup in scores.items()}


def _scored(prepared: PreparedTrial, setups: Sequence[Setup]) -> list[tuple[Score, ...]]:
    """Scores of each setup; a query's hits are matched once for all."""
    searcher, stages = prepared.searcher(), [setup.stage for setup in setups]
    by_query = []
    for one in prepared.asked:
        searcher.next_query()
        by_query.append(tuple(prepared.score("OfA", one, searcher, stages)))
    searcher.close()
    return list(zip(*by_query, strict=True))


def _varied(name: str, values: Sequence[str], base: Setup) -> list[tuple[str, Setup]]:
    """Each value with its setup, always including the preset's own."""
    knob = KNOBS[name]
    varied = [(value, knob.apply(name, base, value)) for value in values]
    if any(one == base for _, one in varied):
        return varied
    own = knob.read(name, base)
    larger = (at for at, value in enumerate(values) if not _is_less(value, own))
    place = next(larger, len(varied))
    return [*varied[:place], (own, base), *varied[place:]]


def _is_less(one: str, other: str) -> bool:
    """Whether one value is a smaller number than another; words are not."""
    try:
        return float(one) < float(other)
    except ValueError:
        return False


def _variant(asked: Variant, found: _Measured | str, base: _Measured | str) -> Variant:
    if isinstance(found, str):
        return replace(asked, failed=found)
    if isinstance(base, str):
        return replace(asked, failed=base)
    scores, cost = found
    against = None if asked.default else compare(scores, base[0])[0]
    took = fmean(score.milliseconds for of_trial in scores for score in of_trial)
    mean = mean_precision(scores)
    return replace(asked, mean=mean, against=against, cost=cost, ms_per_query=took)
