"""Our own systems on one trial: OfA, OnA and theme, with the product's method and searcher."""

from __future__ import annotations

import copy
import time
from collections import Counter
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import TYPE_CHECKING

import torch

from descriptors.method import Method
from evaluation.galleries import OnlineGallery
from evaluation.left_out import LeftOut
from evaluation.online import OnlineVectors, online_vectors
from evaluation.own_vectors import OwnVectors, vectors_needed
from evaluation.prepared import AskedQuery, PreparedTrial, describe_queries, documents_of
from evaluation.scores import Score
from evaluation.stages import (
    FIRST_STAGES,
    OFFLINE_STAGES,
    ONLINE_STAGES,
    StageMemory,
    StageSearcher,
)
from evaluation.streamed import score_streamed

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from jaxtyping import Int
    from torch import Tensor

    from descriptors.settings import RegionSettings
    from descriptors.whitening import Whitening
    from evaluation.encoding import EncodedPhotos, Progress
    from evaluation.stages import Stage
    from evaluation.trials import Photo, Trial

__all__ = [
    "MOST_ONLINE_BYTES",
    "OURS",
    "STREAMED",
    "THEME_CLASSES",
    "fit_whitening",
    "prepare",
    "score_ours",
    "theme_of",
]

# OnA keeps a vector of 16 bit for every photo and class that is asked with: 105,000 photos, 200
# classes and 512 dimensions are 21 GB. The paper has no such row for Oxford105k either.
MOST_ONLINE_BYTES = 4 * 2**30

# Why other systems than OfA have no scores then.
STREAMED = (
    "of streamed photos only vectors of OfA are kept. To measure others, keep the maps of all "
    "(--no-stream)."
)
_TOO_MANY = (
    f"the class vectors of this gallery would take more than {MOST_ONLINE_BYTES / 2**30:.0f} GiB "
    "of memory."
)

# As many as the paper's list for Paris (section 4.3); twice N_C of the default preset.
THEME_CLASSES = 16

# The stages at which each of our systems is measured.
OURS: Mapping[str, Sequence[Stage]] = MappingProxyType(
    {"OfA": OFFLINE_STAGES, "OnA": ONLINE_STAGES, "theme": FIRST_STAGES}
)


def score_ours(  # noqa: PLR0913 - one keyword a part that may be at hand
    trial: Trial,
    encoded: EncodedPhotos,
    regions: RegionSettings,
    progress: Progress,
    stages: Mapping[str, Sequence[Stage]] = OURS,
    own: OwnVectors | None = None,
    left_out: LeftOut | None = None,
) -> list[Score]:
    """Each stage's score of each query of a trial by OfA, OnA and theme.

    Convention:
        With streamed photos there is OfA alone: OnA needs the class vectors of every photo at
        hand, and so does a gallery of which they would take more than 4 GB; a theme is another
        pass over all of them.

    Args:
        trial: says what the whitening is fitted on.
        encoded: the maps.
        regions: of the re-ranking.
        progress: told which queries are done.
        stages: of each system that is wanted.
        own: class vectors of the trial's photos, where they are at hand.
        left_out: told which of OnA and theme there are no scores of, and why, and which
            streamed photos cannot be read.

    Raises:
        RequestError: if there are too few photos to fit the whitening on.
    """
    told = LeftOut() if left_out is None else left_out
    if own is None:
        own = OwnVectors(encoded, vectors_needed([trial], [encoded.encoder.settings]))
    prepared = prepare(trial, encoded, regions, own)
    others = [name for name in stages if name != "OfA"]
    if trial.streamed is not None:
        for name in others:
            told.add(name, STREAMED)
        return score_streamed(prepared, trial.streamed, stages.get("OfA", ()), progress, told)
    theme = theme_of(prepared.asked, prepared.method) if "theme" in stages else ()
    seen = _online_vectors(prepared, theme, with_own="OnA" in stages)
    if seen is None:
        for name in others:
            told.add(name, _TOO_MANY)
        stages = {name: some for name, some in stages.items() if name == "OfA"}
    scores = _score_own_classes(prepared, seen, stages, progress)
    if theme and seen is not None:
        scores += _score_theme(prepared, seen, theme, stages["theme"])
    return scores


