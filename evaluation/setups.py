"""Many setups measured on the same trials, with all that they have in common made once."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean, median
from typing import TYPE_CHECKING

import torch

from descriptors.arrays import QueryDescription
from descriptors.encoder import Encoder, to_working_size
from descriptors.errors import RequestError
from descriptors.method import Method
from evaluation.encoding import encode_photos, picture_of
from evaluation.galleries import MemoryGallery
from evaluation.own_vectors import OwnVectors, vectors_needed
from evaluation.prepared import AskedQuery, PreparedTrial, describe_queries, documents_of
from evaluation.scores import Score
from evaluation.stages import StageMemory

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from descriptors.encoder import Precision
    from descriptors.settings import MethodSettings
    from es_mappings.documents import Document
    from evaluation.encoding import EncodedPhotos, Progress
    from evaluation.knobs import Setup
    from evaluation.trials import Photo, Trial

__all__ = ["Cost", "Measured", "all_photos", "measure_cost", "measure_setups"]

# Photos that are timed: the median of a few.
_TIMED = 9

# What changes a class vector before any whitening, besides the layers' names.
_VECTOR_FIELDS = ("side", "side_is", "side_multiple", "weight_floor", "centring_prior", "power")
_MAP_FIELDS = _VECTOR_FIELDS[:3]


@dataclass(frozen=True)
class Cost:
    """What a setup costs.

    Attributes:
        encode_ms: of one picture's pass through the network.
        describe_ms: from its maps to its descriptor.
        bytes: of a descriptor.
    """

    encode_ms: float
    describe_ms: float
    bytes: int

    @property
    def ms_per_picture(self) -> float:
        """To index one picture, without reading it."""
        return self.encode_ms + self.describe_ms


@dataclass(frozen=True)
class Measured:
    """What a setup gave.

    Attributes:
        scores: trial by trial.
        cost: see `Cost`.
    """

    scores: tuple[tuple[Score, ...], ...]
    cost: Cost

    @property
    def mean(self) -> float:
        """Average precision as the tables have it: the mean of the trials' means."""
        return fmean(
            fmean(score.average_precision for score in of_trial) for of_trial in self.scores
        )

    @property
    def ms_per_query(self) -> float:
        """Of the search alone."""
        return fmean(score.milliseconds for of_trial in self.scores for score in of_trial)


def all_photos(trials: Sequence[Trial]) -> list[Photo]:
    """Every photo of some trials once; a query's, too, where it is none of the gallery."""
    return list(dict.fromkeys(photo for trial in trials for photo in trial.photos))


def measure_setups(
    trials: Sequence[Trial],
    encoder: Encoder,
    setups: Sequence[Setup],
    cache: Path,
    progress: Progress,
) -> dict[Setup, Measured | str]:
    """Each setup's scores of every query by OfA, or in words why there are none.

    Args:
        trials: at least one.
        encoder: the network; its settings do not matter.
        setups: any, also some that are equal.
        cache: where feature maps are kept.
        progress: told how many setups are done.
    """
    wanted = list(dict.fromkeys(setups))
    found: dict[Setup, Measured | str] = {}
    for of_maps in _grouped(wanted, _MAP_FIELDS).values():
        one = Encoder(encoder.loaded, of_maps[0].settings, str(encoder.device), _precision(encoder))
        encoded = encode_photos(all_photos(trials), one, cache, progress)
        encode_ms = _encode_ms(encoded, trials[0].gallery)
        for of_vectors in _grouped(of_maps, _VECTOR_FIELDS).values():
            here = _with(encoded, of_vectors[0].settings)
            own = OwnVectors(here, vectors_needed(trials, [one.settings for one in of_vectors]))
            for group in _by_settings(of_vectors).values():
                found |= _measure(trials, encoded, own, group, encode_ms)
                progress("settings", len(found), len(wanted))
    return found


def measure_cost(encoded: EncodedPhotos, trial: Trial) -> Cost:
    """What describing a picture of a trial costs with the encoder's own settings.

    Raises:
        RequestError: if there are too few photos to fit the whitening on.
    """
    settings = encoded.encoder.settings
    fit = OwnVectors(encoded, dict.fromkeys(trial.fit, settings.n_pca))
    method = Method(encoded.encoder, fit.fit(trial.fit, settings))
    return Cost(
        _encode_ms(encoded, trial.gallery),
        _describe_ms(encoded, method, trial.gallery),
        4 * settings.dims,
    )


