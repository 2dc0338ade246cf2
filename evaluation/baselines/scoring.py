"""The baselines measured on trials: each photo's maps are read once for all of them."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.errors import RequestError
from evaluation.baselines.bow import BagOfWords
from evaluation.baselines.dense import Bench, DenseSystem, Describer, scores_of
from evaluation.baselines.keypoints import keypoints_of
from evaluation.baselines.systems import ALL_BASELINES
from evaluation.baselines.vectors import Pooler, asked_keys, batched, gallery_keys, stacked
from evaluation.trials import all_photos

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from evaluation.baselines.vectors import Key, Pooled
    from evaluation.encoding import EncodedPhotos
    from evaluation.scores import LeftOut, Score
    from evaluation.trials import Progress, Trial

    Descriptors = dict[Key, Float[Tensor, "*v D"]]

__all__ = ["score_baselines"]


def score_baselines(
    trials: Sequence[Trial],
    encoded: EncodedPhotos,
    cache: Path,
    progress: Progress,
    names: Sequence[str],
    left_out: LeftOut,
) -> list[list[Score]]:
    """Each stage's score of each query by the baselines, a list a trial.

    Args:
        names: of `ALL_BASELINES`.
        left_out: told which of them have too few photos to fit on, and have no scores.
        trials, encoded, cache, progress: see `evaluation.runs.evaluate_trials`; keypoints are
            kept beside the maps.

    Raises:
        RequestError: for BoW with too few keypoints.
    """
    systems = {name: ALL_BASELINES[name] for name in names}
    dense = {name: s for name, s in systems.items() if isinstance(s, DenseSystem)}
    described = _describe(trials, encoded, dense, progress, left_out) if dense else []
    scores: list[list[Score]] = [[] for _ in trials]
    done = 0
    for name, system in systems.items():
        if isinstance(system, BagOfWords):
            points = keypoints_of(all_photos(trials), encoded.digests, cache, progress)
            found = [system.search(trial, points, progress) for trial in trials]
        elif all(name in of_trial for of_trial in described):
            found = [
                system.search(_bench(trial, encoded, *of_trial.pop(name)))
                for trial, of_trial in zip(trials, described, strict=True)
            ]
        else:
            found = []
        for trial, rankings, here in zip(trials, found, scores, strict=False):
            here.extend(chain.from_iterable(scores_of(name, trial, one) for one in rankings))
            done += 1
            progress("baselines", done, len(names) * len(trials))
    return scores


def _bench(trial: Trial, encoded: EncodedPhotos, describe: Describer, found: Descriptors) -> Bench:
    gallery = torch.stack([found[key] for key in gallery_keys(trial)])
    return Bench(
        trial, encoded, describe, gallery, torch.stack([found[key] for key in asked_keys(trial)])
    )


def _describe(
    trials: Sequence[Trial],
    encoded: EncodedPhotos,
    systems: Mapping[str, DenseSystem],
    progress: Progress,
    left_out: LeftOut,
) -> list[dict[str, tuple[Describer, Descriptors]]]:
    """The descriptors of every trial by every system, and what made them.

    Convention:
        The vectors of photos that whitenings are fitted on are at hand together; those of
        other photos become descriptors batch by batch.
    """
    photos = all_photos(trials)
    fitted_on = set(chain.from_iterable(trial.fit for trial in trials))
    pooler = Pooler.of(encoded, [system.pool for system in systems.values()], trials)
    kept: dict[Key, Pooled] = {}
    for batch in pooler.batches([photo for photo in photos if photo in fitted_on]):
        kept.update(batch)
        progress("baselines: maps", len(kept), len(photos))
    found = [_fitted(trial, encoded, systems, kept, left_out) for trial in trials]
    needed = [{*gallery_keys(trial), *asked_keys(trial)} for trial in trials]
    others = [photo for photo in photos if photo not in fitted_on]
    for batch in chain(batched(kept), pooler.batches(others)):
        for of_trial, keys in zip(found, needed, strict=True):
            mine = [(key, pooled) for key, pooled in batch if key in keys]
            for name, (describe, descriptors) in of_trial.items() if mine else ():
                rows = describe(stacked(pooled[systems[name].pool] for _, pooled in mine))
                descriptors.update(zip((key for key, _ in mine), rows, strict=True))
    return found


def _fitted(
    trial: Trial,
    encoded: EncodedPhotos,
    systems: Mapping[str, DenseSystem],
    kept: Mapping[Key, Pooled],
    left_out: LeftOut,
) -> dict[str, tuple[Describer, Descriptors]]:
    """Each system that can be fitted with its whitening, and room for its descriptors."""
    layers = encoded.encoder.settings.layers
    found: dict[str, tuple[Describer, Descriptors]] = {}
    for name, system in systems.items():
        vectors = stacked(kept[photo.file, None][system.pool] for photo in trial.fit)
        try:
            found[name] = (Describer.fitted(system, vectors, layers), {})
        except RequestError as error:
            left_out.add(name, error.reason)
    return found
