"""The whole measurement: every system at every stage on some trials, as scores and rows."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descriptors.backbones import load_network
from descriptors.encoder import Encoder
from descriptors.errors import RequestError
from evaluation.compared.scoring import score_compared
from evaluation.compared.systems import ON_REQUEST, SYSTEMS, chosen_systems, dims_of, system_of
from evaluation.encoding import encode_photos
from evaluation.left_out import LeftOut
from evaluation.ours import OURS, STREAMED, score_ours
from evaluation.own_vectors import OwnVectors, vectors_needed
from evaluation.photos import read_trials
from evaluation.scores import Labels, Row, Score, summarise
from evaluation.setups import all_photos

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from descriptors.encoder import Precision
    from descriptors.settings import MethodSettings, RegionSettings
    from evaluation.encoding import EncodedPhotos, Progress
    from evaluation.photos import Queries
    from evaluation.stages import Stage
    from evaluation.trials import Trial

__all__ = [
    "About",
    "Evaluation",
    "check_systems",
    "default_cache",
    "evaluate_photos",
    "evaluate_trials",
    "known_systems",
    "score_systems",
    "stages_measured",
]


@dataclass(frozen=True)
class About:
    """Where trials come from; for people, it changes no figure.

    Attributes:
        dataset: its name, such as photos.
        folder: where it lies.
        queries: full pictures or boxes, or what else the dataset calls them.
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
        about: where the trials come from.
        photos, asked: how many photos and queries there were, over all trials.
        trials: their names, in the order of each row's own values.
        seconds: of the whole run, and of its encoding.
        rows: see `Row`.
        scores: of each trial, every query by every system at every stage.
        left_out: sentences about systems that could not be measured, and about streamed photos
            that could not be read.
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

    def to_json(self) -> str:
        """All of it but the scores as one JSON object; a mean over no query is null."""
        return json.dumps(self.as_dict(), indent=2)

    def as_dict(self) -> dict[str, Any]:
        """All of it but the scores, for JSON."""
        plain = ("photos", "asked", "trials", "seconds", "encoding_seconds", "left_out")
        here = {field.name: getattr(self, field.name) for field in fields(self)}
        rows = [asdict(row) for row in self.rows]
        return asdict(self.about) | {name: here[name] for name in plain} | {"rows": rows}


