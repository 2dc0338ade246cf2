"""Tables of a local gallery that a search keeps in memory until they change."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from galleries.local_filters import Columns
from galleries.local_rows import all_windows, find_windows
from galleries.local_vectors import Vectors
from galleries.local_windows import WindowRows

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from sqlite3 import Connection

    from galleries.local_file import GalleryFile

__all__ = ["Memory"]


class Memory:
    """What searches read of a file. Every method runs in a transaction of the caller.

    Raises:
        GalleryDamaged: by every method, if the tables do not fit together.
    """

    def __init__(self, file: GalleryFile) -> None:
        self._file = file
        self._columns: tuple[tuple[int, int], Columns] | None = None
        self._vectors: Vectors | None = None
        self._windows: WindowRows | None = None

    def columns(self, rows: Connection) -> Columns:
        """The columns of this state of the file; discarded after every write."""
        state = self._file.state(rows)
        if self._columns is None or self._columns[0] != state:
            self._columns = state, Columns()
        return self._columns[1]

    def vectors(self, rows: Connection) -> Vectors:
        """The descriptors, read again if some have changed."""
        changes = _changes(rows)
        if self._vectors is None or self._vectors.changes != changes:
            # Freed first, to save memory.
            self._vectors = None
            pairs = rows.execute("SELECT number, id FROM documents ORDER BY id")
            descriptors = rows.execute("SELECT number, descriptor FROM vectors")
            with self._consistent():
                self._vectors = Vectors.gather(changes, pairs, descriptors, self._file.dims)
        return self._vectors

    def windows(self, rows: Connection) -> WindowRows:
        """All windows, read again if some have changed."""
        changes = _changes(rows)
        if self._windows is None or self._windows.changes != changes:
            self._windows = None
            with self._consistent():
                self._windows = WindowRows.gather(changes, all_windows(rows), self._file.dims)
        return self._windows

    def windows_of(self, rows: Connection, ids: Iterable[str]) -> WindowRows:
        """The windows of images with these ids; not kept."""
        with self._consistent():
            return WindowRows.gather(_changes(rows), find_windows(rows, ids), self._file.dims)

    def clear(self) -> None:
        """Free the memory."""
        self._columns = self._vectors = self._windows = None

    @contextmanager
    def _consistent(self) -> Iterator[None]:
        try:
            yield
        except (KeyError, ValueError) as error:
            raise self._file.damaged(str(error)) from error


def _changes(rows: Connection) -> int:
    (changes,) = rows.execute("SELECT changes FROM gallery").fetchone()
    return int(changes)
