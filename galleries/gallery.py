"""What a gallery does: `Searchable` for queries, `Writable` for indexing.

One contract suite (tests/contracts) runs on every gallery.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from galleries.documents import Document

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from typing import Any

    import numpy as np
    from jaxtyping import Float32

    from galleries.documents import FirstHit, Known, Reject
    from galleries.filters import Filter

__all__ = ["Ready", "Searchable", "Writable"]


class Ready(NamedTuple):
    """A document that its gallery can hold.

    Attributes:
        document: as it was described.
        written: as the gallery sends it; empty where it needs nothing but the document.
    """

    document: Document
    written: bytes = b""


class Searchable(Protocol):
    """All that a search needs."""

    def knn(
        self, vector: Float32[np.ndarray, " D"], k: int, matching: Filter | None = None
    ) -> list[FirstHit]:
        """The k documents with the highest cosine, best first; ties in order of their ids.

        Fewer than k only where fewer match the filter.
        """

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """The documents with these ids; unknown ids are left out."""


class Writable(Searchable, Protocol):
    """All that indexing needs.

    Convention:
        Methods that take many ids or documents do it in one step: all or nothing.
        Unknown ids are left out of answers, never an error.

    Raises:
        MalformedDocument: by every method that writes, if no gallery can hold one of what it is
            given; then it writes nothing.
    """

    @property
    def meta_mapping(self) -> str:
        """Digest of what decides which metadata is held; empty where any JSON is."""

    def known(self, ids: Sequence[str]) -> tuple[dict[str, Known], dict[str, str]]:
        """What is known of documents with these ids, and the source tags of rejects with them."""

    def put(self, documents: Sequence[Document]) -> None:
        """Write documents; one with an id that is there replaces it. Clears their rejects."""

    def make_ready(self, documents: Sequence[Document]) -> list[Ready]:
        """Do all of `put` that comes before the writing; another thread may do it ahead."""

    def put_ready(self, ready: Sequence[Ready], rejected: Collection[str]) -> None:
        """Do the rest of `put`.

        Args:
            ready: of `make_ready`.
            rejected: those of their ids whose rejects are cleared.
        """

    def put_rejects(self, rejects: Sequence[Reject]) -> None:
        """Note images that were refused; a document of the same id stays as it is."""

    def put_meta(self, ids_to_meta: Mapping[str, Mapping[str, Any]], revision: int = 0) -> None:
        """Replace the metadata of documents whose image has not changed.

        Their revision becomes this one, unless it is higher already.
        """
