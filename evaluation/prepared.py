"""One trial made ready for our own systems: gallery described, queries described."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from descriptors.arrays import QueryDescription
from descriptors.method import Method
from descriptors.settings import RegionSettings
from es_mappings.documents import Document
from es_mappings.local import LocalGallery
from evaluation.encoding import EncodedPhotos, picture_of
from evaluation.galleries import OfflineGallery
from evaluation.scores import Score
from evaluation.stages import Stage, StageMemory, StageSearcher
from evaluation.trials import Photo, PhotoQuery, Trial

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from jaxtyping import Float
    from torch import Tensor

    from es_mappings.gallery import Searchable

__all__ = ["AskedQuery", "PreparedTrial", "describe_queries", "documents_of"]


@dataclass(frozen=True)
class AskedQuery:
    """A query with its description by one method."""

    query: PhotoQuery
    described: QueryDescription


@dataclass(frozen=True)
class PreparedTrial:
    """One trial with the method that is measured on it.

    Attributes:
        trial, encoded: what is searched, and its maps.
        method, regions: how.
        asked: the trial's queries.
        documents: of the trial's gallery, by the photos' paths, in order of these.
    """

    trial: Trial
    encoded: EncodedPhotos
    method: Method
    regions: RegionSettings
    asked: tuple[AskedQuery, ...]
    documents: Mapping[str, Document]

    @property
    def searched(self) -> int:
        """How many photos a search may answer."""
        return len(self.documents) + len(self.trial.streamed or ())

    def searcher(self, gallery: Searchable, memory: StageMemory) -> StageSearcher:
        """The product's searcher on a gallery of this trial."""
        return StageSearcher(self.method, gallery, self.encoded.store, self.regions, memory)

    def score(
        self, system: str, one: AskedQuery, searcher: StageSearcher, stages: Sequence[Stage]
    ) -> Iterator[Score]:
        """One query at every stage, each a ranking of the gallery, down to the last right answer."""
        for stage in stages:
            plan = stage.plan(self.searched, one.query.leave_out)
            ranking, took = searcher.rank_timed(one.described, plan)
            yield Score.of(system, stage.name, one.query, ranking, took)

    @contextmanager
    def offline_gallery(self) -> Iterator[Searchable]:
        """The product's local gallery, filled with the documents of the trial."""
        settings = self.method.settings
        with tempfile.TemporaryDirectory(prefix="camsearch-evaluate-") as folder:
            gallery = LocalGallery.create(
                folder, settings.dims, self.method.fingerprint(), settings.model_dump(mode="json")
            )
            try:
                gallery.put(list(self.documents.values()))
                yield OfflineGallery(gallery, self.documents)
            finally:
                gallery.close()


def describe_queries(
    queries: Sequence[PhotoQuery], encoded: EncodedPhotos, method: Method, regions: RegionSettings
) -> Iterator[AskedQuery]:
    """Queries from their kept maps; the classes of a box are predicted from its pixels."""
    kept = defaultdict(list)
    for query in queries:
        if query.box is None or method.settings.theme:
            kept[query.photo].append(query)
        else:
            picture = picture_of(query.photo)
            yield AskedQuery(query, method.describe_query(picture, regions, query.box))
    for batch, maps in encoded.batches(list(kept)):
        for row, photo in enumerate(batch):
            one = maps[row : row + 1]
            for query in kept[photo]:
                described = method.describe_kept_query(one, photo.size, regions, query.box)
                yield AskedQuery(query, described)


def documents_of(
    described: Iterable[tuple[Sequence[Photo], Float[Tensor, "B D"]]], encoded: EncodedPhotos
) -> dict[str, Document]:
    """A document a photo, in order of their ids; nothing active means no document."""
    documents = {}
    for batch, descriptors in described:
        for photo, row in zip(batch, descriptors.cpu().numpy(), strict=True):
            if row.any():
                digest = encoded.digests[photo.file]
                documents[photo.path] = Document(
                    photo.path, str(photo.file), digest, *photo.size, row
                )
    return dict(sorted(documents.items()))