def evaluate_photos(  # noqa: PLR0913 - one keyword an option of the command line
    folder: Path,
    *,
    settings: MethodSettings,
    regions: RegionSettings,
    preset_name: str,
    queries: Queries = "full",
    fit_on: Path | None = None,
    cache: Path | None = None,
    device: str = "cpu",
    precision: Precision = "auto",
    weights: Path | None = None,
    systems: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure our systems and the compared ones on a folder of photos.

    Args:
        folder: of the form that `evaluation.photos` describes.
        settings: of the method; the compared systems use its layers, sizes and dimensions.
        regions: of the re-ranking.
        preset_name: what the rows call these settings.
        queries: ``full`` pictures, or ``boxes``.
        fit_on: another folder to fit the whitening on; None for half against half.
        cache: where feature maps are kept for the next run; None for the user's cache.
        device, precision: see `Encoder`.
        weights: a local file, where the network comes without.
        systems: names of those that are measured; None for all.
        progress: called with what is done, how many of it, and of how many.

    Raises:
        RequestError: for a file, column or photo that is missing, or too few of them.
    """
    about = About("photos", str(folder), queries, None if fit_on is None else str(fit_on))
    return evaluate_trials(
        read_trials(folder, queries, fit_on),
        about,
        Encoder(load_network(settings.network, weights), settings, device, precision),
        regions,
        preset_name=preset_name,
        cache=cache,
        systems=systems,
        progress=progress,
    )


def evaluate_trials(  # noqa: PLR0913 - all that a run is of
    trials: Sequence[Trial],
    about: About,
    encoder: Encoder,
    regions: RegionSettings,
    *,
    preset_name: str,
    cache: Path | None = None,
    systems: Collection[str] | None = None,
    progress: Progress | None = None,
) -> Evaluation:
    """Measure our systems and the compared ones on the trials of any dataset.

    Args:
        trials: at least one.
        about: where they come from.
        encoder: the network, and the settings of the method; the compared systems use its
            layers, sizes and dimensions.
        regions, preset_name, cache, systems, progress: see `evaluate_photos`.

    Raises:
        RequestError: for a system that is not known, a photo that cannot be read, too few, or
            if none of the systems can be measured.
    """
    check_systems(systems)
    left_out = LeftOut()
    if any(trial.streamed for trial in trials) and systems is not None and "OfA" not in systems:
        raise RequestError(f"{', '.join(systems)}: {STREAMED} Add OfA to the systems.")
    started = time.perf_counter()
    tell = progress or _tell_nobody
    photos = all_photos(trials)
    encoded = encode_photos(photos, encoder, cache or default_cache(), tell)
    encoding_seconds = time.perf_counter() - started
    scores = score_systems(
        trials,
        encoded,
        regions,
        cache or default_cache(),
        tell,
        systems=systems,
        left_out=left_out,
    )
    if not any(scores):
        raise RequestError(" ".join(left_out.sentences()))
    labels = Labels(preset_name, "+".join(layer.name for layer in encoder.settings.layers))
    return Evaluation(
        about,
        len(photos),
        sum(len(trial.queries) for trial in trials),
        tuple(trial.name for trial in trials),
        time.perf_counter() - started,
        encoding_seconds,
        tuple(summarise(scores, labels, _dims(encoder, systems))),
        tuple(tuple(of_trial) for of_trial in scores),
        left_out.sentences(),
    )


def known_systems() -> tuple[str, ...]:
    """The names of ours, then of the compared ones."""
    return (*OURS, *SYSTEMS, *ON_REQUEST)


def check_systems(systems: Collection[str] | None) -> None:
    """Refuse systems that cannot be measured.

    Raises:
        RequestError: for a name that is not known, or for BoW without OpenCV.
    """
    known = known_systems()
    unknown = [name for name in systems or () if name not in known]
    if unknown:
        raise RequestError(f"There is no system {unknown[0]!r}: choose among {', '.join(known)}.")
    _compared(systems)


def stages_measured(
    systems: Collection[str] | None, *, streamed: bool = False
) -> dict[str, tuple[str, ...]]:
    """The stages at which each of the chosen systems is measured, by name.

    Args:
        systems: see `evaluate_photos`.
        streamed: whether there are streamed photos, beside which OfA alone is measured.
    """
    stages = {name: tuple(stage.name for stage in some) for name, some in OURS.items()}
    stages |= {name: system_of(name).stages for name in _compared(systems)}
    return {
        name: some
        for name, some in stages.items()
        if (systems is None or name in systems) and (not streamed or name == "OfA")
    }


def default_cache() -> Path:
    """Where feature maps are kept if nothing else is said."""
    return Path.home() / ".cache" / "camsearch" / "evaluate"


def score_systems(  # noqa: PLR0913 - all that a run is of
    trials: Sequence[Trial],
    encoded: EncodedPhotos,
    regions: RegionSettings,
    cache: Path,
    progress: Progress,
    *,
    ours: Mapping[str, Sequence[Stage]] = OURS,
    systems: Collection[str] | None = None,
    left_out: LeftOut | None = None,
) -> list[list[Score]]:
    """Every system's scores of every query, trial by trial, ours first.

    Args:
        trials, regions, progress: see `evaluate_trials`.
        encoded: the maps of all their photos.
        cache: where what compared systems need besides is kept.
        ours: the stages of our systems.
        systems: names of those that are measured; None for all.
        left_out: told which of them could not be measured, and have no scores in any trial.

    Raises:
        RequestError: if there are too few photos to fit our own whitening on.
    """
    told = LeftOut() if left_out is None else left_out
    stages = {name: some for name, some in ours.items() if systems is None or name in systems}
    scores: list[list[Score]] = [[] for _ in trials]
    if stages:
        own = OwnVectors(encoded, vectors_needed(trials, [encoded.encoder.settings]))
        for trial, here in zip(trials, scores, strict=True):
            here.extend(score_ours(trial, encoded, regions, progress, stages, own, told))
    compared = _compared(systems)
    plain = [trial for trial in trials if trial.streamed is None]
    if len(plain) < len(trials):
        for name in compared:
            told.add(name, STREAMED)
    others = iter(
        score_compared(
            plain, encoded, cache=cache, progress=progress, systems=compared, left_out=told
        )
        if compared and plain
        else [[] for _ in plain]
    )
    for trial, here in zip(trials, scores, strict=True):
        here.extend(next(others) if trial.streamed is None else [])
    # A mean over some of the trials would stand beside means over all.
    return [[s for s in of_trial if s.system not in told.reasons] for of_trial in scores]


def _compared(systems: Collection[str] | None) -> tuple[str, ...]:
    """Those of the chosen systems that are not ours."""
    if systems is None:
        return chosen_systems()
    return chosen_systems([name for name in systems if name not in OURS])


def _dims(encoder: Encoder, systems: Collection[str] | None) -> dict[str, int]:
    """Dimensions of each system's descriptor."""
    ours = dict.fromkeys(OURS, encoder.settings.dims)
    return ours | {name: dims_of(name, encoder) for name in _compared(systems)}


def _tell_nobody(_what: str, _done: int, _of: int) -> None:
    """No progress is shown."""
