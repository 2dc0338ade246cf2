"""The whole measurement on a folder of photos: every system, every stage, as rows."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from descriptors.backbones import load_network
from descriptors.encoder import Encoder
from evaluation.compared.scoring import score_compared
from evaluation.compared.systems import chosen_systems, dims_of
from evaluation.encoding import encode_photos
from evaluation.ours import score_ours
from evaluation.photos import read_trials
from evaluation.scores import Labels, Row, summarise

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from descriptors.encoder import Precision
    from descriptors.settings import MethodSettings, RegionSettings
    from evaluation.encoding import Progress
    from evaluation.photos import Queries
    from evaluation.trials import Photo, Trial

__all__ = ["Evaluation", "default_cache", "evaluate_photos"]


@dataclass(frozen=True)
class Evaluation:
    """What a run measured.

    Attributes:
        folder: of the photos.
        fitted_on: the other folder that the whitening was fitted on; None for the other half.
        queries: full pictures or boxes.
        photos, asked: how many photos and queries there were, over all trials.
        trials: their names, in the order of each row's own values.
        seconds: of the whole run, and of its encoding.
        rows: see `Row`.
    """

    folder: str
    fitted_on: str | None
    queries: Queries
    photos: int
    asked: int
    trials: tuple[str, ...]
    seconds: float
    encoding_seconds: float
    rows: tuple[Row, ...]

    def to_json(self) -> str:
        """All of it as one JSON object; a mean over no query is null."""
        return json.dumps(asdict(self), indent=2)


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
        systems: names of the compared systems; None for all.
        progress: called with what is done, how many of it, and of how many.

    Raises:
        RequestError: for a file, column or photo that is missing, or too few of them; for a
            compared system that is not known, or that needs OpenCV where there is none.
    """
    started = time.perf_counter()
    compared = chosen_systems(systems)
    tell = progress or _tell_nobody
    trials = read_trials(folder, queries, fit_on)
    encoder = Encoder(load_network(settings.network, weights), settings, device, precision)
    photos = _photos(trials)
    encoded = encode_photos(photos, encoder, cache or default_cache(), tell)
    encoding_seconds = time.perf_counter() - started
    ours = [score_ours(trial, encoded, regions, tell) for trial in trials]
    others = score_compared(
        trials, encoded, cache=cache or default_cache(), progress=tell, systems=compared
    )
    scores = [mine + theirs for mine, theirs in zip(ours, others, strict=True)]
    labels = Labels(preset_name, "+".join(layer.name for layer in settings.layers))
    return Evaluation(
        str(folder),
        None if fit_on is None else str(fit_on),
        queries,
        len(photos),
        sum(len(trial.queries) for trial in trials),
        tuple(trial.name for trial in trials),
        time.perf_counter() - started,
        encoding_seconds,
        tuple(summarise(scores, labels, _dims(encoder, compared))),
    )


def default_cache() -> Path:
    """Where feature maps are kept if nothing else is said."""
    return Path.home() / ".cache" / "camsearch" / "evaluate"


def _photos(trials: Sequence[Trial]) -> list[Photo]:
    """Every photo of some trials once."""
    return list(dict.fromkeys(p for trial in trials for p in (*trial.gallery, *trial.fit)))


def _dims(encoder: Encoder, compared: Sequence[str]) -> dict[str, int]:
    """Dimensions of each system's descriptor."""
    ours = dict.fromkeys(("OfA", "OnA", "theme"), encoder.settings.dims)
    return ours | {name: dims_of(name, encoder) for name in compared}


def _tell_nobody(_what: str, _done: int, _of: int) -> None:
    """No progress is shown."""
