"""The baselines that ours is compared with, and all of them measured on trials.

To add a baseline, write its pooling and add a row to `SYSTEMS`.
"""

from __future__ import annotations

from functools import partial
from itertools import chain
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from descriptors.errors import RequestError
from evaluation.baselines.bow import BagOfWords
from evaluation.baselines.dense import Bench, DenseSystem, PostProcessing, scores_of
from evaluation.baselines.keypoints import keypoints_of, require_opencv
from evaluation.baselines.maps import Pooler, asked_keys, batched, gallery_keys, stacked
from evaluation.baselines.pooling import (
    PATCHES,
    crow,
    gem,
    mac,
    patch_maxima,
    search_spatially,
    spoc,
    sum_pooled,
)
from evaluation.baselines.r_mac import r_mac, search_and_localise
from evaluation.searching import FIRST_STAGES
from evaluation.trials import all_images

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from evaluation.baselines.maps import Key, Pooled
    from evaluation.encoding import EncodedImages
    from evaluation.scores import LeftOut, Score
    from evaluation.trials import Progress, Trial

    Descriptors = dict["Key", Float[Tensor, "*v D"]]
    from collections.abc import Collection, Mapping

    from descriptors.encoder import Encoder

__all__ = [
    "ALL_BASELINES",
    "SYSTEMS",
    "chosen_baselines",
    "dims_of",
    "score_baselines",
]

_FIRST = tuple(stage.name for stage in FIRST_STAGES)

SYSTEMS: Mapping[str, DenseSystem | BagOfWords] = MappingProxyType(
    {
        "raw": DenseSystem(sum_pooled, whitened=False),
        "uCroW": DenseSystem(sum_pooled),
        "uCroW+power": DenseSystem(sum_pooled, power=True),
        "SPoC": DenseSystem(spoc),
        "SPoC+power": DenseSystem(spoc, power=True),
        "CroW": DenseSystem(crow),
        "CroW+power": DenseSystem(crow, power=True),
        "GeM": DenseSystem(gem),
        "GeM+power": DenseSystem(gem, power=True),
        "MAC": DenseSystem(mac),
        "MAC+power": DenseSystem(mac, power=True),
        "R-MAC": DenseSystem(
            r_mac, search=search_and_localise, stages=(*_FIRST, "R100", "R100+QE5")
        ),
        "R-MAC+power": DenseSystem(r_mac, power=True),
        "Razavian": DenseSystem(
            patch_maxima,
            summed=False,
            search=search_spatially,
            stages=_FIRST[:1],
            vectors=PATCHES,
        ),
        "BoW": BagOfWords(),
    }
)


# Measured only on request: rows of the paper's tables.
_ON_REQUEST: Mapping[str, DenseSystem] = MappingProxyType(
    {
        "raw+CroW": DenseSystem(crow, whitened=False),
        "R-MAC R1000": DenseSystem(
            r_mac,
            search=partial(search_and_localise, window=1000),
            stages=(*_FIRST, "R1000", "R1000+QE5"),
        ),
    }
)

ALL_BASELINES: Mapping[str, DenseSystem | BagOfWords] = MappingProxyType({**SYSTEMS, **_ON_REQUEST})


def chosen_baselines(names: Collection[str] | None = None) -> tuple[str, ...]:
    """The baselines of these names, in order of the table; None for all in `SYSTEMS`.

    Raises:
        RequestError: for an unknown name, or for BoW without OpenCV.
    """
    unknown = [name for name in names or () if name not in ALL_BASELINES]
    if unknown:
        raise RequestError(
            f"There is no baseline {unknown[0]!r}: choose among {', '.join(ALL_BASELINES)}."
        )
    chosen = tuple(SYSTEMS if names is None else (n for n in ALL_BASELINES if n in names))
    if any(isinstance(ALL_BASELINES[name], BagOfWords) for name in chosen):
        require_opencv()
    return chosen


def dims_of(name: str, encoder: Encoder) -> int:
    """Numbers that a baseline stores per image for its first search."""
    layers, known = encoder.settings.layers, encoder.loaded.network.layers
    return ALL_BASELINES[name].dims(layers, [known[layer.name].channels for layer in layers])


def score_baselines(
    trials: Sequence[Trial],
    encoded: EncodedImages,
    cache: Path,
    progress: Progress,
    names: Sequence[str],
    left_out: LeftOut,
) -> list[list[Score]]:
    """Each query's scores by the baselines, a list per trial; each image's maps are read once.

    Args:
        names: of `ALL_BASELINES`.
        left_out: receives those with too few images to fit on, which have no scores.
        trials, encoded, cache, progress: see `evaluation.runs.evaluate_trials`; keypoints are
            stored beside the maps.

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
            points = keypoints_of(all_images(trials), encoded.digests, cache, progress)
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


def _bench(
    trial: Trial, encoded: EncodedImages, describe: PostProcessing, found: Descriptors
) -> Bench:
    gallery = torch.stack([found[key] for key in gallery_keys(trial)])
    return Bench(
        trial, encoded, describe, gallery, torch.stack([found[key] for key in asked_keys(trial)])
    )


def _describe(
    trials: Sequence[Trial],
    encoded: EncodedImages,
    systems: Mapping[str, DenseSystem],
    progress: Progress,
    left_out: LeftOut,
) -> list[dict[str, tuple[PostProcessing, Descriptors]]]:
    """The descriptors of every trial by every system, and what made them.

    Convention:
        The vectors of images that whitenings are fitted on are in memory together; those of
        other images become descriptors batch by batch.
    """
    images = all_images(trials)
    fitted_on = set(chain.from_iterable(trial.fit for trial in trials))
    pooler = Pooler.of(encoded, [system.pool for system in systems.values()], trials)
    kept: dict[Key, Pooled] = {}
    for batch in pooler.batches([image for image in images if image in fitted_on]):
        kept.update(batch)
        progress("baselines: maps", len(kept), len(images))
    found = [_fitted(trial, encoded, systems, kept, left_out) for trial in trials]
    needed = [{*gallery_keys(trial), *asked_keys(trial)} for trial in trials]
    others = [image for image in images if image not in fitted_on]
    for batch in chain(batched(kept), pooler.batches(others)):
        for of_trial, keys in zip(found, needed, strict=True):
            mine = [(key, pooled) for key, pooled in batch if key in keys]
            for name, (describe, descriptors) in of_trial.items() if mine else ():
                rows = describe(stacked(pooled[systems[name].pool] for _, pooled in mine))
                descriptors.update(zip((key for key, _ in mine), rows, strict=True))
    return found


def _fitted(
    trial: Trial,
    encoded: EncodedImages,
    systems: Mapping[str, DenseSystem],
    kept: Mapping[Key, Pooled],
    left_out: LeftOut,
) -> dict[str, tuple[PostProcessing, Descriptors]]:
    """Each system that can be fitted, with its whitening and an empty dict for descriptors."""
    layers = encoded.encoder.settings.layers
    found: dict[str, tuple[PostProcessing, Descriptors]] = {}
    for name, system in systems.items():
        vectors = stacked(kept[image.file, None][system.pool] for image in trial.fit)
        try:
            found[name] = (PostProcessing.fitted(system, vectors, layers), {})
        except RequestError as error:
            left_out.add(name, error.reason)
    return found