def fit_whitening(photos: Sequence[Photo], encoded: EncodedPhotos) -> Whitening:
    """A whitening fitted on the ``n_pca`` best class vectors of each photo.

    Raises:
        RequestError: if there are fewer vectors than dimensions.
    """
    settings = encoded.encoder.settings
    return OwnVectors(encoded, dict.fromkeys(photos, settings.n_pca)).fit(photos, settings)


def prepare(
    trial: Trial,
    encoded: EncodedPhotos,
    regions: RegionSettings,
    own: OwnVectors,
) -> PreparedTrial:
    """Fit the whitening of a trial, and describe its gallery and queries.

    Raises:
        RequestError: if there are too few photos to fit it on.
    """
    method = Method(encoded.encoder, own.fit(trial.fit, encoded.encoder.settings))
    asked = tuple(describe_queries(trial.queries, encoded, method, regions))
    described = own.describe(trial.gallery, method.whitening, method.settings)
    return PreparedTrial(trial, encoded, method, regions, asked, documents_of(described, encoded))


def theme_of(asked: Sequence[AskedQuery], method: Method) -> tuple[int, ...]:
    """The classes that are most often among the N_C best of the queries; ties by number.

    Source:
        paper section 4.3; docs/method.md section 3.
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
    vectors: OnlineVectors | None,
    stages: Mapping[str, Sequence[Stage]],
    progress: Progress,
) -> list[Score]:
    """OfA and OnA; matches of a query that both need are made once."""
    memory, scores = StageMemory(), list[Score]()
    wanted = [name for name in ("OfA", "OnA") if name in stages]
    online = None if vectors is None else _Online.of(prepared, vectors, memory)
    with prepared.offline_gallery() as gallery:
        offline = prepared.searcher(gallery, memory)
        for done, one in enumerate(prepared.asked if wanted else (), start=1):
            memory.forget()
            scores += prepared.score("OfA", one, offline, stages.get("OfA", ()))
            if online is not None:
                scores += online.score(one, stages.get("OnA", ()))
            progress(f"{prepared.trial.name}: {' and '.join(wanted)}", done, len(prepared.asked))
        offline.close()
    return scores


@dataclass(frozen=True)
class _Online:
    """A trial's gallery as the classes of one query after the other see it (OnA)."""

    prepared: PreparedTrial
    gallery: OnlineGallery
    searcher: StageSearcher

    @classmethod
    def of(cls, prepared: PreparedTrial, vectors: OnlineVectors, memory: StageMemory) -> _Online:
        gallery = OnlineGallery(prepared.documents, vectors)
        return cls(prepared, gallery, prepared.searcher(gallery, memory))

    def score(self, one: AskedQuery, stages: Sequence[Stage]) -> list[Score]:
        """One query at every stage; describing the gallery counts as a part of each search."""
        if not stages:
            return []
        started = time.perf_counter()
        self.gallery.see_with(_own_classes(one, self.prepared.method))
        spent = (time.perf_counter() - started) * 1e3
        found = self.prepared.score("OnA", one, self.searcher, stages)
        return [replace(score, milliseconds=score.milliseconds + spent) for score in found]


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
) -> OnlineVectors | None:
    """Of the gallery, for the classes of all queries or the theme; None if they are too many."""
    wanted = [torch.tensor(theme, dtype=torch.long)]
    if with_own:
        wanted += [_own_classes(one, prepared.method) for one in prepared.asked]
    classes = torch.cat(wanted).unique()
    bytes_a_vector = 2 * prepared.method.settings.dims
    if len(prepared.documents) * len(classes) * bytes_a_vector > MOST_ONLINE_BYTES:
        return None
    return online_vectors(prepared.method, prepared.encoded, _photos(prepared), classes)