def _measure(
    trials: Sequence[Trial],
    encoded: EncodedPhotos,
    own: OwnVectors,
    setups: Sequence[Setup],
    encode_ms: float,
) -> dict[Setup, Measured | str]:
    """Setups of the same descriptors, that differ by what the search does with them."""
    settings = setups[0].settings
    here = _with(encoded, settings)
    scores: dict[Setup, list[tuple[Score, ...]]] = {setup: [] for setup in setups}
    costs = []
    for trial in trials:
        try:
            method = Method(here.encoder, own.fit(trial.fit, settings))
        except RequestError as error:
            return dict.fromkeys(setups, error.reason)
        described = own.describe(trial.gallery, method.whitening, settings)
        documents = documents_of(described, here)
        for group in _by_search(setups).values():
            asked = _asked(trial, here, method, group[0], documents)
            prepared = PreparedTrial(trial, here, method, group[0].regions, asked, documents)
            for setup, of_trial in zip(group, _scores(prepared, group), strict=True):
                scores[setup].append(of_trial)
        costs.append(Cost(encode_ms, _describe_ms(here, method, trial.gallery), 4 * settings.dims))
    return {setup: Measured(tuple(of_setup), costs[0]) for setup, of_setup in scores.items()}


def _scores(prepared: PreparedTrial, setups: Sequence[Setup]) -> list[tuple[Score, ...]]:
    """Of each setup, every query's score; a query's hits are matched once for all."""
    memory = StageMemory()
    searcher = prepared.searcher(MemoryGallery(prepared.documents), memory)
    stages = [setup.stage for setup in setups]
    by_query = []
    for one in prepared.asked:
        memory.forget()
        by_query.append(tuple(prepared.score("OfA", one, searcher, stages)))
    searcher.close()
    return [tuple(of_stage) for of_stage in zip(*by_query, strict=True)]


def _asked(
    trial: Trial,
    encoded: EncodedPhotos,
    method: Method,
    setup: Setup,
    documents: Mapping[str, Document],
) -> tuple[AskedQuery, ...]:
    """The queries; without a re-ranking one that is a picture of the gallery is described there."""
    known: dict[int, AskedQuery] = {}
    for number, query in enumerate(trial.queries):
        document = documents.get(query.photo.path)
        if query.box is None and document is not None and not setup.stage.window:
            vector = torch.from_numpy(document.descriptor).to(method.encoder.device)
            none = torch.empty(0, dtype=torch.long)
            described = QueryDescription(vector, vector, none, query.photo.size, None)
            known[number] = AskedQuery(query, described)
    rest = [query for number, query in enumerate(trial.queries) if number not in known]
    return (*known.values(), *describe_queries(rest, encoded, method, setup.regions))


def _with(encoded: EncodedPhotos, settings: MethodSettings) -> EncodedPhotos:
    """The same maps under other settings of what is made of them."""
    one = encoded.encoder
    encoder = Encoder(one.loaded, settings, str(one.device), _precision(one))
    return type(encoded)(encoder, encoded.store, encoded.digests)


def _precision(encoder: Encoder) -> Precision:
    return "bfloat16" if encoder.autocast else "float32"


def _grouped(
    setups: Sequence[Setup], names: Sequence[str]
) -> dict[tuple[object, ...], list[Setup]]:
    """Setups by their network's layers and some fields."""
    groups: dict[tuple[object, ...], list[Setup]] = defaultdict(list)
    for setup in setups:
        layers = tuple(layer.name for layer in setup.settings.layers)
        fields = tuple(getattr(setup.settings, name) for name in names)
        groups[layers, fields].append(setup)
    return groups


def _by_settings(setups: Sequence[Setup]) -> dict[MethodSettings, list[Setup]]:
    groups: dict[MethodSettings, list[Setup]] = defaultdict(list)
    for setup in setups:
        groups[setup.settings].append(setup)
    return groups


def _by_search(setups: Sequence[Setup]) -> dict[object, list[Setup]]:
    """Setups that can share their matches; those without a re-ranking ask more cheaply."""
    groups: dict[object, list[Setup]] = defaultdict(list)
    for setup in setups:
        groups[setup.regions, setup.stage.window > 0].append(setup)
    return groups


def _encode_ms(encoded: EncodedPhotos, photos: Sequence[Photo]) -> float:
    """The network's pass of one picture, the median of a few."""
    took = []
    for photo in photos[:_TIMED]:
        encoder = encoded.encoder
        batch = encoder.prepare([to_working_size(picture_of(photo), encoder.settings)])
        started = time.perf_counter()
        encoder.encode(batch)
        took.append((time.perf_counter() - started) * 1e3)
    return median(took)


def _describe_ms(encoded: EncodedPhotos, method: Method, photos: Sequence[Photo]) -> float:
    """From one picture's maps to its descriptor, the median of a few."""
    took = []
    for _, maps in encoded.batches(photos[:_TIMED]):
        for row in range(len(maps)):
            one = maps[row : row + 1]
            started = time.perf_counter()
            method.describe_encoded(one)
            took.append((time.perf_counter() - started) * 1e3)
    return median(took)
