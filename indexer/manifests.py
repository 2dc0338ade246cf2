"""Manifests: which pictures there are, their ids and metadata, out of CSV or JSONL."""

from __future__ import annotations

import csv
import json
import os
from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from es_mappings.documents import MOST_ID_BYTES, fits_as_id
from indexer.errors import MalformedRow
from indexer.sources import Skipped, Source, find_pictures, id_of_long, legible

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["read_manifest", "sources_in"]

MANIFEST_SUFFIXES = frozenset([".csv", ".tsv", ".jsonl", ".ndjson"])

# The columns that are ours, and the name for cells beyond the last column.
_TOO_MANY = "\n"
_OWN = ("id", "path", "uri", _TOO_MANY)


def read_manifest(path: Path) -> Iterator[Source]:
    """The pictures that a CSV or JSONL manifest names.

    Each row has ``path`` (or ``uri``), perhaps ``id`` (else the path is the id); all
    further columns become metadata. Relative paths count from the manifest's folder.

    Convention:
        CSV knows only text: a cell that reads exactly like a number becomes one
        (``12``, ``-3.5``; not ``007``), an empty cell becomes nothing.

    Returns:
        Sources; a row that names no picture, or an id for the second time, comes with
        its `problem`, so that it ends as a reject and is not lost.

    Raises:
        RequestError: if the manifest is missing, is no CSV or JSONL in UTF-8, or has no column
            for the path.
    """
    seen: set[str] = set()
    for line, row in _rows(path):
        source = _of_row(row, path, line)
        if source.problem is None and source.id in seen:
            source = _malformed(path, line, f"its id {source.id!r} stands in an earlier row too")
        seen.add(source.id)
        yield source


def sources_in(
    paths: Sequence[Path], *, exclude: Sequence[str] = (), skipped: Skipped | None = None
) -> Iterator[Source]:
    """The pictures that paths name: folders and files, and what manifests among them list.

    ``exclude`` and ``skipped`` are those of `find_pictures`.

    Raises:
        RequestError: for a path that does not exist, or a manifest that cannot be read.
    """
    for path in paths:
        if path.suffix.lower() in MANIFEST_SUFFIXES and not path.is_dir():
            yield from read_manifest(path)
        else:
            yield from find_pictures([path], exclude, skipped)


def _rows(path: Path) -> Iterator[tuple[int, object]]:
    """The rows of a manifest, each with its line."""
    is_csv = path.suffix.lower() in (".csv", ".tsv")
    try:
        yield from _csv_rows(path) if is_csv else _jsonl_rows(path)
    except FileNotFoundError as error:
        raise RequestError(f"There is no manifest {legible(str(path))}: check its path.") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise RequestError(
            f"The manifest {legible(str(path))} cannot be read ({error}): save it as CSV, TSV or "
            "JSONL in UTF-8, its name ending accordingly."
        ) from error


def _csv_rows(path: Path) -> Iterator[tuple[int, object]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", newline="") as file:
        # Strict, since a quote that is never closed would swallow all rows after it.
        reader = csv.DictReader(file, delimiter=delimiter, restkey=_TOO_MANY, strict=True)
        if not {"path", "uri"} & set(reader.fieldnames or ()):
            raise RequestError(
                f"The manifest {path} has no column 'path' or 'uri': name one in its first line."
            )
        for row in reader:
            filled = {k: v for k, v in row.items() if v not in ("", None)}
            yield (
                reader.line_num,
                {k: v if k in _OWN else _number_or_text(v) for k, v in filled.items()},
            )


def _number_or_text(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            number: int | float = kind(text)
        except ValueError:
            continue
        if str(number) == text and text not in ("inf", "-inf", "nan"):
            return number
    return text


def _jsonl_rows(path: Path) -> Iterator[tuple[int, object]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _of_json(line)


def _of_json(line: str) -> object:
    """What the line says; None where a gallery could not hold it."""
    try:
        row: object = json.loads(line)
        # Python reads NaN, half characters and any depth; nobody else does.
        json.dumps(row, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError):
        return None
    return row


def _of_row(row: object, path: Path, line: int) -> Source:
    wrong = _what_is_wrong(row)
    if wrong or not isinstance(row, dict):
        return _malformed(path, line, wrong)
    uri = str(row.get("uri") or row["path"])
    if "://" not in uri and not uri.lower().startswith("file:/"):
        uri = os.path.abspath(path.parent / uri)
    if not _is_utf8(uri):
        return _malformed(path, line, "the manifest's folder has a name that is not UTF-8")
    name = uri if row.get("id") is None else str(row["id"])
    meta = {str(k): v for k, v in row.items() if k not in _OWN}
    return Source(name if fits_as_id(name) else id_of_long(name), uri, meta)


def _what_is_wrong(row: object) -> str:
    """Why this row names no picture; "" if it does."""
    if not isinstance(row, dict):
        return "it is no JSON object of Unicode text and finite numbers"
    if _TOO_MANY in row:
        return "it has more cells than the first line"
    named, where = row.get("id"), row.get("uri") or row.get("path")
    if named is not None and not (_is_name(named) and fits_as_id(str(named))):
        return f"its id must have 1 to {MOST_ID_BYTES} bytes of UTF-8"
    if not where or not _is_name(where):
        return "it has no 'path' or 'uri'"
    return ""


def _is_name(value: object) -> bool:
    """Text, or a number that stands for text."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _malformed(path: Path, line: int, why: str) -> Source:
    absolute = f"{os.path.abspath(path)}:{line}"
    problem = MalformedRow(
        f"Line {line} of {legible(str(path))} names no picture, since {why}: mend that line."
    )
    name = absolute if fits_as_id(absolute) else id_of_long(absolute)
    return Source(name, legible(f"{path.name}:{line}"), problem=problem)
