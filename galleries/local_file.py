"""The SQLite file of a local gallery: its tables, how it is opened, and its transactions."""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from galleries.errors import ContractError, GalleryBusy, GalleryDamaged, GalleryNotFound

__all__ = ["GalleryFile"]

FILE_NAME = "gallery.sqlite"

# SQLite keeps these two numbers in the file's header: whose file it is, and how its tables look.
_APPLICATION = int.from_bytes(b"CAMS", "big")
_FORMAT = 2

# A descriptor of 512 dimensions fills half of SQLite's usual page, so that a page would hold
# but one; a page of this size holds seven.
_PAGE_BYTES = 16384

# Descriptors lie apart, so that a filter reads through no vectors. A leaf is one value that a
# filter can ask for; see `galleries.local_filters`. `changes` counts what has happened to descriptors.
_TABLES = """
CREATE TABLE gallery (
    dims INTEGER NOT NULL, fingerprint TEXT NOT NULL, settings TEXT NOT NULL,
    changes INTEGER NOT NULL);
CREATE TABLE documents (
    number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, uri TEXT NOT NULL, digest TEXT NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, classes TEXT NOT NULL, meta TEXT NOT NULL,
    source_tag TEXT NOT NULL, revision INTEGER NOT NULL, indexed_at TEXT NOT NULL);
CREATE TABLE vectors (
    number INTEGER PRIMARY KEY REFERENCES documents ON DELETE CASCADE, descriptor BLOB NOT NULL);
CREATE TABLE leaves (
    number INTEGER NOT NULL REFERENCES documents ON DELETE CASCADE,
    path TEXT NOT NULL, value NOT NULL,
    PRIMARY KEY (number, path, value)) WITHOUT ROWID;
CREATE TABLE rejects (
    id TEXT PRIMARY KEY, uri TEXT NOT NULL, kind TEXT NOT NULL, reason TEXT NOT NULL,
    source_tag TEXT NOT NULL, rejected_at TEXT NOT NULL, meta TEXT NOT NULL) WITHOUT ROWID;
"""


