"""Protocols of galleries: `Searchable` for queries, `Writable` for indexing.

The contract tests in tests/contracts run on every gallery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from galleries.documents import Document

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    import numpy as np
    from jaxtyping import Float32

    from galleries.documents import FirstHit, Known, Reject
    from galleries.filters import Filter

__all__ = ["FIRST_DOCUMENTS", "CheckedDocument", "Searchable", "Writable", "windows_count"]

# Documents, found by their descriptors, whose windows are compared where all windows are too many.
FIRST_DOCUMENTS = 1000


def windows_count(settings: Mapping[str, Any]) -> int:
    """The windows of each image, from the settings stored in a gallery; 0 for none."""
    return int(settings.get("method", {}).get("windows", 0))


class CheckedDocument(NamedTuple):
    """A checked document, ready to be written.

    Attributes:
        document: to write.
        written: its serialised form, if the gallery needs one.
    """

    document: Document
    written: bytes = b""


class Searchable(Protocol):
    """The methods that a search needs."""

    def knn(
        self, vector: Float32[np.ndarray, " D"], k: int, matching: Filter | None = None
    ) -> list[FirstHit]:
        """The k documents with the highest cosine, best first; ties in order of their ids."""

    def knn_windows(
        self,
        vector: Float32[np.ndarray, " D"],
        k: int,
        matching: Filter | None = None,
        among: Collection[str] | None = None,
    ) -> list[FirstHit]:
        """The k documents whose most similar window has the highest cosine, best first.

        Args:
            vector: unit vector.
            k: documents wanted.
            matching: filter on documents.
            among: ids that are compared, exactly; None for the whole gallery, which may leave out
                documents if comparing all windows would take too long.

        Raises:
            NoWindows: the gallery's method has no windows.
        """

    def get(self, ids: Sequence[str], *, windows: bool = True) -> dict[str, Document]:
        """The documents with these ids; unknown ids are left out.

        Args:
            ids: any number.
            windows: whether to read their windows, which are most of a document's bytes.
        """


class Writable(Searchable, Protocol):
    """The methods that indexing needs.

    Convention:
        Methods that take many ids or documents are atomic. Unknown ids are ignored.

    Raises:
        MalformedDocument: by every method that writes, if no gallery can store one of its
            arguments; then nothing is written.
    """

    @property
    def meta_mapping(self) -> str:
        """Digest of the mapping of metadata; empty if any JSON can be stored."""

    def known(self, ids: Sequence[str]) -> tuple[dict[str, Known], dict[str, str]]:
        """What is known of documents with these ids, and the source tags of such rejects."""

    def put(self, documents: Sequence[Document]) -> None:
        """Write or replace documents, and delete their rejects."""

    def make_ready(self, documents: Sequence[Document]) -> list[CheckedDocument]:
        """The first part of `put`, which another thread may run in advance."""

    def put_ready(self, ready: Sequence[CheckedDocument], rejected: Collection[str]) -> None:
        """The second part of `put`.

        Args:
            ready: from `make_ready`.
            rejected: ids of these documents whose rejects are deleted.
        """

    def put_rejects(self, rejects: Sequence[Reject]) -> None:
        """Write rejects; a document of the same id is not changed."""

    def put_meta(self, ids_to_meta: Mapping[str, Mapping[str, Any]], revision: int = 0) -> None:
        """Replace the metadata of documents, and raise their revision to this one."""
