"""A whole run: every system at every stage on some trials, as scores and rows."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from descriptors.errors import RequestError
from evaluation.baselines.systems import ALL_BASELINES, chosen_baselines, dims_of, score_baselines
from evaluation.encoding import encode_images
from evaluation.examples import EXAMPLES
from evaluation.ours import OURS, PACKAGED_IS_OURS, STREAMED, score_ours
from evaluation.scores import LeftOut, Row, Score, summarise
from evaluation.trials import all_images

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from descriptors.encoder import Encoder
    from descriptors.settings import RegionSettings
    from evaluation.encoding import EncodedImages
    from evaluation.searching import Stage
    from evaluation.trials import Progress, Trial

__all__ = [
    "About",
    "Evaluation",
    "check_systems",
    "evaluate_trials",
    "score_systems",
    "stages_measured",
]


# Queries by several images are measured only if they are named.
_EVERY_OWN = {**OURS, **EXAMPLES}


@dataclass(frozen=True)
class About:
    """Where trials come from; only for the user.

    Attributes:
        dataset: its name, such as photos.
        folder: where it is.
        queries: full, boxes, or another name of the dataset's own.
        fitted_on: the other collection that the whitening was fitted on; None for the other half.
    """

    dataset: str
    folder: str
    queries: str = "full"
    fitted_on: str | None = None


@dataclass(frozen=True)
class Evaluation:
    """What a run measured.

    Attributes:
        photos, asked: numbers of images and queries, over all trials.
        trials: their names, in the order of each row's own values.
        seconds, encoding_seconds: of the whole run, and of its encoding.
        scores: of each trial, every query by every system at every stage.
        left_out: sentences about systems that could not be measured, and unreadable streamed
            images.
    """

    about: About
    photos: int
    asked: int
    trials: tuple[str, ...]
    seconds: float
    encoding_seconds: float
    rows: tuple[Row, ...]
    scores: tuple[tuple[Score, ...], ...]
    left_out: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """Everything except the scores, for JSON; a mean over no query is None."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        del plain["about"], plain["scores"]
        return asdict(self.about) | plain | {"rows": [asdict(row) for row in self.rows]}


def evaluate_trials(  # noqa: PLR0913 - all that a run is of
    trials: Sequence[Trial],
    about: About,
    encoder: Encoder,
    regions: RegionSettings,
    cache: Path,
    progress: Progress,
    *,
    preset_name: str,
    systems: Collection[str] | None = None,
    learned: int = 0,
) -> Evaluation:
    """Measure our systems and the baselines on the trials of any dataset.

    Args:
        trials: at least one.
        about: where they come from.
        encoder: the network, and the settings of the method; the baselines use its layers,
            sizes and dimensions.
        regions: of the re-ranking.
        cache: folder of feature maps, kept for the next run.
        progress: called with what is being done, how many are done, and of how many.
        preset_name: the name of these settings in the rows.
        systems: names of those to measure; None for all but those by several images.
        learned: how many classes our systems learn from the images of each trial that the
            whitening is fitted on; 0 for the network's own.

    Raises:
        RequestError: for an unknown system, an image that cannot be read, too few images, or
            if no system can be measured.
    """
    check_systems(systems)
    left_out = LeftOut()
    if learned and not all(trial.fit for trial in trials):
        raise RequestError(
            "The packaged whitening has no learned classes: name images to learn them from "
            "(--fit-on DIR)."
        )
    if any(trial.streamed for trial in trials) and systems is not None and "OfA" not in systems:
        raise RequestError(f"{', '.join(systems)}: {STREAMED} Add OfA to the systems.")
    started = time.perf_counter()
    images = all_images(trials)
    encoded = replace(encode_images(images, encoder, cache, progress), learned=learned)
    encoding_seconds = time.perf_counter() - started
    scores = score_systems(
        trials, encoded, regions, cache, progress, systems=systems, left_out=left_out
    )
    if not any(scores):
        raise RequestError(" ".join(left_out.sentences()))
    layers = "+".join(layer.name for layer in encoder.settings.layers)
    dims = dict.fromkeys(_EVERY_OWN, encoder.settings.dims)
    dims |= {name: dims_of(name, encoder) for name in _baselines(systems)}
    return Evaluation(
        about,
        len(images),
        sum(len(trial.queries) for trial in trials),
        tuple(trial.name for trial in trials),
        time.perf_counter() - started,
        encoding_seconds,
        summarise(scores, preset_name, layers, dims),
        tuple(tuple(of_trial) for of_trial in scores),
        left_out.sentences(),
    )


def check_systems(systems: Collection[str] | None) -> None:
    """Refuse systems that cannot be measured.

    Raises:
        RequestError: for an unknown name, or for BoW without OpenCV.
    """
    known = (*_EVERY_OWN, *ALL_BASELINES)
    unknown = [name for name in systems or () if name not in known]
    if unknown:
        raise RequestError(f"There is no system {unknown[0]!r}: choose among {', '.join(known)}.")
    _baselines(systems)


def stages_measured(
    systems: Collection[str] | None, *, streamed: bool = False
) -> dict[str, tuple[str, ...]]:
    """The stages at which each of the chosen systems is measured.

    Args:
        systems: see `evaluate_trials`.
        streamed: whether there are streamed images, with which only OfA is measured.
    """
    stages = {name: tuple(stage.name for stage in some) for name, some in _EVERY_OWN.items()}
    stages |= {name: ALL_BASELINES[name].stages for name in _baselines(systems)}
    return {
        name: some
        for name, some in stages.items()
        if _is_chosen(name, systems) and (not streamed or name == "OfA")
    }


def score_systems(  # noqa: PLR0913 - all that a run is of
    trials: Sequence[Trial],
    encoded: EncodedImages,
    regions: RegionSettings,
    cache: Path,
    progress: Progress,
    *,
    ours: Mapping[str, Sequence[Stage]] = _EVERY_OWN,
    systems: Collection[str] | None = None,
    left_out: LeftOut,
) -> list[list[Score]]:
    """Every system's scores of every query, trial by trial, ours first.

    Args:
        ours: the stages of our systems.
        left_out: receives the systems that could not be measured, and have no scores in any trial.
        trials, encoded, regions, cache, progress, systems: see `evaluate_trials`.

    Raises:
        RequestError: if there are too few images to fit our own whitening on.
    """
    stages = {name: some for name, some in ours.items() if _is_chosen(name, systems)}
    scores: list[list[Score]] = [[] for _ in trials]
    for trial, here in zip(trials, scores, strict=True):
        if stages:
            here.extend(score_ours(trial, encoded, regions, progress, stages, left_out))
    baselines = _baselines(systems)
    plain = [at for at, trial in enumerate(trials) if trial.streamed is None and trial.fit]
    for trial in trials if len(plain) < len(trials) else ():
        for name in baselines:
            left_out.add(name, PACKAGED_IS_OURS if trial.streamed is None else STREAMED)
    if baselines and plain:
        found = score_baselines(
            [trials[at] for at in plain], encoded, cache, progress, baselines, left_out
        )
        for at, of_trial in zip(plain, found, strict=True):
            scores[at] += of_trial
    # A mean over some trials is not comparable with means over all.
    return [[s for s in of_trial if s.system not in left_out.reasons] for of_trial in scores]


def _is_chosen(name: str, systems: Collection[str] | None) -> bool:
    return name not in EXAMPLES if systems is None else name in systems


def _baselines(systems: Collection[str] | None) -> tuple[str, ...]:
    """Those of the chosen systems that are not ours."""
    names = None if systems is None else [name for name in systems if name not in _EVERY_OWN]
    return chosen_baselines(names)
