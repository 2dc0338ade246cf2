"""The whole measurement on a folder of photos: every system, every stage, as rows."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from descriptors.backbones import load_network
from descriptors.encoder import Encoder
from evaluation.encoding import encode_photos
from evaluation.ours import score_ours
from evaluation.photos import read_trials
from evaluation.scores import Labels, Row, summarise
from evaluation.systems import SYSTEMS, pool_photos, score_system

if TYPE_CHECKING:
    from collections.abc import Sequence

    from descriptors.encoder import Precision
    from descriptors.settings import MethodSettings, RegionSettings
    from evaluation.encoding import EncodedPhotos, Progress
    from evaluation.photos import Queries
    from evaluation.scores import Score
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
        progress: called with what is done, how many of it, and of how many.

    Raises:
        RequestError: for a file, column or photo that is missing, or too few of them.
    """
    started = time.perf_counter()
    tell = progress or _tell_nobody
    trials = read_trials(folder, queries, fit_on)
    encoder = Encoder(load_network(settings.network, weights), settings, device, precision)
    photos = _photos(trials)
    encoded = encode_photos(photos, encoder, cache or default_cache(), tell)
    encoding_seconds = time.perf_counter() - started
    scores = _score_trials(trials, encoded, regions, tell)
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
        tuple(summarise(scores, labels, _dims(encoder))),
    )


def _score_trials(
    trials: Sequence[Trial], encoded: EncodedPhotos, regions: RegionSettings, progress: Progress
) -> list[list[Score]]:
    """Every system's scores of every query, trial by trial, ours first."""
    scores = [score_ours(trial, encoded, regions, progress) for trial in trials]
    for done, (name, system) in enumerate(SYSTEMS.items(), start=1):
        pooled = pool_photos(system, encoded, _photos(trials))
        for trial, here in zip(trials, scores, strict=True):
            if trial.streamed is None:  # its vectors are those of our own system alone
                here.extend(score_system(name, trial, encoded, pooled))
        progress("compared systems", done, len(SYSTEMS))
    return scores


def default_cache() -> Path:
    """Where feature maps are kept if nothing else is said."""
    return Path.home() / ".cache" / "camsearch" / "evaluate"


def _photos(trials: Sequence[Trial]) -> list[Photo]:
    """Every photo of some trials once."""
    return list(dict.fromkeys(p for trial in trials for p in trial.photos))


def _dims(encoder: Encoder) -> dict[str, int]:
    """Dimensions of each system's descriptor: raw has the channels of the layers."""
    settings, layers = encoder.settings, encoder.loaded.network.layers
    channels = sum(layers[layer.name].channels for layer in settings.layers)
    ours = dict.fromkeys(("OfA", "OnA", "theme"), settings.dims)
    compared = {
        name: settings.dims if system.whitened else channels for name, system in SYSTEMS.items()
    }
    return ours | compared


def _tell_nobody(_what: str, _done: int, _of: int) -> None:
    """No progress is shown."""
