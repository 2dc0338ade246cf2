"""Documents and rejects as rows of a local gallery's tables.

Every function runs in a transaction of the caller. Those that write raise MalformedDocument.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from sqlite3 import Connection
from typing import Any

import numpy as np

from galleries.checks import check_meta, check_reject, is_unicode
from galleries.documents import Document, ImageClass, Known, Reject, Windows
from galleries.errors import MalformedDocument
from galleries.local_file import WINDOWS
from galleries.local_filters import leaves

__all__ = ["all_windows", "find_documents", "find_known", "find_reject_tags", "find_rejects"]
__all__ += ["find_windows", "remove", "write_document", "write_meta", "write_reject"]

_WITHOUT_WINDOWS = "JOIN (SELECT NULL AS vectors, NULL AS boxes)"
_WINDOWS = "SELECT number, id, vectors FROM documents CROSS JOIN windows USING (number)"


def write_document(rows: Connection, document: Document) -> None:
    """Write a checked document, unless a later revision exists."""
    with _holdable(document.id):
        query = "SELECT revision FROM documents WHERE id = ?"
        there = rows.execute(query, (document.id,)).fetchone()
        if there is not None and there[0] > document.revision:
            return
        rows.execute("DELETE FROM documents WHERE id = ?", (document.id,))
        values = (
            document.id,
            document.uri,
            document.digest,
            document.width,
            document.height,
            _json([(one.name, one.score) for one in document.classes]),
            _json(document.meta),
            document.source_tag,
            document.revision,
            document.indexed_at,
        )
        # The first column is the row number, chosen by SQLite.
        query = "INSERT INTO documents VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING number"
        (number,) = rows.execute(query, values).fetchone()
        vector = np.asarray(document.descriptor, dtype="<f4").tobytes()
        rows.execute("INSERT INTO vectors VALUES (?, ?)", (number, vector))
        if document.windows is not None:
            _write_windows(rows, number, document.windows)
        _write_leaves(rows, number, document.classes, document.meta)


def write_meta(rows: Connection, id_: str, meta: Mapping[str, Any], revision: int) -> None:
    """Replace the metadata of a document, if it exists."""
    query = "SELECT number, classes FROM documents WHERE id = ?"
    with _holdable(id_):
        check_meta(id_, meta)
        for number, classes in _each(rows, query, [id_]).values():
            update = "UPDATE documents SET meta = ?, revision = max(revision, ?) WHERE number = ?"
            rows.execute(update, (_json(meta), revision, number))
            rows.execute("DELETE FROM leaves WHERE number = ?", (number,))
            _write_leaves(rows, number, _classes(classes), meta)


def write_reject(rows: Connection, reject: Reject) -> None:
    """Write or replace a reject; a document with its id is kept."""
    with _holdable(reject.id):
        check_reject(reject)
        texts = (reject.id, reject.uri, reject.kind, reject.reason, reject.source_tag)
        values = (*texts, reject.rejected_at, _json(reject.meta))
        rows.execute("INSERT OR REPLACE INTO rejects VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def remove(rows: Connection, table: str, ids: Sequence[str]) -> list[str]:
    """Delete rows by id; return the ids that existed."""
    query = f"DELETE FROM {table} WHERE id = ?"  # noqa: S608 - a table's name
    return [id_ for id_ in ids if is_unicode(id_) and rows.execute(query, (id_,)).rowcount]


def find_documents(
    rows: Connection, ids: Sequence[str], *, windows: bool = True
) -> dict[str, Document]:
    """Read the documents with these ids."""
    columns = "id, uri, digest, width, height, descriptor, classes, meta, source_tag, revision"
    joined = _with_windows(rows) if windows else _WITHOUT_WINDOWS
    tables = f"documents JOIN vectors USING (number) {joined}"
    query = f"SELECT {columns}, indexed_at, vectors, boxes FROM {tables} WHERE id = ?"  # noqa: S608
    return {id_: _document(*row) for id_, row in _each(rows, query, ids).items()}


def _with_windows(rows: Connection) -> str:
    """The join that gives a document its windows; a file from before there were any has none."""
    query = "SELECT 1 FROM sqlite_master WHERE name = 'windows'"
    if rows.execute(query).fetchone() is None:
        return _WITHOUT_WINDOWS
    return "LEFT JOIN windows USING (number)"


def all_windows(rows: Connection) -> Iterator[tuple[int, str, bytes]]:
    """Row number, id, and 8-bit levels of the windows of every image, in order of the ids."""
    # A cross join, so that SQLite reads the ids in order and does not sort the vectors.
    yield from rows.execute(f"{_WINDOWS} ORDER BY id")


def find_windows(rows: Connection, ids: Iterable[str]) -> Iterator[tuple[int, str, bytes]]:
    """As `all_windows`, of the images with these ids."""
    for id_ in sorted(set(ids)):
        if is_unicode(id_):
            yield from rows.execute(f"{_WINDOWS} WHERE id = ?", (id_,))


def find_known(rows: Connection, ids: Sequence[str]) -> dict[str, Known]:
    """Read what is known of the documents with these ids."""
    query = "SELECT digest, source_tag, meta, revision FROM documents WHERE id = ?"
    found = _each(rows, query, ids)
    return {id_: Known(row[0], row[1], json.loads(row[2]), row[3]) for id_, row in found.items()}


def find_reject_tags(rows: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Read the source tags of the rejects with these ids."""
    found = _each(rows, "SELECT source_tag FROM rejects WHERE id = ?", ids)
    return {id_: row[0] for id_, row in found.items()}


