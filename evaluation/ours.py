"""Our own systems on one trial: OfA, OnA and theme, with the product's method and searcher."""

from __future__ import annotations

import copy
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from jaxtyping import Int
from torch import Tensor

from descriptors.arrays import QueryDescription
from descriptors.expansion import hits_to_read
from descriptors.fitting import WhiteningFit
from descriptors.method import Method
from descriptors.settings import RegionSettings
from descriptors.whitening import Whitening
from es_mappings.documents import Document
from es_mappings.local import LocalGallery
from evaluation.encoding import EncodedPhotos, picture_of
from evaluation.galleries import OfflineGallery, OnlineGallery, StreamedGallery
from evaluation.online import online_vectors
from evaluation.scores import Score
from evaluation.stages import (
    FIRST_STAGES,
    OFFLINE_STAGES,
    ONLINE_STAGES,
    Stage,
    StageMemory,
    StageSearcher,
)
from evaluation.streaming import Describer, stream_photos
from evaluation.trials import Photo, PhotoQuery, StreamedPhotos, Trial

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from es_mappings.documents import Gallery
    from evaluation.encoding import Progress

__all__ = ["MOST_ONLINE_BYTES", "THEME_CLASSES", "fit_whitening", "score_ours", "theme_of"]

# OnA keeps a vector of 16 bit for every photo and class that is asked with: 105,000 photos, 200
# classes and 512 dimensions are 21 GB. The paper has no such row for Oxford105k either.
MOST_ONLINE_BYTES = 4 * 2**30

# As many as the paper's list for Paris (section 4.3); twice N_C of the default preset.
THEME_CLASSES = 16


@dataclass(frozen=True)
class _Asked:
    """A query with its description by one method."""

    query: PhotoQuery
    described: QueryDescription


@dataclass(frozen=True)
class _Bench:
    """One trial with the method that is measured on it.

    Attributes:
        documents: of the trial's gallery, by the photos' paths.
    """

    trial: Trial
    encoded: EncodedPhotos
    method: Method
    regions: RegionSettings
    asked: tuple[_Asked, ...]
    documents: Mapping[str, Document]

    @property
    def searched(self) -> int:
        """How many photos a search may answer."""
        return len(self.documents) + len(self.trial.streamed or ())

    @classmethod
    def of(
        cls, trial: Trial, encoded: EncodedPhotos, method: Method, regions: RegionSettings
    ) -> _Bench:
        """Describe the gallery and the queries of a trial."""
        queries = tuple(_describe_queries(trial.queries, encoded, method, regions))
        documents = _documents(trial.gallery, encoded, method)
        return cls(trial, encoded, method, regions, queries, documents)

    def searcher(self, gallery: Gallery, memory: StageMemory) -> StageSearcher:
        """The product's searcher on a gallery of this trial."""
        return StageSearcher(self.method, gallery, self.encoded.store, self.regions, memory)

    def score(
        self, system: str, one: _Asked, searcher: StageSearcher, stages: Sequence[Stage]
    ) -> Iterator[Score]:
        """One query at every stage, each a ranking of the gallery, down to the last right answer."""
        for stage in stages:
            plan = stage.plan(self.searched, one.query.leave_out)
            ranking, took = searcher.search_timed(one.described, plan)
            found = [hit.document.id for hit in ranking.hits]
            yield Score.of(system, stage.name, one.query, found, took)