class GalleryFile:
    """An open gallery file: one connection, used by one thread at a time.

    Attributes:
        folder: where the file lies.
        dims, fingerprint, settings: what the gallery was created with.
    """

    def __init__(self, folder: Path, connection: sqlite3.Connection) -> None:
        self.folder = folder
        self._connection = connection
        self._lock = threading.RLock()
        with self.reading() as rows:
            found = rows.execute("SELECT dims, fingerprint, settings FROM gallery").fetchone()
        if found is None:
            raise self.damaged("it does not say which method made it")
        self.dims: int = found[0]
        self.fingerprint: str = found[1]
        self.settings: Mapping[str, Any] = json.loads(found[2])

    @classmethod
    def create(
        cls,
        folder: Path,
        *,
        dims: int,
        fingerprint: str,
        settings: Mapping[str, Any],
        busy_seconds: float,
    ) -> GalleryFile:
        """Open the file, after writing its tables if it has none."""
        row = (dims, fingerprint, json.dumps(settings), 0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ContractError(
                f"The gallery's folder {folder} cannot be made ({error.strerror}): "
                "choose another folder, or the rights to write there."
            ) from error
        with _connected(folder, "rwc", busy_seconds) as connection:
            with _transaction(connection, "BEGIN IMMEDIATE", folder):
                if _is_empty(connection):
                    _write_tables(connection, row)
            return cls._checked(folder, connection)

    @classmethod
    def open(cls, folder: Path, *, busy_seconds: float) -> GalleryFile:
        """Open the file if it is there and ours."""
        try:
            there = (folder / FILE_NAME).is_file()
        except OSError as error:
            raise ContractError(
                f"The gallery's folder {folder} cannot be read ({error.strerror}): "
                "look for a slip in its name, and for the rights to read it."
            ) from error
        if not there:
            raise _not_found(folder)
        with _connected(folder, "rw", busy_seconds) as connection:
            return cls._checked(folder, connection)

    @classmethod
    def _checked(cls, folder: Path, connection: sqlite3.Connection) -> GalleryFile:
        """Refuse a file without tables, and a gallery of another format."""
        with _transaction(connection, "BEGIN", folder):
            empty = _is_empty(connection)
            (written,) = connection.execute("PRAGMA user_version").fetchone()
        if empty:
            raise _not_found(folder)
        if written != _FORMAT:
            raise GalleryDamaged(
                f"The gallery {folder} has format {written}, this camsearch reads {_FORMAT}: "
                "use the camsearch that wrote it, or index into another folder."
            )
        return cls(folder, connection)

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """Give a connection that sees one state of the file, however many questions are asked."""
        with self._lock, _transaction(self._connection, "BEGIN", self.folder):
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """Give a connection whose writes all happen at the end, or none of them does."""
        with self._lock, _transaction(self._connection, "BEGIN IMMEDIATE", self.folder):
            yield self._connection

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """As `writing`, and let every process know that descriptors have changed."""
        with self.writing() as rows:
            yield rows
            rows.execute("UPDATE gallery SET changes = changes + 1")

    @staticmethod
    def state(rows: sqlite3.Connection) -> tuple[int, int]:
        """Two numbers that change with whatever is written: by others, and by this connection."""
        rows.execute("SELECT 1 FROM gallery").fetchone()  # the transaction's snapshot begins here
        return rows.execute("PRAGMA data_version").fetchone()[0], rows.total_changes

    def damaged(self, why: str) -> GalleryDamaged:
        """An error that says why the file cannot be used."""
        return _damaged(self.folder, why)

    def close(self) -> None:
        """Close the connection; a second time does nothing."""
        with self._lock:
            self._connection.close()


@contextmanager
def _connected(folder: Path, mode: str, busy_seconds: float) -> Iterator[sqlite3.Connection]:
    """Connect to a folder's file; the connection is closed where what is inside fails."""
    address = f"{(folder.absolute() / FILE_NAME).as_uri()}?mode={mode}"
    with _translated(folder):
        connection = sqlite3.connect(
            address,
            uri=True,
            timeout=busy_seconds,
            isolation_level=None,  # transactions begin and end where this module says so
            check_same_thread=False,  # the lock keeps threads apart
        )
    try:
        with _translated(folder):
            _prepare(connection, folder, busy_seconds)
        yield connection
    except BaseException:
        connection.close()
        raise


def _prepare(connection: sqlite3.Connection, folder: Path, busy_seconds: float) -> None:
    """Say how the file is to be written, unless it is someone else's database: leave that alone."""
    # Whether it is empty is asked first: tables and id are written in one transaction.
    has_tables = not _is_empty(connection)
    if has_tables and connection.execute("PRAGMA application_id").fetchone() != (_APPLICATION,):
        raise _damaged(folder, "it is a database, but none of ours")
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    # Readers do not wait for a writer, and a commit is on the disk before it returns.
    _write_ahead(connection, busy_seconds)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _write_ahead(connection: sqlite3.Connection, busy_seconds: float) -> None:
    """Change a new file to a write-ahead log; SQLite itself does not wait for others who do."""
    until = time.monotonic() + busy_seconds
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() >= until:
                raise
            time.sleep(0.01)
        else:
            return


def _write_tables(connection: sqlite3.Connection, gallery: tuple[int, str, str, int]) -> None:
    """Write the tables, within the transaction that has begun."""
    # Not `executescript`, which would end the transaction first.
    for statement in _TABLES.split(";\n"):
        connection.execute(statement)
    connection.execute("INSERT INTO gallery VALUES (?, ?, ?, ?)", gallery)
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute(f"PRAGMA user_version = {_FORMAT}")


def _is_empty(connection: sqlite3.Connection) -> bool:
    """Whether there are no tables: a new file, or one whose creation was interrupted."""
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str, folder: Path) -> Iterator[None]:
    """Run what is inside as one transaction, undone if it fails."""
    with _translated(folder):
        connection.execute(begin)
        try:
            yield
            connection.execute("COMMIT")
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")


@contextmanager
def _translated(folder: Path) -> Iterator[None]:
    """Raise SQLite's errors as ours, where a user can do something about them."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        # The lower byte is the kind of error; the others say more about it.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise GalleryBusy(
                f"Another process is writing to the gallery {folder} and has not finished in "
                "time: try again when it has."
            ) from error
        if code in {sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT}:
            raise _damaged(folder, str(error)) from error
        if code in {
            sqlite3.SQLITE_FULL,
            sqlite3.SQLITE_IOERR,
            sqlite3.SQLITE_READONLY,
            sqlite3.SQLITE_CANTOPEN,
            sqlite3.SQLITE_PERM,
        }:
            raise ContractError(
                f"The gallery {folder} cannot be used ({error}): look for free space on its disk "
                "and for the rights to write there."
            ) from error
        raise


def _damaged(folder: Path, why: str) -> GalleryDamaged:
    """Say that the file cannot be used."""
    return GalleryDamaged(
        f"The gallery file {folder / FILE_NAME} cannot be read: {why}. "
        "Put back a copy of it, or delete it and index again."
    )


def _not_found(folder: Path) -> GalleryNotFound:
    """Say that there is no gallery."""
    return GalleryNotFound(
        f"There is no gallery in {folder}: make one with `camsearch index PATH --gallery {folder}`."
    )
