"""The compared systems: each one's descriptors, with a whitening of its own.

To compare another global descriptor, write a pooling function and add a row to `SYSTEMS`.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from descriptors.aggregation import aggregate, join_layers
from descriptors.arrays import FeatureMaps, region_of_box
from descriptors.expansion import expand
from descriptors.whitening import LayerWhitening, fit_layer, stack_vectors
from evaluation.pooling import crow, gem, r_mac, spoc, sum_pooled
from evaluation.scores import Score
from evaluation.stages import FIRST_STAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from descriptors.arrays import Box
    from descriptors.settings import LayerSettings
    from evaluation.encoding import EncodedPhotos
    from evaluation.trials import Photo, Trial

    Pool = Callable[[FeatureMaps], Float[Tensor, "B V K"]]

__all__ = [
    "SYSTEMS",
    "PooledPhotos",
    "System",
    "dense_ranking",
    "describe",
    "fit_layers",
    "pool_photos",
    "score_system",
]


@dataclass(frozen=True)
class System:
    """One compared system.

    Attributes:
        pool: maps of one layer to unit vectors, see `evaluation.pooling`.
        whitened: by a PCA fitted on other photos, to as many dimensions as ours.
    """

    pool: Pool
    whitened: bool = True


SYSTEMS: Mapping[str, System] = MappingProxyType(
    {
        "raw": System(sum_pooled, whitened=False),
        "uCroW": System(sum_pooled),
        "SPoC": System(spoc),
        "CroW": System(crow),
        "GeM": System(gem),
        "R-MAC": System(r_mac),
    }
)


@dataclass(frozen=True)
class PooledPhotos:
    """The vectors of photos by one system, before any whitening.

    Attributes:
        rows: of each photo, by its file.
        layers: of each layer; zero rows where a photo has fewer vectors than others.
    """

    rows: Mapping[Path, int]
    layers: tuple[Float[Tensor, "P V _"], ...]

    def of(self, photos: Sequence[Photo]) -> tuple[Float[Tensor, "p V K"], ...]:
        """The vectors of some of the photos, in their order."""
        rows = torch.tensor([self.rows[photo.file] for photo in photos])
        return tuple(layer[rows] for layer in self.layers)


def pool_photos(system: System, encoded: EncodedPhotos, photos: Sequence[Photo]) -> PooledPhotos:
    """The vectors of photos by one system."""
    files: list[Path] = []
    layers: list[list[Tensor]] = [[] for _ in encoded.encoder.settings.layers]
    for batch, maps in encoded.batches(photos):
        files += [photo.file for photo in batch]
        for vectors, layer in zip(layers, maps.features, strict=True):
            vectors.extend(system.pool(layer).cpu())
    return PooledPhotos(
        {file: row for row, file in enumerate(files)},
        tuple(pad_sequence(vectors, batch_first=True) for vectors in layers),
    )


def score_system(
    name: str, trial: Trial, encoded: EncodedPhotos, pooled: PooledPhotos
) -> list[Score]:
    """Each stage's score of each query of a trial by one system of `SYSTEMS`.

    Args:
        name: of the system.
        trial: says what the whitening is fitted on.
        encoded: the maps, from which the boxes of queries are pooled.
        pooled: the vectors of all photos of the trial.

    Raises:
        RequestError: if there are too few photos to fit the whitening on.
    """
    system = SYSTEMS[name]
    whitening = None
    if system.whitened:
        whitening = fit_layers(pooled.of(trial.fit), encoded.encoder.settings.layers)
    gallery = describe(pooled.of(trial.gallery), whitening)
    ids = [photo.path for photo in trial.gallery]
    scores = []
    for query in trial.queries:
        if query.box is None:
            vectors = pooled.of([query.photo])
        else:
            vectors = _pool_box(system, encoded, query.photo, query.box)
        descriptor = describe(vectors, whitening)[0]
        for stage in FIRST_STAGES:
            started = time.perf_counter()
            ranking = dense_ranking(gallery, descriptor, ids, query.leave_out, stage.expand)
            took = (time.perf_counter() - started) * 1e3
            scores.append(Score.of(name, stage.name, query, ranking, took))
    return scores


def fit_layers(
    vectors: Sequence[Float[Tensor, "P V _"]], layers: Sequence[LayerSettings]
) -> tuple[LayerWhitening, ...]:
    """A whitening for each layer, fitted on all vectors of other photos."""
    return tuple(
        fit_layer(stack_vectors(list(of_layer)), layer.dims)
        for of_layer, layer in zip(vectors, layers, strict=True)
    )


def describe(
    vectors: Sequence[Float[Tensor, "P V _"]], whitening: Sequence[LayerWhitening] | None
) -> Float[Tensor, "P D"]:
    """Whitened, summed over a photo's vectors, l2; the layers side by side, l2."""
    if whitening is not None:
        vectors = [white(of_layer) for white, of_layer in zip(whitening, vectors, strict=True)]
    joined: Tensor = join_layers([aggregate(of_layer) for of_layer in vectors])
    return joined


def dense_ranking(
    gallery: Float[Tensor, "P D"],
    query: Float[Tensor, " D"],
    ids: Sequence[str],
    leave_out: str | None,
    expand_by: int = 0,
) -> list[str]:
    """All ids, but the one left out, by cosine, best first, perhaps after an expansion by the first ones.

    Source:
        METHOD section 5.
    """

    def search(vector: Tensor) -> list[int]:
        order = (gallery @ vector).argsort(descending=True, stable=True).tolist()
        return [row for row in order if ids[row] != leave_out]

    rows = search(query)
    if expand_by:
        rows = search(expand(query, gallery[rows[:expand_by]]))
    return [ids[row] for row in rows]


def _pool_box(
    system: System, encoded: EncodedPhotos, photo: Photo, box: Box
) -> tuple[Float[Tensor, "1 V K"], ...]:
    """The vectors of the cells inside a box, as the systems' papers do it."""
    [(_, maps)] = encoded.batches([photo])
    inside = box.inside(photo.size)
    return tuple(
        system.pool(layer.cut(region_of_box(inside, photo.size, maps.grid(layer.cells)))).cpu()
        for layer in maps.features
    )
