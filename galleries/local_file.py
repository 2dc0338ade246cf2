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

__all__ = ["WINDOWS", "GalleryFile"]

FILE_NAME = "gallery.sqlite"

# Stored in the header of the SQLite file: application id and version of the tables.
_APPLICATION = int.from_bytes(b"CAMS", "big")
_FORMAT = 2

# SQLite's default page has space for only one descriptor of 512 dimensions; this one for seven.
_PAGE_BYTES = 16384

# Descriptors have their own table, so that filters do not read them. A leaf is a value that
# filters can find; see `galleries.local_filters`. `changes` counts changes of descriptors.
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

# 8-bit levels and four 32-bit numbers of each window. A file made before there were windows has no
# such table until a document with windows is written to it; it keeps its format.
WINDOWS = """
CREATE TABLE IF NOT EXISTS windows (
    number INTEGER PRIMARY KEY REFERENCES documents ON DELETE CASCADE,
    vectors BLOB NOT NULL, boxes BLOB NOT NULL)
"""


class GalleryFile:
    """An open gallery file: one connection, used by one thread at a time.

    Attributes:
        folder: of the file.
        dims, fingerprint, settings: of the gallery.
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
        """Open the file, and create its tables if it has none."""
        row = (dims, fingerprint, json.dumps(settings), 0)
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ContractError(
                f"The gallery's folder {folder} cannot be created ({error.strerror}): "
                "choose another folder, or check its permissions."
            ) from error
        with _connected(folder, "rwc", busy_seconds) as connection:
            with _transaction(connection, "BEGIN IMMEDIATE", folder):
                if _is_empty(connection):
                    _write_tables(connection, row)
            return cls._checked(folder, connection)

    @classmethod
    def open(cls, folder: Path, *, busy_seconds: float) -> GalleryFile:
        """Open an existing file."""
        try:
            there = (folder / FILE_NAME).is_file()
        except OSError as error:
            raise ContractError(
                f"The gallery's folder {folder} cannot be read ({error.strerror}): "
                "check its name and permissions."
            ) from error
        if not there:
            raise _not_found(folder)
        with _connected(folder, "rw", busy_seconds) as connection:
            return cls._checked(folder, connection)

    @classmethod
    def _checked(cls, folder: Path, connection: sqlite3.Connection) -> GalleryFile:
        """Open the file unless it has no tables, or another format."""
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
        """A read transaction."""
        with self._lock, _transaction(self._connection, "BEGIN", self.folder):
            yield self._connection

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """A write transaction."""
        with self._lock, _transaction(self._connection, "BEGIN IMMEDIATE", self.folder):
            yield self._connection

    @contextmanager
    def changing(self) -> Iterator[sqlite3.Connection]:
        """A write transaction that tells other processes that descriptors have changed."""
        with self.writing() as rows:
            yield rows
            rows.execute("UPDATE gallery SET changes = changes + 1")

    @staticmethod
    def state(rows: sqlite3.Connection) -> tuple[int, int]:
        """Two numbers that change with writes of other connections and of this one."""
        rows.execute("SELECT 1 FROM gallery").fetchone()  # starts the transaction's snapshot
        return rows.execute("PRAGMA data_version").fetchone()[0], rows.total_changes

    def damaged(self, why: str) -> GalleryDamaged:
        """An error that says why the file cannot be used."""
        return _damaged(self.folder, why)

    def close(self) -> None:
        """Close the connection; can be repeated."""
        with self._lock:
            self._connection.close()


@contextmanager
def _connected(folder: Path, mode: str, busy_seconds: float) -> Iterator[sqlite3.Connection]:
    """Connect to a folder's file; closed if the body fails, otherwise left open."""
    address = f"{(folder.absolute() / FILE_NAME).as_uri()}?mode={mode}"
    with _translated(folder):
        connection = sqlite3.connect(
            address,
            uri=True,
            timeout=busy_seconds,
            isolation_level=None,  # this module begins and ends transactions
            check_same_thread=False,  # threads use the lock
        )
    try:
        with _translated(folder):
            _prepare(connection, folder, busy_seconds)
        yield connection
    except BaseException:
        connection.close()
        raise


def _prepare(connection: sqlite3.Connection, folder: Path, busy_seconds: float) -> None:
    """Configure the connection; refuses a database of another application."""
    # Read before the id, because tables and id are written in one transaction.
    has_tables = not _is_empty(connection)
    if has_tables and connection.execute("PRAGMA application_id").fetchone() != (_APPLICATION,):
        raise _damaged(folder, "it is a database of another application")
    connection.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    # With these two, readers do not wait for a writer, and a commit is durable.
    _write_ahead(connection, busy_seconds)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA foreign_keys = ON")


def _write_ahead(connection: sqlite3.Connection, busy_seconds: float) -> None:
    """Switch a new file to a write-ahead log, for which SQLite's own timeout does not apply."""
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
    # Not `executescript`, which would end the transaction.
    for statement in (*_TABLES.split(";\n"), WINDOWS):
        connection.execute(statement)
    connection.execute("INSERT INTO gallery VALUES (?, ?, ?, ?)", gallery)
    connection.execute(f"PRAGMA application_id = {_APPLICATION}")
    connection.execute(f"PRAGMA user_version = {_FORMAT}")


def _is_empty(connection: sqlite3.Connection) -> bool:
    """Whether there are no tables: the file is new, or its creation was interrupted."""
    return connection.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone() is None


@contextmanager
def _transaction(connection: sqlite3.Connection, begin: str, folder: Path) -> Iterator[None]:
    """A transaction that is rolled back if the body fails."""
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
    """Translate SQLite's errors that a user can fix."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        # The lower byte is the primary code.
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
            raise GalleryBusy(
                f"Another process is writing to the gallery {folder} and has not finished in "
                "time: try again later."
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
                f"The gallery {folder} cannot be used ({error}): check the free space on its disk "
                "and its permissions."
            ) from error
        raise


def _damaged(folder: Path, why: str) -> GalleryDamaged:
    return GalleryDamaged(
        f"The gallery file {folder / FILE_NAME} cannot be read: {why}. "
        "Put back a copy of it, or delete it and index again."
    )


def _not_found(folder: Path) -> GalleryNotFound:
    return GalleryNotFound(
        f"There is no gallery in {folder}: create one with `camsearch index PATH --gallery "
        f"{folder}`."
    )
