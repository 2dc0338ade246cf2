"""Our own systems on one trial: OfA, OnA and theme, with the product's method and searcher."""

from __future__ import annotations

import copy
import time
from collections import Counter, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import torch

from descriptors.expansion import hits_to_read
from descriptors.method import Method
from evaluation.encoding import UnpackedMaps, pixels_of
from evaluation.examples import score_examples
from evaluation.fitting import fit_method
from evaluation.scores import LeftOut, Score
from evaluation.searching import (
    FIRST_STAGES,
    OFFLINE_STAGES,
    ONLINE_STAGES,
    MemoryGallery,
    StageSearcher,
    online_vectors,
)
from evaluation.streaming import StreamedGallery, stream_images
from galleries.documents import Document
from indexer.documents import windows_per_image

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from jaxtyping import Int
    from torch import Tensor

    from descriptors.arrays import QueryDescription
    from descriptors.settings import RegionSettings
    from evaluation.encoding import EncodedImages
    from evaluation.searching import OnlineVectors, Stage
    from evaluation.trials import DatasetQuery, Progress, Trial

__all__ = [
    "MAX_ONLINE_BYTES",
    "OURS",
    "PACKAGED_IS_OURS",
    "STREAMED",
    "PreparedTrial",
    "score_ours",
]

# OnA keeps a 16-bit vector for every image and class of the queries: 105,000 images, 200 classes
# and 512 dimensions are 21 GB. The paper has no such row for Oxford105k either.
MAX_ONLINE_BYTES = 4 * 2**30

# Why only OfA is measured with streamed images.
STREAMED = (
    "of streamed images only OfA's vectors are kept. To measure other systems, keep all maps "
    "(--no-stream)."
)
# Why only ours are measured with the packaged whitening.
PACKAGED_IS_OURS = (
    "the packaged whitening is of our descriptors. To measure other systems, name images to fit "
    "theirs on (--fit-on DIR)."
)
_TOO_MANY = (
    f"the class vectors of this gallery would take more than {MAX_ONLINE_BYTES / 2**30:.0f} GiB "
    "of memory."
)

# As many as the paper's list for Paris (section 4.3); twice N_C of the default preset.
_THEME_CLASSES = 16

# The stages at which each of our systems is measured.
OURS: Mapping[str, Sequence[Stage]] = MappingProxyType(
    {"OfA": OFFLINE_STAGES, "OnA": ONLINE_STAGES, "theme": FIRST_STAGES}
)


class AskedQuery(NamedTuple):
    """A query, and its description by one method."""

    query: DatasetQuery
    described: QueryDescription


@dataclass(frozen=True)
class PreparedTrial:
    """One trial with the method that is measured on it.

    Attributes:
        trial, encoded: what is searched, and its maps.
        asked: the trial's queries, described.
        documents: of the gallery, sorted by path; an image without any activation has none.
    """

    trial: Trial
    encoded: EncodedImages
    method: Method
    regions: RegionSettings
    asked: tuple[AskedQuery, ...]
    documents: Mapping[str, Document]

    @classmethod
    def of(
        cls, trial: Trial, encoded: EncodedImages, method: Method, regions: RegionSettings
    ) -> PreparedTrial:
        """Describe gallery and queries."""
        encoded = replace(encoded, encoder=method.encoder)
        documents = {}
        for batch, maps in encoded.batches(trial.gallery):
            described = method.describe_encoded(maps)
            windows = windows_per_image(method.with_windows(described), [p.size for p in batch])
            descriptors = described.descriptors.cpu().numpy()
            for image, row, own in zip(batch, descriptors, windows, strict=True):
                if row.any():
                    digest = encoded.digests[image.file]
                    documents[image.path] = Document(
                        image.path, str(image.file), digest, *image.size, row, windows=own
                    )
        asked = tuple(_described_queries(trial.queries, encoded, method, regions))
        return cls(trial, encoded, method, regions, asked, dict(sorted(documents.items())))

    def with_regions(self, regions: RegionSettings) -> PreparedTrial:
        """The same with queries described for other regions."""
        if regions == self.regions:
            return self
        asked = _described_queries(self.trial.queries, self.encoded, self.method, regions)
        return replace(self, regions=regions, asked=tuple(asked))

    def searcher(self, gallery: MemoryGallery | None = None) -> StageSearcher:
        """The product's searcher on the documents, or on another gallery of them."""
        gallery = gallery or MemoryGallery(self.documents)
        store, encoder = self.encoded.store, self.encoded.encoder
        maps = UnpackedMaps(store, encoder, coarse=self.regions.coarse_maps)
        return StageSearcher(self.method, gallery, maps, self.regions)

    def score(
        self, system: str, one: AskedQuery, searcher: StageSearcher, stages: Sequence[Stage]
    ) -> Iterator[Score]:
        """Scores of one query at every stage."""
        searched = len(self.documents) + len(self.trial.streamed or ())
        windows = self.method.settings.windows and self.trial.streamed is None
        for stage in stages:
            plan = stage.plan(searched, one.query.leave_out)
            if searcher.compares_windows(plan) and not windows:
                continue
            hits, took = searcher.rank_timed(one.described, plan)
            where = searcher.where(one.query, one.described, hits, plan)
            ranking = [hit.key for hit in hits]
            yield Score.of(system, stage.name, one.query, ranking, took, where)


