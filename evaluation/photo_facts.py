"""What is known of photo files without decoding them again: size and digest.

A large collection is listed in every run, and opening a hundred thousand files each time
takes minutes: what was read once is kept, and read again only if the file has changed.
"""

from __future__ import annotations

import hashlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from descriptors.arrays import Size
from descriptors.errors import ImageError, RequestError
from descriptors.images import upright_size

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Progress = Callable[[str, int, int], None]

__all__ = ["PhotoFacts"]

_FILE_NAME = "photos.sqlite"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS sizes (file TEXT PRIMARY KEY, stamp TEXT, width INT, height INT)",
    "CREATE TABLE IF NOT EXISTS digests (file TEXT PRIMARY KEY, stamp TEXT, digest TEXT)",
)

# Opening files is waiting; what was read is written down a portion at a time.
_READERS, _PORTION = 8, 1024

# Seconds another evaluation may hold the file of facts.
_BUSY_SECONDS = 60.0

# The size that is kept of a file that is no picture.
_NO_PICTURE = Size(0, 0)


@dataclass(frozen=True)
class _Table:
    """One of the two kinds of fact, as SQL."""

    select: str
    insert: str


_SIZES = _Table(
    "SELECT stamp, width, height FROM sizes WHERE file = ?",
    "INSERT OR REPLACE INTO sizes VALUES (?, ?, ?, ?)",
)
_DIGESTS = _Table(
    "SELECT stamp, digest FROM digests WHERE file = ?",
    "INSERT OR REPLACE INTO digests VALUES (?, ?, ?)",
)


class PhotoFacts:
    """Sizes and digests of photo files, remembered by path, time and length.

    Convention:
        A file counts as unchanged while its length and its time of change are the same.
    """

    def __init__(self, folder: Path | None, progress: Progress | None = None) -> None:
        """Name the place.

        Args:
            folder: where facts are kept between runs, made if needed; None to keep nothing.
            progress: told what is read, how much of it, and of how much.
        """
        self._folder, self._progress = folder, progress

    def sizes(self, files: Sequence[Path]) -> dict[Path, Size | None]:
        """Size of each upright picture, in pixels; None for a file that is no picture.

        Raises:
            RequestError: for a file that is missing or cannot be read.
        """
        rows = self._facts(files, _SIZES, lambda file: tuple(_size(file)), "read sizes")
        found = {file: Size(*row) for file, row in rows.items()}
        return {file: None if size == _NO_PICTURE else size for file, size in found.items()}

    def digests(self, files: Sequence[Path]) -> dict[Path, str]:
        """SHA-256 of each file's bytes, hexadecimal.

        Raises:
            RequestError: for a file that is missing or cannot be read.
        """
        rows = self._facts(files, _DIGESTS, lambda file: (_digest(file),), "read photos")
        return {file: row[0] for file, row in rows.items()}

    def _facts(
        self,
        files: Sequence[Path],
        table: _Table,
        read: Callable[[Path], tuple[Any, ...]],
        what: str,
    ) -> dict[Path, tuple[Any, ...]]:
        """Facts of files: those known, and those read now."""
        with closing(self._open()) as kept, ThreadPoolExecutor(_READERS, "facts") as pool:
            stamps = dict(zip(files, pool.map(_stamp, files), strict=True))
            known = {file: _known(kept, table, file, stamp) for file, stamp in stamps.items()}
            facts = {file: row for file, row in known.items() if row is not None}
            new = [file for file in stamps if file not in facts]
            for portion in _portions(new):
                rows = dict(zip(portion, pool.map(read, portion), strict=True))
                self._keep(kept, table, [(str(f), stamps[f], *row) for f, row in rows.items()])
                facts |= rows
                if self._progress is not None:
                    self._progress(what, len(facts) - len(stamps) + len(new), len(new))
        return {file: facts[file] for file in files}

    def _keep(
        self, kept: sqlite3.Connection, table: _Table, values: Sequence[tuple[Any, ...]]
    ) -> None:
        try:
            with kept:
                kept.executemany(table.insert, values)
        except sqlite3.Error as error:
            raise self._unkept(error) from error

    def _open(self) -> sqlite3.Connection:
        try:
            if self._folder is None:
                place = ":memory:"
            else:
                self._folder.mkdir(parents=True, exist_ok=True)
                place = str(self._folder / _FILE_NAME)
            connection = sqlite3.connect(place, timeout=_BUSY_SECONDS)
            for statement in _SCHEMA:
                connection.execute(statement)
        except (OSError, sqlite3.Error) as error:
            raise self._unkept(error) from error
        return connection

    def _unkept(self, error: Exception) -> RequestError:
        return RequestError(
            f"What is known of photos cannot be kept in {self._folder} ({error}): "
            f"free space there, check its permissions, or remove {_FILE_NAME}."
        )


def _known(
    kept: sqlite3.Connection, table: _Table, file: Path, stamp: str
) -> tuple[Any, ...] | None:
    row = kept.execute(table.select, (str(file),)).fetchone()
    return tuple(row[1:]) if row is not None and row[0] == stamp else None


def _portions(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(files), _PORTION):
        yield files[start : start + _PORTION]


def _stamp(file: Path) -> str:
    try:
        about = file.stat()
    except OSError as error:
        raise _unreadable(file, error) from error
    return f"{about.st_mtime_ns} {about.st_size}"


def _size(file: Path) -> Size:
    try:
        return upright_size(file)
    except ImageError:
        return _NO_PICTURE
    except OSError as error:
        raise _unreadable(file, error) from error


def _digest(file: Path) -> str:
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError) -> RequestError:
    return RequestError(
        f"{file} cannot be read ({type(error).__name__}): "
        "correct its path in the dataset's list, or put the file there."
    )
