"""Baselines with vectors: whitened by their own PCA, searched by dot products.

Each vector is whitened and l2-normalised, the vectors of an image are summed, l2; the layers
are concatenated, l2 again. Only R-MAC and Razavian et al. have more than one vector per image,
and the latter's are not summed.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional

from descriptors.aggregation import aggregate, join_layers
from descriptors.whitening import LayerWhitening, fit_layer, stack_vectors
from evaluation.scores import Score
from evaluation.searching import FIRST_STAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from descriptors.settings import LayerSettings
    from evaluation.baselines.maps import Pool
    from evaluation.encoding import EncodedImages
    from evaluation.trials import Trial

    Search = Callable[["Bench"], Iterator["Rankings"]]

__all__ = [
    "Bench",
    "DenseSystem",
    "PostProcessing",
    "Rankings",
    "expanded_queries",
    "first_hits",
    "left_out",
    "ms_per_query",
    "ranked",
    "scores_of",
    "search_descriptors",
    "sorted_heads",
]


@dataclass(frozen=True)
class Rankings:
    """The rankings of all queries of a trial at one stage.

    Attributes:
        stage: its name in the table.
        rows: of the gallery, best first, a line per query; what a query leaves out is last.
        milliseconds: per query; all queries of a trial are searched at once.
    """

    stage: str
    rows: Int[Tensor, "Q G"]
    milliseconds: float


def left_out(trial: Trial) -> Int[Tensor, " Q"]:
    """The gallery row that each query leaves out; -1 for none."""
    rows = {image.path: row for row, image in enumerate(trial.gallery)}
    return torch.tensor([rows.get(query.leave_out or "", -1) for query in trial.queries])


def ranked(similarities: Float[Tensor, "Q G"], leave_out: Int[Tensor, " Q"]) -> Int[Tensor, "Q G"]:
    """Gallery rows by similarity, best first; what is left out last; ties by row."""
    similarities = similarities.clone()
    queries = torch.nonzero(leave_out >= 0)[:, 0]
    similarities[queries, leave_out[queries]] = -torch.inf
    return similarities.argsort(dim=1, descending=True, stable=True)


def first_hits(rows: Int[Tensor, "Q G"], most: int) -> Int[Tensor, "Q R"]:
    """The first hits of each ranking, never the very last: it may be what is left out."""
    return rows[:, : min(most, rows.shape[1] - 1)]


def sorted_heads(rows: Int[Tensor, "Q G"], scores: Float[Tensor, "Q R"]) -> Int[Tensor, "Q G"]:
    """Each ranking with its first R sorted by new scores."""
    heads = scores.argsort(dim=1, descending=True, stable=True)
    window = scores.shape[1]
    return torch.cat([rows[:, :window].gather(1, heads), rows[:, window:]], dim=1)


def ms_per_query(started: float, rows: Int[Tensor, "Q G"]) -> float:
    """Milliseconds since a `time.perf_counter`, divided by the number of queries."""
    return (time.perf_counter() - started) * 1e3 / len(rows)


def scores_of(name: str, trial: Trial, found: Rankings) -> Iterator[Score]:
    """The score of every ranking; `Score.of` removes what a query leaves out."""
    ids = [image.path for image in trial.gallery]
    for query, rows in zip(trial.queries, found.rows.tolist(), strict=True):
        ranking = [ids[row] for row in rows]
        yield Score.of(name, found.stage, query, ranking, found.milliseconds)


@dataclass(frozen=True)
class PostProcessing:
    """Turns an image's vectors into what is searched.

    Attributes:
        whitening: of each layer; None for none.
        power: whether the element-wise square root and l2 come before it; docs/method.md
            section 10.
        summed: whether the vectors are summed to one descriptor per image.
    """

    whitening: tuple[LayerWhitening, ...] | None
    power: bool = False
    summed: bool = True

    @classmethod
    def fitted(
        cls,
        system: DenseSystem,
        vectors: Sequence[Float[Tensor, "P V _"]],
        layers: Sequence[LayerSettings],
    ) -> PostProcessing:
        """Fit the whitening on all vectors of other images, if the system has one.

        Raises:
            RequestError: if there are too few images.
        """
        if not system.whitened:
            return cls(None, system.power, system.summed)
        whitening = tuple(
            fit_layer(stack_vectors([_powered(of_layer, system.power).flatten(0, 1)]), layer.dims)
            for of_layer, layer in zip(vectors, layers, strict=True)
        )
        return cls(whitening, system.power, system.summed)

    def __call__(self, vectors: Sequence[Float[Tensor, "P V _"]]) -> Float[Tensor, "P *v D"]:
        """Descriptors: ``P D``, or ``P V D`` where they are not summed."""
        found = [_powered(of_layer, self.power) for of_layer in vectors]
        if self.whitening is not None:
            found = [white(layer) for white, layer in zip(self.whitening, found, strict=True)]
        if self.summed:
            found = [aggregate(layer) for layer in found]
        joined: Tensor = join_layers(found)
        return joined


def _powered(vectors: Float[Tensor, "P V K"], power: bool) -> Float[Tensor, "P V K"]:
    return functional.normalize(vectors.sqrt(), dim=2) if power else vectors


@dataclass(frozen=True)
class Bench:
    """One system on one trial.

    Attributes:
        encoded: the maps, for systems that read them again.
        describe: fitted on the trial's other images.
        gallery, queries: descriptors, in the trial's order.
    """

    trial: Trial
    encoded: EncodedImages
    describe: PostProcessing
    gallery: Float[Tensor, "G *v D"]
    queries: Float[Tensor, "Q *v D"]

    @property
    def leave_out(self) -> Int[Tensor, " Q"]:
        """See `left_out`."""
        return left_out(self.trial)

    def ranked_after(
        self, stage: str, started: float, similarities: Float[Tensor, "Q G"]
    ) -> Rankings:
        """Rankings by similarity, and the time since the start."""
        rows = ranked(similarities, self.leave_out)
        return Rankings(stage, rows, ms_per_query(started, rows))


def search_descriptors(bench: Bench) -> Iterator[Rankings]:
    """Search by cosine, also after expansion with the first 5 and 10 hits.

    Convention:
        With 10 it is CroW's own query expansion as published: the descriptors of the first ten
        are summed with the query's, l2 (Kalantidis et al. 2016).
    """
    for stage in FIRST_STAGES:
        started = time.perf_counter()
        queries = bench.queries
        if stage.expand:
            first = ranked(bench.queries @ bench.gallery.T, bench.leave_out)
            queries = expanded_queries(bench, first[:, : stage.expand])
        yield bench.ranked_after(stage.name, started, queries @ bench.gallery.T)


def expanded_queries(bench: Bench, found: Int[Tensor, "Q n"]) -> Float[Tensor, "Q D"]:
    """Each query summed with the descriptors of its first hits, l2.

    Source:
        docs/method.md section 5.
    """
    counts = found != bench.leave_out[:, None]
    summed = (bench.gallery[found] * counts[:, :, None]).sum(dim=1)
    return functional.normalize(bench.queries + summed, dim=1)


@dataclass(frozen=True)
class DenseSystem:
    """A baseline with vectors: a row of `evaluation.baselines.systems.SYSTEMS`.

    Attributes:
        pool: one layer's maps to unit vectors.
        whitened: by a PCA fitted on other images, to as many dimensions as ours.
        power: whether the element-wise square root comes before the whitening, as in ours.
        summed: see `PostProcessing`.
        search: from descriptors to rankings.
        stages: names of what `search` yields, in order.
        vectors: per image, if they are not summed.
    """

    pool: Pool
    whitened: bool = True
    power: bool = False
    summed: bool = True
    search: Search = field(default=search_descriptors)
    stages: tuple[str, ...] = tuple(stage.name for stage in FIRST_STAGES)
    vectors: int = 1

    def dims(self, layers: Sequence[LayerSettings], channels: Sequence[int]) -> int:
        """Numbers stored per image for the first search."""
        one = sum(layer.dims for layer in layers) if self.whitened else sum(channels)
        return one * self.vectors
