"""What a search reads of a gallery, where the whole gallery is ranked many times over.

Each is a `Searchable`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int
from torch import Tensor

from es_mappings.documents import Document, FirstHit

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from es_mappings.filters import Filter
    from es_mappings.gallery import Searchable
    from evaluation.online import OnlineVectors
    from evaluation.streaming import StreamedVectors

__all__ = ["MemoryGallery", "OfflineGallery", "OnlineGallery", "StreamedGallery"]


class OfflineGallery:
    """A gallery whose documents are at hand: its search, without reading them each time."""

    def __init__(self, gallery: Searchable, documents: Mapping[str, Document]) -> None:
        """Put a gallery and all of its documents together."""
        self._gallery, self._documents = gallery, documents

    def knn(
        self, vector: Float32[np.ndarray, " D"], k: int, matching: Filter | None = None
    ) -> list[FirstHit]:
        """See `Searchable.knn`."""
        return self._gallery.knn(vector, k, matching)

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """See `Searchable.get`."""
        return {i: self._documents[i] for i in ids if i in self._documents}


class MemoryGallery:
    """Documents at hand, searched by one product with all of their vectors."""

    def __init__(self, documents: Mapping[str, Document]) -> None:
        """Args: documents in the order in which equal ones are answered."""
        self._ids, self._documents = list(documents), documents
        rows = [document.descriptor for document in documents.values()]
        self._descriptors = np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32)

    def knn(
        self, vector: Float32[np.ndarray, " D"], k: int, matching: Filter | None = None
    ) -> list[FirstHit]:
        """See `Searchable.knn`; there is no metadata to filter by."""
        del matching
        cosines = self._descriptors @ vector
        best = np.argsort(-cosines, kind="stable")[:k].tolist()
        return [FirstHit(self._ids[row], float(cosines[row])) for row in best]

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """See `Searchable.get`."""
        return {i: self._documents[i] for i in ids if i in self._documents}


class OnlineGallery(MemoryGallery):
    """A gallery as the classes of one query after the other see it (OnA)."""

    def __init__(self, documents: Mapping[str, Document], vectors: OnlineVectors) -> None:
        """Put documents and class vectors together; rows are in order of the documents."""
        super().__init__(documents)
        self._plain, self._vectors = documents, vectors

    def see_with(self, classes: Int[Tensor, " N"]) -> None:
        """Describe every picture with the classes of the next query."""
        self._descriptors = self._vectors.describe(classes).numpy()
        self._documents = {
            i: replace(document, descriptor=row)
            for (i, document), row in zip(self._plain.items(), self._descriptors, strict=True)
        }


class StreamedGallery(MemoryGallery):
    """Documents at hand, and many more photos of which only vectors are kept.

    Convention:
        An answer ends with the last right answer to the query that is asked (`look_for`), or
        after `least` hits if that is later: what comes after it changes no measure, and a
        million hits a search would take longer than the search.
    """

    def __init__(
        self, documents: Mapping[str, Document], streamed: StreamedVectors, least: int
    ) -> None:
        """Put documents and streamed vectors together.

        Args:
            documents: of the photos whose maps are kept, in order of their ids.
            streamed: of the others.
            least: hits that an answer has at any rate, so that each stage has what it reads.
        """
        super().__init__(documents)
        self._streamed, self._least = streamed, least
        self._rows_of = {id_: row for row, id_ in enumerate(self._ids)}
        self._streamed_rows: dict[str, int] = {}
        self._wanted: list[int] = []

    def __len__(self) -> int:
        """Photos of both kinds."""
        return len(self._ids) + len(self._streamed.photos)

    def look_for(self, positives: Collection[str]) -> None:
        """Name the right answers to the next query."""
        self._wanted = [self._rows_of[id_] for id_ in positives if id_ in self._rows_of]
        self._streamed_rows.clear()

    def knn(
        self, vector: Float32[np.ndarray, " D"], k: int, matching: Filter | None = None
    ) -> list[FirstHit]:
        """See `Searchable.knn`; there is no metadata to filter by."""
        del matching
        mine = self._descriptors @ vector
        # Streamed ones first, since that is the order of their ids.
        cosines = np.concatenate([self._streamed.cosines(vector), mine])
        lowest = mine[self._wanted].min(initial=np.inf)
        enough = max(int((cosines >= lowest).sum()), min(self._least, len(cosines)))
        best = np.argsort(-cosines, kind="stable")[: min(k, enough)]
        return [
            FirstHit(self._id(row), float(cosines[row]))
            for row in best.tolist()
            if np.isfinite(cosines[row])
        ]

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """See `Searchable.get`."""
        return {
            i: self._document(i) for i in ids if i in self._documents or i in self._streamed_rows
        }

    def _id(self, row: int) -> str:
        """Of a photo in order of the ids; a streamed one is remembered until the next query."""
        count = len(self._streamed.photos)
        if row >= count:
            return self._ids[row - count]
        id_ = self._streamed.photos.path(row)
        self._streamed_rows[id_] = row
        return id_

    def _document(self, id_: str) -> Document:
        if id_ in self._documents:
            return self._documents[id_]
        row = self._streamed_rows[id_]
        width, height = self._streamed.sizes[row].tolist()
        # Joined as text: an answer may hold a good part of a million, and paths are slow to make.
        file = f"{self._streamed.photos.folder}/{self._streamed.photos.names[row]}"
        return Document(id_, file, "", width, height, self._streamed.vector(row))
