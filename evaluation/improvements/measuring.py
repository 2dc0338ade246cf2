"""All ways to rank beyond the paper, measured on the trials of a dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from evaluation.encoding import encode_photos
from evaluation.improvements.scoring import score_improvements
from evaluation.ours import prepare
from evaluation.own_vectors import OwnVectors, vectors_needed
from evaluation.scores import Labels, Row, summarise
from evaluation.setups import all_photos
from reranker.matching import Matcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from descriptors.encoder import Encoder
    from descriptors.settings import RegionSettings
    from evaluation.encoding import EncodedPhotos, Progress
    from evaluation.prepared import AskedQuery
    from evaluation.scores import Score
    from evaluation.trials import Trial

__all__ = ["measure_improvements"]


def measure_improvements(
    trials: Sequence[Trial],
    encoder: Encoder,
    regions: RegionSettings,
    preset_name: str,
    cache: Path,
    progress: Progress,
) -> tuple[Row, ...]:
    """Each way to rank on some trials, all after one first search and matching a query.

    Args:
        trials: at least one.
        encoder: the network, and the settings of the method.
        regions, preset_name: of the re-ranking, and what rows call it.
        cache: where feature maps are kept.
        progress: told what is done, how many of it, and of how many.

    Returns:
        Rows of OfA; their milliseconds are of what comes after the matching.

    Raises:
        RequestError: if there are too few photos to fit the whitening on, or maps of some of
            them are not kept.
    """
    if any(trial.streamed is not None for trial in trials):
        raise RequestError(
            "The improvements are measured on kept maps, and of streamed photos there are none: "
            "keep the maps of all (--no-stream)."
        )
    encoded = encode_photos(all_photos(trials), encoder, cache, progress)
    own = OwnVectors(encoded, vectors_needed(trials, [encoder.settings]))
    scores = [_scores(trial, encoded, regions, own, progress) for trial in trials]
    labels = Labels(preset_name, "+".join(layer.name for layer in encoder.settings.layers))
    return tuple(summarise(scores, labels, {"OfA": encoder.settings.dims}))


def _scores(
    trial: Trial,
    encoded: EncodedPhotos,
    regions: RegionSettings,
    own: OwnVectors,
    progress: Progress,
) -> list[Score]:
    prepared = prepare(trial, encoded, regions, own)
    matcher = Matcher(prepared.method, encoded.store, regions)
    asked = ((one.query, one.described) for one in _told(prepared.asked, trial.name, progress))
    try:
        return score_improvements(asked, prepared.documents, matcher)
    finally:
        matcher.close()


def _told(asked: Sequence[AskedQuery], trial: str, progress: Progress) -> Iterator[AskedQuery]:
    for done, one in enumerate(asked, start=1):
        yield one
        progress(f"{trial}: improvements", done, len(asked))
