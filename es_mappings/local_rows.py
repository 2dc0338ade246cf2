"""Documents and rejects as rows of a local gallery's tables. Every function runs in a transaction."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from sqlite3 import Connection
from typing import Any, cast

import numpy as np

from es_mappings.documents import (
    Document,
    Known,
    PictureClass,
    Reject,
    check_meta,
    check_reject,
)
from es_mappings.errors import MalformedDocument
from es_mappings.filter_sql import Sql
from es_mappings.leaves import leaves

__all__ = [
    "count_change",
    "find_documents",
    "find_known",
    "find_reject_tags",
    "page_of_documents",
    "remove",
    "write_document",
    "write_meta",
    "write_reject",
]

_DOCUMENT = (
    "SELECT id, uri, digest, width, height, classes, meta, source_tag, revision, indexed_at, "
    "descriptor FROM documents JOIN vectors USING (number)"
)


def write_document(rows: Connection, document: Document) -> None:
    """Write a document, checked already, unless a later revision of it is there.

    Raises:
        MalformedDocument: it cannot be held.
    """
    with _holdable(document.id):
        query = "SELECT revision FROM documents WHERE id = ?"
        there = rows.execute(query, (document.id,)).fetchone()
        if there is not None and there[0] > document.revision:
            return
        remove(rows, document.id)
        number = _insert(rows, document)
        vector = np.asarray(document.descriptor, dtype="<f4").tobytes()
        rows.execute("INSERT INTO vectors VALUES (?, ?)", (number, vector))
        _write_leaves(rows, number, document.classes, document.meta)


def _insert(rows: Connection, document: Document) -> int:
    """Insert a document's own row and return its number."""
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
    places = ", ".join("?" * len(values))
    # The first column is the number, which SQLite chooses.
    cursor = rows.execute(f"INSERT INTO documents VALUES (NULL, {places})", values)  # noqa: S608
    return cast("int", cursor.lastrowid)  # None only before the first insertion


def write_meta(rows: Connection, id_: str, meta: Mapping[str, Any], revision: int) -> None:
    """Replace the metadata of a document if it is there.

    Raises:
        MalformedDocument: the metadata cannot be held.
    """
    query = "SELECT number, classes FROM documents WHERE id = ?"
    with _holdable(id_):
        check_meta(id_, meta)
        text = _json(meta)
        for number, classes in _each(rows, query, [id_]).values():
            update = "UPDATE documents SET meta = ?, revision = max(revision, ?) WHERE number = ?"
            rows.execute(update, (text, revision, number))
            rows.execute("DELETE FROM leaves WHERE number = ?", (number,))
            _write_leaves(rows, number, _classes(classes), meta)


def write_reject(rows: Connection, reject: Reject) -> None:
    """Write a reject in place of the one with its id; a document with that id stays.

    Raises:
        MalformedDocument: it cannot be held.
    """
    with _holdable(reject.id):
        check_reject(reject)
        rows.execute("DELETE FROM rejects WHERE id = ?", (reject.id,))
        texts = (reject.id, reject.uri, reject.kind, reject.reason, reject.source_tag)
        values = (*texts, reject.rejected_at, _json(reject.meta))
        rows.execute("INSERT INTO rejects VALUES (?, ?, ?, ?, ?, ?, ?)", values)


def remove(rows: Connection, id_: str) -> bool:
    """Remove the document or reject with this id; says whether there was one."""
    if not _is_text(id_):
        return False
    documents = rows.execute("DELETE FROM documents WHERE id = ?", (id_,)).rowcount
    rejects = rows.execute("DELETE FROM rejects WHERE id = ?", (id_,)).rowcount
    return documents + rejects > 0


def count_change(rows: Connection) -> None:
    """Let every process know that descriptors have changed."""
    rows.execute("UPDATE gallery SET changes = changes + 1")


def find_documents(rows: Connection, ids: Sequence[str]) -> dict[str, Document]:
    """Read the documents with these ids."""
    found = _each(rows, f"{_DOCUMENT} WHERE id = ?", ids)
    return {id_: _document(row) for id_, row in found.items()}


def page_of_documents(
    rows: Connection, matching: Sql, after: str | None, most: int
) -> list[Document]:
    """Read documents that match, in order of their ids, from the first after an id."""
    start, at = ("id > ?", (after,)) if after is not None else ("1", ())
    query = f"{_DOCUMENT} WHERE {start} AND {matching.text} ORDER BY id LIMIT ?"
    return [_document(row) for row in rows.execute(query, (*at, *matching.parameters, most))]


def find_known(rows: Connection, ids: Sequence[str]) -> dict[str, Known]:
    """Read what is known of the documents with these ids."""
    query = "SELECT digest, source_tag, meta, revision FROM documents WHERE id = ?"
    found = _each(rows, query, ids)
    return {id_: Known(row[0], row[1], json.loads(row[2]), row[3]) for id_, row in found.items()}


def find_reject_tags(rows: Connection, ids: Sequence[str]) -> dict[str, str]:
    """Read the source tags of the rejects with these ids."""
    found = _each(rows, "SELECT source_tag FROM rejects WHERE id = ?", ids)
    return {id_: row[0] for id_, row in found.items()}


def _each(rows: Connection, query: str, ids: Sequence[str]) -> dict[str, Any]:
    """Ask for one id after another, which no limit on parameters bounds; unknown ones left out."""
    asked = ((id_, rows.execute(query, (id_,)).fetchone()) for id_ in ids if _is_text(id_))
    return {id_: row for id_, row in asked if row is not None}


def _is_text(id_: str) -> bool:
    """Whether anything can have this id: half characters, as in odd file names, are no text."""
    return not any("\ud800" <= character <= "\udfff" for character in id_)


def _document(row: tuple[Any, ...]) -> Document:
    """Read one row of the query for documents."""
    id_, uri, digest, width, height, classes, meta, source_tag, revision, indexed_at, vector = row
    return Document(
        id=id_,
        uri=uri,
        digest=digest,
        width=width,
        height=height,
        # A copy, since what SQLite hands out may not be written to and torch warns of that.
        descriptor=np.frombuffer(vector, dtype="<f4").astype(np.float32),
        classes=_classes(classes),
        meta=json.loads(meta),
        source_tag=source_tag,
        revision=revision,
        indexed_at=indexed_at,
    )


def _classes(text: str) -> tuple[PictureClass, ...]:
    """Read a document's classes."""
    return tuple(PictureClass(name, score) for name, score in json.loads(text))


def _write_leaves(
    rows: Connection, number: int, classes: Sequence[PictureClass], meta: Mapping[str, Any]
) -> None:
    """Write what filters can ask for; a value that a list repeats is one leaf."""
    rows.executemany(
        "INSERT OR IGNORE INTO leaves VALUES (?, ?, ?)",
        ((number, path, value) for path, value in leaves(classes, meta)),
    )


def _json(value: object) -> str:
    """Write compact JSON."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))


@contextmanager
def _holdable(id_: str) -> Iterator[None]:
    """Refuse values that Python can hold and a gallery cannot."""
    try:
        yield
    except UnicodeEncodeError as error:
        why = f"it holds text that is not Unicode ({error.reason}): rename the file or the field"
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        why = f"it holds a value that JSON or a 64-bit integer cannot ({error}): change that value"
    else:
        return
    raise MalformedDocument(f"Document {id_!r}: {why}.")
