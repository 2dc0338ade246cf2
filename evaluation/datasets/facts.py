"""Sizes and digests of image files, read once.

A large collection is listed in every run, and opening a hundred thousand files takes minutes;
what was read is stored, and read again only if the file has changed.
"""

from __future__ import annotations

import hashlib
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from descriptors.arrays import Size
from descriptors.errors import ImageError, RequestError
from descriptors.images import upright_size

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from evaluation.trials import Progress

__all__ = ["ImageFacts", "digest_of", "stamp_of"]

_FILE_NAME = "photos.sqlite"
_SCHEMA = (
    "CREATE TABLE IF NOT EXISTS facts "
    "(file TEXT, kind TEXT, stamp TEXT, fact TEXT, PRIMARY KEY (file, kind))"
)
_SELECT = "SELECT fact FROM facts WHERE file = ? AND kind = ? AND stamp = ?"
_INSERT = "INSERT OR REPLACE INTO facts VALUES (?, ?, ?, ?)"

# Threads that open files, and facts per transaction.
_READERS, PORTION = 8, 1024

# Seconds to wait for another evaluation that writes facts.
BUSY_SECONDS = 60.0


class ImageFacts:
    """Sizes and digests of image files, stored by path, modification time and length."""

    def __init__(self, folder: Path | None, progress: Progress | None = None) -> None:
        """Args: `folder` to store facts between runs, made if needed; None to store nothing."""
        self._folder, self._progress = folder, progress

    def sizes(self, files: Sequence[Path]) -> dict[Path, Size | None]:
        """Size of each upright image, in pixels; None for a file that is not an image.

        Raises:
            RequestError: for a file that is missing or cannot be read.
        """
        facts = self._facts(files, "sizes", _size)
        return {f: Size(*map(int, fact.split())) if fact else None for f, fact in facts.items()}

    def digests(self, files: Sequence[Path]) -> dict[Path, str]:
        """SHA-256 of each file's bytes, hexadecimal.

        Raises:
            RequestError: for a file that is missing or cannot be read.
        """
        return self._facts(files, "photos", digest_of)

    def _facts(
        self, files: Sequence[Path], kind: str, read: Callable[[Path], str]
    ) -> dict[Path, str]:
        """Facts of files, from the store or read now."""
        try:
            with closing(self._open()) as kept, ThreadPoolExecutor(_READERS, "facts") as pool:
                stamps = dict(zip(files, pool.map(stamp_of, files), strict=True))
                known = {
                    file: kept.execute(_SELECT, (str(file), kind, stamp)).fetchone()
                    for file, stamp in stamps.items()
                }
                facts: dict[Path, str] = {file: row[0] for file, row in known.items() if row}
                new = [file for file in stamps if file not in facts]
                for start in range(0, len(new), PORTION):
                    portion = new[start : start + PORTION]
                    found = dict(zip(portion, pool.map(read, portion), strict=True))
                    rows = [(str(f), kind, stamps[f], fact) for f, fact in found.items()]
                    with kept:
                        kept.executemany(_INSERT, rows)
                    facts |= found
                    if self._progress is not None:
                        self._progress(f"read {kind}", start + len(portion), len(new))
        except sqlite3.Error as error:
            raise RequestError(
                f"Facts about images cannot be kept in {self._folder} ({error}): "
                f"free space there, check its permissions, or remove {_FILE_NAME}."
            ) from error
        return {file: facts[file] for file in files}

    def _open(self) -> sqlite3.Connection:
        place = ":memory:"
        if self._folder is not None:
            place = str(self._folder / _FILE_NAME)
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise sqlite3.OperationalError(str(error)) from error
        connection = sqlite3.connect(place, timeout=BUSY_SECONDS)
        connection.execute(_SCHEMA)
        return connection


def stamp_of(file: Path) -> str:
    """The modification time and length of a file.

    Raises:
        RequestError: if it is missing.
    """
    try:
        about = file.stat()
    except OSError as error:
        raise _unreadable(file, error) from error
    return f"{about.st_mtime_ns} {about.st_size}"


def digest_of(file: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal.

    Raises:
        RequestError: if it is missing or cannot be read.
    """
    try:
        return hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise _unreadable(file, error) from error


def _size(file: Path) -> str:
    """Width and height; "" for a file that is not an image."""
    try:
        return " ".join(map(str, upright_size(file)))
    except ImageError:
        return ""
    except OSError as error:
        raise _unreadable(file, error) from error


def _unreadable(file: Path, error: OSError) -> RequestError:
    return RequestError(
        f"{file} cannot be read ({type(error).__name__}): "
        "correct its path in the dataset's list, or put the file there."
    )
