"""The compared systems measured on trials: each photo's maps are read once for all of them."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.errors import RequestError
from evaluation.compared.bow import BagOfWords
from evaluation.compared.dense import Bench, DenseSystem, Describer
from evaluation.compared.rankings import scores_of
from evaluation.compared.sift import KeypointStore
from evaluation.compared.systems import chosen_systems, system_of
from evaluation.compared.vectors import Pooler, asked_keys, batched, gallery_keys, stacked

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from pathlib import Path

    from evaluation.compared.rankings import Rankings
    from evaluation.compared.vectors import Key, Pooled
    from evaluation.encoding import EncodedPhotos, Progress
    from evaluation.left_out import LeftOut
    from evaluation.scores import Score
    from evaluation.trials import Photo, Trial

    Descriptors = dict[Key, Float[Tensor, "*v D"]]

__all__ = ["score_compared"]


def score_compared(
    trials: Sequence[Trial],
    encoded: EncodedPhotos,
    *,
    cache: Path,
    progress: Progress,
    systems: Collection[str] | None = None,
    left_out: LeftOut | None = None,
) -> list[list[Score]]:
    """Each stage's score of each query by the compared systems, a list a trial.

    Args:
        trials: each says what is searched, asked, and fitted on.
        encoded: the maps of all of their photos, those of the queries among them.
        cache: where keypoints are kept, beside the maps.
        progress: told which systems are done.
        systems: names of `SYSTEMS`; None for all.
        left_out: told which systems have too few photos to fit on, and have no scores; None
            to refuse those.

    Raises:
        RequestError: for a name that is not in the table, for BoW without OpenCV, or if there
            are too few photos to fit on and nobody is told.
    """
    scoring = _Scoring(trials, progress, chosen_systems(systems), left_out)
    scoring.score_dense(encoded)
    scoring.score_words(encoded, cache)
    return scoring.in_order()


class _Scoring:
    """Gathers scores by system and trial."""

    def __init__(
        self,
        trials: Sequence[Trial],
        progress: Progress,
        chosen: Sequence[str],
        left_out: LeftOut | None,
    ) -> None:
        self._trials, self._progress, self._chosen = trials, progress, chosen
        self._left_out = left_out
        self._scores: dict[tuple[str, int], list[Score]] = {}

    def in_order(self) -> list[list[Score]]:
        """The scores of each trial, in order of the table."""
        return [
            list(chain.from_iterable(self._scores.get((name, at), []) for name in self._chosen))
            for at in range(len(self._trials))
        ]

    def score_dense(self, encoded: EncodedPhotos) -> None:
        """All systems with vectors."""
        systems = {
            name: s for name in self._chosen if isinstance(s := system_of(name), DenseSystem)
        }
        if not systems:
            return
        described = _describe(self._trials, encoded, systems, self._progress, self._left_out)
        measured = {name: s for name, s in systems.items() if all(name in d for d in described)}
        for name, system in measured.items():
            for at, trial in enumerate(self._trials):
                describe, found = described[at][name]
                gallery = torch.stack([found[key] for key in gallery_keys(trial)])
                asked = torch.stack([found[key] for key in asked_keys(trial)])
                bench = Bench(trial, encoded, describe, gallery, asked)
                self._add(name, at, system.search(bench))
                del described[at][name], found

    def score_words(self, encoded: EncodedPhotos, cache: Path) -> None:
        """All systems of words."""
        for name in self._chosen:
            system = system_of(name)
            if isinstance(system, BagOfWords):
                store = KeypointStore(cache, system.sift)
                points = store.of(_photos(self._trials), encoded.digests, self._progress)
                for at, trial in enumerate(self._trials):
                    self._add(name, at, system.search(trial, points, self._progress))

    def _add(self, name: str, at: int, found: Iterable[Rankings]) -> None:
        trial = self._trials[at]
        each = [list(scores_of(name, trial, rankings)) for rankings in found]
        self._scores[name, at] = list(chain.from_iterable(each))
        self._progress("compared systems", len(self._scores), len(self._chosen) * len(self._trials))


def _describe(
    trials: Sequence[Trial],
    encoded: EncodedPhotos,
    systems: Mapping[str, DenseSystem],
    progress: Progress,
    left_out: LeftOut | None,
) -> list[dict[str, tuple[Describer, Descriptors]]]:
    """The descriptors of every trial by every system, and what made them.

    Convention:
        The vectors of photos that whitenings are fitted on are at hand together; those of
        other photos become descriptors batch by batch.
    """
    photos = _photos(trials)
    fitted_on = set(chain.from_iterable(trial.fit for trial in trials))
    pooler = Pooler.of(encoded, [system.pool for system in systems.values()], trials)
    kept: dict[Key, Pooled] = {}
    for batch in pooler.batches([photo for photo in photos if photo in fitted_on]):
        kept.update(batch)
        progress("compared systems: maps", len(kept), len(photos))
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
    left_out: LeftOut | None,
) -> dict[str, tuple[Describer, Descriptors]]:
    """Each system with its whitening, and room for its descriptors.

    Raises:
        RequestError: for one with too few photos to fit on, if nobody is told.
    """
    layers = encoded.encoder.settings.layers
    found: dict[str, tuple[Describer, Descriptors]] = {}
    for name, system in systems.items():
        vectors = stacked(kept[photo.file, None][system.pool] for photo in trial.fit)
        try:
            found[name] = (Describer.fitted(system, vectors, layers), {})
        except RequestError as error:
            if left_out is None:
                raise
            left_out.add(name, error.reason)
    return found


def _photos(trials: Sequence[Trial]) -> list[Photo]:
    """Every photo of some trials once, by its file."""
    each = chain.from_iterable(
        (*trial.fit, *trial.gallery, *(query.photo for query in trial.queries)) for trial in trials
    )
    return list({photo.file: photo for photo in each}.values())