def score_ours(
    trial: Trial, encoded: EncodedPhotos, regions: RegionSettings, progress: Progress
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

    Raises:
        RequestError: if there are too few photos to fit the whitening on.
    """
    method = Method(encoded.encoder, fit_whitening(trial.fit, encoded))
    bench = _Bench.of(trial, encoded, method, regions)
    if trial.streamed is not None:
        return _score_streamed(bench, trial.streamed, progress)
    themed = _Bench.of(trial, encoded, _themed(method, theme_of(bench.asked, method)), regions)
    return _score_own_classes(bench, progress) + _score_theme(themed)


def fit_whitening(photos: Sequence[Photo], encoded: EncodedPhotos) -> Whitening:
    """A whitening fitted on the ``n_pca`` best class vectors of each photo.

    Raises:
        RequestError: if there are fewer vectors than dimensions.

    Source:
        METHOD section 3.
    """
    fit = WhiteningFit(encoded.encoder)
    for _, maps in encoded.batches(photos):
        fit.add(maps)
    return fit.fit(f"{len(photos)} photos of an evaluation")


def theme_of(asked: Sequence[_Asked], method: Method) -> tuple[int, ...]:
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


def _own_classes(one: _Asked, method: Method) -> Int[Tensor, " N"]:
    return one.described.classes[: method.settings.n_classes].cpu()


def _describe_queries(
    queries: Sequence[PhotoQuery], encoded: EncodedPhotos, method: Method, regions: RegionSettings
) -> Iterator[_Asked]:
    """Queries from their kept maps; the classes of a box are predicted from its pixels."""
    kept = defaultdict(list)
    for query in queries:
        if query.box is None or method.settings.theme:
            kept[query.photo].append(query)
        else:
            picture = picture_of(query.photo)
            yield _Asked(query, method.describe_query(picture, regions, query.box))
    for batch, maps in encoded.batches(list(kept)):
        for row, photo in enumerate(batch):
            one = maps[row : row + 1]
            for query in kept[photo]:
                described = method.describe_kept_query(one, photo.size, regions, query.box)
                yield _Asked(query, described)


def _documents(
    photos: Sequence[Photo], encoded: EncodedPhotos, method: Method
) -> dict[str, Document]:
    """A document a photo, in order of their ids; nothing active means no document."""
    documents = {}
    for batch, maps in encoded.batches(photos):
        rows = method.describe_encoded(maps).descriptors.cpu().numpy()
        for photo, row in zip(batch, rows, strict=True):
            if row.any():
                digest = encoded.digests[photo.file]
                documents[photo.path] = Document(
                    photo.path, str(photo.file), digest, *photo.size, row
                )
    return dict(sorted(documents.items()))


@contextmanager
def _offline_gallery(bench: _Bench) -> Iterator[Gallery]:
    """The product's local gallery, filled with the documents of a trial."""
    settings = bench.method.settings
    with tempfile.TemporaryDirectory(prefix="camsearch-evaluate-") as folder:
        gallery = LocalGallery.create(
            folder, settings.dims, bench.method.fingerprint(), settings.model_dump(mode="json")
        )
        try:
            gallery.put(list(bench.documents.values()))
            yield cast("Gallery", OfflineGallery(gallery, bench.documents))
        finally:
            gallery.close()


def _score_own_classes(bench: _Bench, progress: Progress) -> list[Score]:
    """OfA and OnA; matches of a query that both need are made once."""
    memory, scores = StageMemory(), list[Score]()
    seen = _online_gallery(bench)
    online = None if seen is None else bench.searcher(cast("Gallery", seen), memory)
    with _offline_gallery(bench) as gallery:
        offline = bench.searcher(gallery, memory)
        for done, one in enumerate(bench.asked, start=1):
            memory.forget()
            scores += bench.score("OfA", one, offline, OFFLINE_STAGES)
            if seen is not None and online is not None:
                started = time.perf_counter()
                seen.see_with(_own_classes(one, bench.method))
                spent = (time.perf_counter() - started) * 1e3
                scores += [
                    replace(score, milliseconds=score.milliseconds + spent)
                    for score in bench.score("OnA", one, online, ONLINE_STAGES)
                ]
            progress(f"{bench.trial.name}: OfA and OnA", done, len(bench.asked))
    return scores


def _score_streamed(bench: _Bench, photos: StreamedPhotos, progress: Progress) -> list[Score]:
    """OfA among the trial's gallery and the streamed photos."""
    method, encoded = bench.method, bench.encoded
    describer = Describer(
        "OfA",
        method.fingerprint(),
        method.settings.dims,
        lambda maps: method.describe_encoded(maps).descriptors,
    )
    folder = Path(encoded.store.address)
    vectors = stream_photos(photos, [describer], encoded.encoder, folder, progress)["OfA"]
    least = 1 + max(
        max(stage.window, hits_to_read(stage.expand, bench.regions) if stage.expand else 0)
        for stage in OFFLINE_STAGES
    )
    gallery = StreamedGallery(bench.documents, vectors, least)
    memory, scores = StageMemory(), list[Score]()
    searcher = bench.searcher(cast("Gallery", gallery), memory)
    for done, one in enumerate(bench.asked, start=1):
        memory.forget()
        gallery.look_for({p for j in one.query.judgements.values() for p in j.positives})
        scores += bench.score("OfA", one, searcher, OFFLINE_STAGES)
        progress(f"{bench.trial.name}: OfA", done, len(bench.asked))
    return scores


def _score_theme(bench: _Bench) -> list[Score]:
    scores: list[Score] = []
    with _offline_gallery(bench) as gallery:
        searcher = bench.searcher(gallery, StageMemory())
        for one in bench.asked:
            scores += bench.score("theme", one, searcher, FIRST_STAGES)
    return scores


def _online_gallery(bench: _Bench) -> OnlineGallery | None:
    """The gallery as queries see it; None where its class vectors would not fit memory."""
    classes = torch.cat([_own_classes(one, bench.method) for one in bench.asked]).unique()
    bytes_a_vector = 2 * bench.method.settings.dims
    if len(bench.documents) * len(classes) * bytes_a_vector > MOST_ONLINE_BYTES:
        return None
    photos = [photo for photo in bench.trial.gallery if photo.path in bench.documents]
    vectors = online_vectors(bench.method, bench.encoded, photos, classes)
    return OnlineGallery(bench.documents, vectors)
