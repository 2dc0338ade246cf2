"""What a search reads of a gallery, where the whole gallery is ranked many times over.

A search calls `knn` and `get` alone, so these have no more of the `Gallery` protocol.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float32, Int
from torch import Tensor

from es_mappings.documents import FirstHit

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from es_mappings.documents import Document, Gallery
    from es_mappings.filters import Filter
    from evaluation.online import OnlineVectors

__all__ = ["MemoryGallery", "OfflineGallery", "OnlineGallery"]


class OfflineGallery:
    """A gallery whose documents are at hand: its search, without reading them each time."""

    def __init__(self, gallery: Gallery, documents: Mapping[str, Document]) -> None:
        """Put a gallery and all of its documents together."""
        self._gallery, self._documents = gallery, documents

    def knn(
        self, vector: Float32[np.ndarray, " D"], k: int, matching: Filter | None = None
    ) -> list[FirstHit]:
        """See `Gallery.knn`."""
        return self._gallery.knn(vector, k, matching)

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """See `Gallery.get`."""
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
        """See `Gallery.knn`; there is no metadata to filter by."""
        del matching
        cosines = self._descriptors @ vector
        best = np.argsort(-cosines, kind="stable")[:k].tolist()
        return [FirstHit(self._ids[row], float(cosines[row])) for row in best]

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """See `Gallery.get`."""
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