def score_ours(
    trial: Trial,
    encoded: EncodedImages,
    regions: RegionSettings,
    progress: Progress,
    stages: Mapping[str, Sequence[Stage]] = OURS,
    left_out: LeftOut | None = None,
) -> list[Score]:
    """Scores of each query of a trial by our systems at each stage.

    Convention:
        With streamed images only OfA is measured: OnA needs the class vectors of every image,
        and a theme another pass over all of them. OnA is also left out if the class vectors of
        the gallery would take more than 4 GB.

    Args:
        stages: of each system that is wanted.
        left_out: receives what is not measured, and unreadable streamed images.
        trial, encoded, regions, progress: see `evaluation.runs.evaluate_trials`.

    Raises:
        RequestError: if there are too few images to fit the whitening on.
    """
    left_out = left_out or LeftOut()
    prepared = PreparedTrial.of(trial, encoded, fit_method(trial.fit, encoded), regions)
    if trial.streamed is not None:
        for name in stages.keys() - {"OfA"}:
            left_out.add(name, STREAMED)
        stages = {name: some for name, some in stages.items() if name == "OfA"}
    scores = _score_own_classes(prepared, stages, left_out, progress)
    scores += _score_theme(prepared, stages.get("theme", ()))
    return scores + list(score_examples(prepared, stages))


def _described_queries(
    queries: Sequence[DatasetQuery], encoded: EncodedImages, method: Method, regions: RegionSettings
) -> Iterator[AskedQuery]:
    """Queries from their kept maps; the classes of a box are predicted from its pixels."""
    kept = defaultdict(list)
    for query in queries:
        if query.box is None or method.settings.theme:
            kept[query.image].append(query)
        else:
            described = method.describe_query(pixels_of(query.image), regions, query.box)
            yield AskedQuery(query, described)
    for batch, maps in encoded.batches(list(kept)):
        for row, image in enumerate(batch):
            one = maps[row : row + 1]
            for query in kept[image]:
                described = method.describe_kept_query(one, image.size, regions, query.box)
                yield AskedQuery(query, described)


def _score_own_classes(
    prepared: PreparedTrial,
    stages: Mapping[str, Sequence[Stage]],
    left_out: LeftOut,
    progress: Progress,
) -> list[Score]:
    """OfA and OnA; a query's matches are computed once for both."""
    vectors = _online_vectors(prepared, left_out) if "OnA" in stages else None
    wanted = [name for name in ("OfA", "OnA") if name in stages]
    gallery = _gallery(prepared, stages.get("OfA", ()), left_out, progress)
    searcher, scores = prepared.searcher(gallery), list[Score]()
    for done, one in enumerate(prepared.asked if wanted else (), start=1):
        searcher.next_query()
        gallery.look_for({p for j in one.query.judgements.values() for p in j.positives})
        searcher.gallery = gallery
        scores += prepared.score("OfA", one, searcher, stages.get("OfA", ()))
        if vectors is not None:
            started = time.perf_counter()
            searcher.gallery = _seen_by(one, prepared, vectors)
            spent = (time.perf_counter() - started) * 1e3
            # Describing the gallery is a part of each search.
            found = prepared.score("OnA", one, searcher, stages["OnA"])
            scores += [replace(s, milliseconds=s.milliseconds + spent) for s in found]
        progress(f"{prepared.trial.name}: {' and '.join(wanted)}", done, len(prepared.asked))
    searcher.close()
    return scores


def _gallery(
    prepared: PreparedTrial, stages: Sequence[Stage], left_out: LeftOut, progress: Progress
) -> MemoryGallery:
    """What OfA searches: the documents, and the vectors of streamed images."""
    images, encoded = prepared.trial.streamed, prepared.encoded
    if images is None:
        return MemoryGallery(prepared.documents)
    vectors = stream_images(images, prepared.method, Path(encoded.store.address), progress)
    left_out.streamed.update(vectors.unreadable)
    read = [max(stage.window, hits_to_read(stage.expand, prepared.regions)) for stage in stages]
    return StreamedGallery(prepared.documents, vectors, 1 + max(read, default=0))


def _own_classes(one: AskedQuery, method: Method) -> Int[Tensor, " N"]:
    return one.described.classes[: method.settings.n_classes].cpu()


def _online_vectors(prepared: PreparedTrial, left_out: LeftOut) -> OnlineVectors | None:
    """Of the gallery, for the classes of all queries; None if they are too many."""
    method = prepared.method
    classes = torch.cat([_own_classes(one, method) for one in prepared.asked]).unique()
    if 2 * method.settings.dims * len(prepared.documents) * len(classes) > MAX_ONLINE_BYTES:
        left_out.add("OnA", _TOO_MANY)
        return None
    by_path = {image.path: image for image in prepared.trial.gallery}
    images = [by_path[path] for path in prepared.documents]
    return online_vectors(method, prepared.encoded, images, classes)


def _seen_by(one: AskedQuery, prepared: PreparedTrial, vectors: OnlineVectors) -> MemoryGallery:
    """The gallery described with the classes of a query."""
    rows = vectors.describe(_own_classes(one, prepared.method)).numpy()
    documents = prepared.documents.items()
    return MemoryGallery(
        {i: replace(one, descriptor=row) for (i, one), row in zip(documents, rows, strict=True)}
    )


def _score_theme(prepared: PreparedTrial, stages: Sequence[Stage]) -> list[Score]:
    """One list of classes for all: those most often among the N_C best of the queries.

    Source:
        paper section 4.3; docs/method.md section 3.
    """
    if not stages:
        return []
    method = prepared.method
    counts = Counter(c for one in prepared.asked for c in _own_classes(one, method).tolist())
    theme = tuple(sorted(counts, key=lambda c: (-counts[c], c))[:_THEME_CLASSES])
    encoder = copy.copy(method.encoder)  # network and whitening are shared
    encoder.settings = method.settings.model_copy(update={"theme": theme})
    themed = PreparedTrial.of(
        prepared.trial, prepared.encoded, Method(encoder, method.whitening), prepared.regions
    )
    searcher = themed.searcher()
    scores = [s for one in themed.asked for s in themed.score("theme", one, searcher, stages)]
    searcher.close()
    return scores
