"""A gallery in one folder: a SQLite file, and exact search in memory.

For a hundred thousand images on one machine: 300 MB of disk and 200 MB of memory at 512
dimensions, and 760 MB more disk for 14 windows each. Several processes may read while one writes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from os import PathLike
from pathlib import Path
from sqlite3 import Connection
from typing import Any

import numpy as np
from jaxtyping import Float32

from galleries.checks import check_document, check_query
from galleries.documents import Document, FirstHit, Known, Reject
from galleries.errors import FingerprintMismatch, NoWindows
from galleries.filters import Everything, Filter
from galleries.gallery import FIRST_DOCUMENTS, CheckedDocument, windows_count
from galleries.local_file import GalleryFile
from galleries.local_memory import Memory
from galleries.local_rows import (
    find_documents,
    find_known,
    find_reject_tags,
    find_rejects,
    remove,
    write_document,
    write_meta,
    write_reject,
)

__all__ = ["LocalGallery"]

# Timeout of a second writer; longer than any transaction.
_BUSY_SECONDS = 30.0

# Windows that are all compared, in about 50 ms on 2 cores: 256 MB at 512 dimensions.
_ALL_WINDOWS = 500_000

# Documents read at a time by a listing: a few MB.
_PAGE_DOCUMENTS = 500


class LocalGallery:
    """A `Searchable` and `Writable` in one folder.

    Convention:
        Any thread may call any method. Each call that writes is one transaction. An open
        gallery cannot be used after a fork.

    Attributes:
        dims, fingerprint: of the descriptors, and of the method that made them.
        settings: see `create`.
        meta_mapping: empty, since any JSON can be stored.

    Raises:
        GalleryBusy: by every method, if another process has been writing for `busy_seconds`.
        GalleryDamaged: by every method, if the file cannot be read.
        ContractError: by every method, if the disk is full or not writable.
    """

    meta_mapping = ""

    def __init__(self, file: GalleryFile) -> None:
        self._file = file
        self.dims, self.fingerprint, self.settings = file.dims, file.fingerprint, file.settings
        self._windows = windows_count(self.settings)
        self._memory = Memory(file)

    @classmethod
    def create(
        cls,
        folder: str | PathLike[str],
        dims: int,
        fingerprint: str,
        settings: Mapping[str, Any],
        *,
        busy_seconds: float = _BUSY_SECONDS,
    ) -> LocalGallery:
        """Create a gallery, or open an existing one of the same method.

        Args:
            folder: created if needed.
            dims: dimensions of its descriptors.
            fingerprint: of the method that makes them.
            settings: stored as JSON; those of an existing gallery are kept.
            busy_seconds: how long to wait for another process that writes.

        Raises:
            FingerprintMismatch: the existing gallery was made by another method.
        """
        file = GalleryFile.create(
            Path(folder),
            dims=dims,
            fingerprint=fingerprint,
            settings=settings,
            busy_seconds=busy_seconds,
        )
        if (file.fingerprint, file.dims) != (fingerprint, dims):
            file.close()
            raise FingerprintMismatch(
                f"The gallery {folder} was made by another method ({file.fingerprint}, "
                f"{file.dims} dimensions) than yours ({fingerprint}, {dims} dimensions): "
                "index into another folder, or delete this one."
            )
        return cls(file)

    @classmethod
    def open(
        cls, folder: str | PathLike[str], *, busy_seconds: float = _BUSY_SECONDS
    ) -> LocalGallery:
        """Open the gallery in a folder.

        Raises:
            GalleryNotFound: there is none.
            GalleryDamaged: its file is not a database of camsearch.
        """
        return cls(GalleryFile.open(Path(folder), busy_seconds=busy_seconds))

    def meta_names(self) -> list[str]:
        """Names of metadata fields, such as ``meta.city``, in order."""
        query = "SELECT DISTINCT path FROM leaves WHERE path >= ? AND path < ? ORDER BY path"
        with self._file.reading() as rows:
            # "/" is the character after ".".
            return [path for (path,) in rows.execute(query, ("meta.", "meta/"))]

    def put(self, documents: Sequence[Document]) -> None:
        """Write documents; see `Writable`."""
        self.put_ready(self.make_ready(documents), [document.id for document in documents])

    def make_ready(self, documents: Sequence[Document]) -> list[CheckedDocument]:
        """Check documents; see `Writable`."""
        for document in documents:
            check_document(document, self.dims)
        return [CheckedDocument(document) for document in documents]

    def put_ready(self, ready: Sequence[CheckedDocument], rejected: Collection[str]) -> None:
        """Write documents; see `Writable`."""
        if not ready:
            return
        with self._file.changing() as rows:
            for one in ready:
                write_document(rows, one.document)
            remove(rows, "rejects", list(rejected))

    def put_rejects(self, rejects: Sequence[Reject]) -> None:
        """Write rejects; see `Writable`."""
        if not rejects:
            return
        with self._file.writing() as rows:
            for reject in rejects:
                write_reject(rows, reject)

    def put_meta(self, ids_to_meta: Mapping[str, Mapping[str, Any]], revision: int = 0) -> None:
        """Replace metadata; see `Writable`."""
        with self._file.writing() as rows:
            for id_, meta in ids_to_meta.items():
                write_meta(rows, id_, meta, revision)

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Delete documents and rejects; return the ids that existed, in the order given."""
        with self._file.changing() as rows:
            gone = {*remove(rows, "documents", ids), *remove(rows, "rejects", ids)}
        return [id_ for id_ in dict.fromkeys(ids) if id_ in gone]

    def get(self, ids: Sequence[str], *, windows: bool = True) -> dict[str, Document]:
        """Read the documents with these ids; see `Searchable`."""
        with self._file.reading() as rows:
            return find_documents(rows, ids, windows=windows)

    def known(self, ids: Sequence[str]) -> tuple[dict[str, Known], dict[str, str]]:
        """Read both in one transaction; see `Writable`."""
        with self._file.reading() as rows:
            return find_known(rows, ids), find_reject_tags(rows, ids)

    def documents(self, matching: Filter | None = None) -> Iterator[Document]:
        """List documents in order of their ids, optionally those that match a filter.

        Convention:
            Ids are read when the listing begins, documents page by page. Documents deleted
            meanwhile are left out, changed ones appear in either version.
        """
        with self._file.reading() as rows:
            columns = self._memory.columns(rows)
            numbers = columns.matching(rows, matching or Everything())
            ids = [id_ for number, id_ in columns.ids(rows).items() if number in numbers]
        for start in range(0, len(ids), _PAGE_DOCUMENTS):
            yield from self.get(ids[start : start + _PAGE_DOCUMENTS]).values()

    def rejects(self) -> Iterator[Reject]:
        """List all rejects in order of their ids."""
        with self._file.reading() as rows:
            return iter(find_rejects(rows))

    def count(self, matching: Filter | None = None) -> int:
        """Count the documents."""
        with self._file.reading() as rows:
            if matching is None:
                return int(rows.execute("SELECT count(*) FROM documents").fetchone()[0])
            return len(self._memory.columns(rows).matching(rows, matching))

    def knn(
        self, vector: Float32[np.ndarray, " D"], k: int, matching: Filter | None = None
    ) -> list[FirstHit]:
        """Find the k documents with the highest cosine, exactly; see `Searchable`.

        Args:
            vector: of any length except 0.
            k: below 1 finds nothing.
            matching: only documents that match this.

        Raises:
            RequestError: the vector has other dimensions or no direction, or the filter has
                an unknown field.
        """
        check_query(vector, self.dims)
        if k < 1:
            return []
        with self._file.reading() as rows:
            vectors = self._memory.vectors(rows)
            allowed = self._allowed(rows, matching)
        return vectors.nearest(vector, k, allowed)

    def knn_windows(
        self,
        vector: Float32[np.ndarray, " D"],
        k: int,
        matching: Filter | None = None,
        among: Collection[str] | None = None,
    ) -> list[FirstHit]:
        """Find the k documents with the most similar windows; see `Searchable`.

        Convention:
            Without ids all windows are compared in a gallery of up to 500,000, kept in memory;
            in a larger one those of the first 1,000 documents by their descriptors (or k, if that
            is more), read from the file.

        Raises:
            NoWindows: the gallery's method has no windows.
            RequestError: see `knn`.
        """
        if not self._windows:
            raise NoWindows
        check_query(vector, self.dims)
        if k < 1:
            return []
        with self._file.reading() as rows:
            allowed = self._allowed(rows, matching)
            if among is None and self._is_small(rows):
                windows = self._memory.windows(rows)
            else:
                if among is None:
                    count = max(k, FIRST_DOCUMENTS)
                    first = self._memory.vectors(rows).nearest(vector, count, allowed)
                    among = [hit.id for hit in first]
                windows = self._memory.windows_of(rows, among)
        return windows.nearest(vector, k, allowed)

    def _allowed(self, rows: Connection, matching: Filter | None) -> AbstractSet[int] | None:
        """The row numbers of the documents that match; None for all."""
        return None if matching is None else self._memory.columns(rows).matching(rows, matching)

    def _is_small(self, rows: Connection) -> bool:
        """Whether all windows are compared."""
        (documents,) = rows.execute("SELECT count(*) FROM documents").fetchone()
        return int(documents) * self._windows <= _ALL_WINDOWS

    def close(self) -> None:
        """Close the file and free the memory; can be repeated."""
        self._file.close()
        self._memory.clear()

    def __enter__(self) -> LocalGallery:  # noqa: PYI034 - beartype cannot check Self in a method
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
