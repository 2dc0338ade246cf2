"""Our own systems on one trial: OfA, OnA and theme, with the product's method and searcher."""

from __future__ import annotations

import copy
import time
from collections import Counter
from dataclasses import replace
from types import MappingProxyType
from typing import TYPE_CHECKING, cast

import torch

from descriptors.method import Method
from evaluation.galleries import OnlineGallery
from evaluation.online import online_vectors
from evaluation.own_vectors import OwnVectors, vectors_needed
from evaluation.prepared import PreparedTrial, describe_queries, documents_of
from evaluation.scores import Score
from evaluation.stages import FIRST_STAGES, OFFLINE_STAGES, ONLINE_STAGES, StageMemory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jaxtyping import Int
    from torch import Tensor

    from descriptors.settings import RegionSettings
    from es_mappings.documents import Gallery
    from evaluation.encoding import EncodedPhotos, Progress
    from evaluation.online import OnlineVectors
    from evaluation.prepared import AskedQuery
    from evaluation.stages import Stage
    from evaluation.trials import Photo, Trial

__all__ = ["OURS", "THEME_CLASSES", "prepare", "score_ours", "theme_of"]

# As many as the paper's list for Paris (section 4.3); twice N_C of the default preset.
THEME_CLASSES = 16

# The stages at which each of our systems is measured.
OURS: Mapping[str, Sequence[Stage]] = MappingProxyType(
    {"OfA": OFFLINE_STAGES, "OnA": ONLINE_STAGES, "theme": FIRST_STAGES}
)


def score_ours(
    trial: Trial,
    encoded: EncodedPhotos,
    regions: RegionSettings,
    progress: Progress,
    stages: Mapping[str, Sequence[Stage]] = OURS,
    own: OwnVectors | None = None,
) -> list[Score]:
    """Each stage's score of each query of a trial by OfA, OnA and theme.

    Args:
        trial: says what the whitening is fitted on.
        encoded: the maps.
        regions: of the re-ranking.
        progress: told which queries are done.
        stages: of each system that is wanted.
        own: class vectors of the trial's photos, where they are at hand.

    Raises:
        RequestError: if there are too few photos to fit the whitening on.
    """
    settings = encoded.encoder.settings
    if own is None:
        own = OwnVectors(encoded, vectors_needed([trial], [settings]))
    method = Method(encoded.encoder, own.fit(trial.fit, settings))
    prepared = prepare(trial, encoded, method, regions, own)
    theme = theme_of(prepared.asked, method) if "theme" in stages else ()
    seen = _online_vectors(prepared, theme, with_own="OnA" in stages)
    scores = _score_own_classes(prepared, seen, stages, progress)
    if theme:
        scores += _score_theme(prepared, seen, theme, stages["theme"])
    return scores


def prepare(
    trial: Trial,
    encoded: EncodedPhotos,
    method: Method,
    regions: RegionSettings,
    own: OwnVectors,
) -> PreparedTrial:
    """Describe the gallery and the queries of a trial."""
    asked = tuple(describe_queries(trial.queries, encoded, method, regions))
    described = own.describe(trial.gallery, method.whitening, method.settings)
    return PreparedTrial(trial, encoded, method, regions, asked, documents_of(described, encoded))


def theme_of(asked: Sequence[AskedQuery], method: Method) -> tuple[int, ...]:
    """The classes that are most often among the N_C best of the queries; ties by number.

    Source:
        paper section 4.3; METHOD section 3.
    """
    counts = Counter(c for one in asked for c in _own_classes(one, method).tolist())
    frequent = sorted(counts, key=lambda c: (-counts[c], c))
    return tuple(frequent[:THEME_CLASSES])


def _themed(method: Method, theme: tuple[int, ...]) -> Method:
    """The same method with one fixed list of classes; whitening and network are shared."""
    encoder = copy.copy(method.encoder)
    encoder.settings = method.settings.model_copy(update={"theme": theme})
    return Method(encoder, method.whitening)


def _own_classes(one: AskedQuery, method: Method) -> Int[Tensor, " N"]:
    return one.described.classes[: method.settings.n_classes].cpu()


def _score_own_classes(
    prepared: PreparedTrial,
    vectors: OnlineVectors,
    stages: Mapping[str, Sequence[Stage]],
    progress: Progress,
) -> list[Score]:
    """OfA and OnA; matches of a query that both need are made once."""
    memory, scores = StageMemory(), list[Score]()
    seen = OnlineGallery(prepared.documents, vectors)
    online = prepared.searcher(cast("Gallery", seen), memory)
    wanted = [name for name in ("OfA", "OnA") if name in stages]
    with prepared.offline_gallery() as gallery:
        offline = prepared.searcher(gallery, memory)
        for done, one in enumerate(prepared.asked if wanted else (), start=1):
            memory.forget()
            if "OfA" in stages:
                scores += prepared.score("OfA", one, offline, stages["OfA"])
            if "OnA" in stages:
                started = time.perf_counter()
                seen.see_with(_own_classes(one, prepared.method))
                spent = (time.perf_counter() - started) * 1e3
                found = prepared.score("OnA", one, online, stages["OnA"])
                scores += [replace(s, milliseconds=s.milliseconds + spent) for s in found]
            progress(f"{prepared.trial.name}: {' and '.join(wanted)}", done, len(prepared.asked))
    online.close()
    offline.close()
    return scores


def _score_theme(
    prepared: PreparedTrial,
    vectors: OnlineVectors,
    theme: tuple[int, ...],
    stages: Sequence[Stage],
) -> list[Score]:
    """One list of classes for all: the gallery's vectors are at hand from OnA."""
    method, trial, encoded = _themed(prepared.method, theme), prepared.trial, prepared.encoded
    themed = PreparedTrial(
        trial,
        encoded,
        method,
        prepared.regions,
        tuple(describe_queries(trial.queries, encoded, method, prepared.regions)),
        documents_of(_described(prepared, vectors, theme), encoded),
    )
    scores: list[Score] = []
    with themed.offline_gallery() as gallery:
        searcher = themed.searcher(gallery, StageMemory())
        for one in themed.asked:
            scores += themed.score("theme", one, searcher, stages)
        searcher.close()
    return scores


def _described(
    prepared: PreparedTrial, vectors: OnlineVectors, theme: tuple[int, ...]
) -> Iterable[tuple[Sequence[Photo], Tensor]]:
    """The gallery with the theme's classes."""
    return [(_photos(prepared), vectors.describe(torch.tensor(theme)))]


def _photos(prepared: PreparedTrial) -> list[Photo]:
    """Of the gallery's documents, in their order."""
    by_path = {photo.path: photo for photo in prepared.trial.gallery}
    return [by_path[path] for path in prepared.documents]


def _online_vectors(
    prepared: PreparedTrial, theme: tuple[int, ...], *, with_own: bool
) -> OnlineVectors:
    """Of the gallery's documents, for the classes of all queries, or of the theme alone."""
    wanted = [torch.tensor(theme, dtype=torch.long)]
    if with_own:
        wanted += [_own_classes(one, prepared.method) for one in prepared.asked]
    classes = torch.cat(wanted).unique()
    return online_vectors(prepared.method, prepared.encoded, _photos(prepared), classes)