def find_rejects(rows: Connection) -> list[Reject]:
    """Read all rejects in order of their ids."""
    found = rows.execute("SELECT * FROM rejects ORDER BY id")
    return [
        Reject(id_, uri, kind, reason, tag, at, json.loads(meta))
        for id_, uri, kind, reason, tag, at, meta in found
    ]


def _each(rows: Connection, query: str, ids: Sequence[str]) -> dict[str, Any]:
    """The row of each known id, queried one by one because SQLite limits parameters."""
    asked = ((id_, rows.execute(query, (id_,)).fetchone()) for id_ in ids if is_unicode(id_))
    return {id_: row for id_, row in asked if row is not None}


def _document(*row: Any) -> Document:
    id_, uri, digest, width, height, vector, classes, meta, tag, revision, at, levels, boxes = row
    # A copy, since torch warns of read-only memory.
    descriptor = np.frombuffer(vector, dtype="<f4").astype(np.float32)
    best, fields = _classes(classes), json.loads(meta)
    windows = None if levels is None else _windows(levels, boxes)
    return Document(
        id_, uri, digest, width, height, descriptor, best, fields, tag, revision, at, windows
    )


def _windows(levels: bytes, boxes: bytes) -> Windows:
    pixels = np.frombuffer(boxes, dtype="<i4").astype(np.int32).reshape(-1, 4)
    vectors = np.frombuffer(levels, dtype=np.int8).reshape(len(pixels), -1).copy()
    return Windows(vectors, pixels)


def _write_windows(rows: Connection, number: int, windows: Windows) -> None:
    levels = np.asarray(windows.vectors, dtype=np.int8).tobytes()
    boxes = np.asarray(windows.boxes, dtype="<i4").tobytes()
    rows.execute(WINDOWS)
    rows.execute("INSERT INTO windows VALUES (?, ?, ?)", (number, levels, boxes))


def _classes(text: str) -> tuple[ImageClass, ...]:
    return tuple(ImageClass(name, score) for name, score in json.loads(text))


def _write_leaves(
    rows: Connection, number: int, classes: Sequence[ImageClass], meta: Mapping[str, Any]
) -> None:
    """Write the values that filters can find; repeated values of a list are one leaf."""
    rows.executemany(
        "INSERT OR IGNORE INTO leaves VALUES (?, ?, ?)",
        ((number, path, value) for path, value in leaves(classes, meta)),
    )


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@contextmanager
def _holdable(id_: str) -> Iterator[None]:
    """Raise MalformedDocument for values that JSON or SQLite cannot store."""
    try:
        yield
    except UnicodeEncodeError as error:
        why = f"it has text that is not Unicode ({error.reason}): rename the file or the field"
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        why = f"it has a value outside JSON or 64-bit integers ({error}): change that value"
    else:
        return
    raise MalformedDocument(f"Document {id_!r}: {why}.")
