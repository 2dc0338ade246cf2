"""Manifests: which images there are, their ids and metadata, out of CSV or JSONL."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from descriptors.errors import RequestError
from galleries.checks import MAX_ID_BYTES, check_json, fits_as_id, is_unicode
from galleries.errors import MalformedDocument
from indexer.addresses import as_on_disk
from indexer.csv_manifests import OWN_COLUMNS, TOO_MANY, csv_rows
from indexer.errors import MalformedRow
from indexer.sources import Skipped, Source, find_images, id_of_address, legible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["read_manifest", "sources_in"]

MANIFEST_SUFFIXES = frozenset([".csv", ".tsv", ".jsonl", ".ndjson"])


def read_manifest(
    path: Path,
    warn: Callable[[str], None] = lambda _: None,
    mapping: Mapping[str, Any] | None = None,
) -> Iterator[Source]:
    """The images that a CSV or JSONL manifest names.

    Each row has ``path`` (or ``uri``), perhaps ``id`` (else the path is the id); all
    further columns become metadata. Relative paths count from the manifest's folder.

    Convention:
        CSV knows only text: a column becomes numbers if each of its cells is written as the
        number would be written back (``12``, ``-3.5``; not ``007`` or ``1904.10``), whatever the
        order of rows, and if the mapping of the column, where there is one, is of a number.
        An empty cell becomes nothing, a blank row is passed over.
        Columns are separated by commas, semicolons or tabs, or by what ``sep=`` says.

    Args:
        path: the manifest.
        warn: called with a sentence for each column that is not searched as it is written.
        mapping: of the gallery's fields below ``meta``, as ``properties`` of Elasticsearch.

    Returns:
        Sources; a row that names no image, or an id for the second time, comes with
        its `problem`, so that it ends as a reject and is not lost.

    Raises:
        RequestError: if the manifest is missing, is no CSV (UTF-8, UTF-16) or JSONL (UTF-8), has no
            column for the path, two columns of one name, a column that is both a value and an
            object of others, or a quote in the wrong place; before the first row is given.
    """
    seen: set[str] = set()
    for line, row in _rows(path, warn, mapping or {}):
        source = _of_row(row, path, line)
        if source.problem is None and source.id in seen:
            source = _malformed(path, line, f"its id {source.id!r} stands in an earlier row too")
        seen.add(source.id)
        yield source


def sources_in(
    paths: Sequence[Path],
    warn: Callable[[str], None] = lambda _: None,
    *,
    exclude: Sequence[str] = (),
    skipped: Skipped | None = None,
    mapping: Mapping[str, Any] | None = None,
) -> Iterator[Source]:
    """The images that paths name: folders and files, and what manifests among them list.

    ``exclude`` and ``skipped`` are those of `find_images`, ``mapping`` of `read_manifest`.

    Raises:
        RequestError: for a path that does not exist, or a manifest that cannot be read.
    """
    for path in paths:
        if path.suffix.lower() in MANIFEST_SUFFIXES and not path.is_dir():
            yield from read_manifest(path, warn, mapping)
        else:
            yield from find_images([path], exclude, skipped)


def _rows(
    path: Path, warn: Callable[[str], None], mapping: Mapping[str, Any]
) -> Iterator[tuple[int, object]]:
    """The rows of a manifest, each with its line."""
    is_csv = path.suffix.lower() in (".csv", ".tsv")
    try:
        yield from csv_rows(path, warn, mapping) if is_csv else _jsonl_rows(path)
    except FileNotFoundError as error:
        raise RequestError(f"There is no manifest {legible(str(path))}: check its path.") from error
    except UnicodeError as error:
        raise RequestError(
            f"The manifest {legible(str(path))} cannot be read as UTF-8 ({error}): save it as "
            "UTF-8, which Excel calls 'CSV UTF-8'."
        ) from error
    except OSError as error:
        raise RequestError(
            f"The manifest {legible(str(path))} cannot be read ({error}): save it as CSV, TSV or "
            "JSONL in UTF-8, its name ending accordingly."
        ) from error


def _jsonl_rows(path: Path) -> Iterator[tuple[int, object]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _of_json(line)


def _of_json(line: str) -> object:
    """What the line says; None where a gallery could not hold it."""
    try:
        row: object = json.loads(line)
        check_json("", {"row": row})  # Python reads NaN, half characters and any depth
    except (ValueError, RecursionError, MalformedDocument):
        return None
    return row


def _of_row(row: object, path: Path, line: int) -> Source:
    wrong = _what_is_wrong(row)
    if wrong or not isinstance(row, dict):
        return _malformed(path, line, wrong)
    uri = str(row.get("uri") or row["path"])
    if "://" not in uri and not uri.lower().startswith("file:/"):
        uri = as_on_disk(os.path.abspath(path.parent / uri))
    if not is_unicode(uri):
        return _malformed(path, line, "the manifest's folder has a name that is not UTF-8")
    name = uri if row.get("id") is None else str(row["id"])
    meta = {str(k): v for k, v in row.items() if k not in OWN_COLUMNS}
    return Source(id_of_address(name), uri, meta)


def _what_is_wrong(row: object) -> str:
    """Why this row names no image; "" if it does."""
    if not isinstance(row, dict):
        return "it is no JSON object of Unicode text and finite numbers"
    if TOO_MANY in row:
        return "it has more cells than the first line"
    named, where = row.get("id"), row.get("uri") or row.get("path")
    if named is not None and not (_is_name(named) and fits_as_id(str(named))):
        return f"its id must have 1 to {MAX_ID_BYTES} bytes of UTF-8"
    if not where or not _is_name(where):
        return "it has no 'path' or 'uri'"
    return ""


def _is_name(value: object) -> bool:
    """Text, or a number that stands for text."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _malformed(path: Path, line: int, why: str) -> Source:
    absolute = f"{os.path.abspath(path)}:{line}"
    problem = MalformedRow(
        f"Line {line} of {legible(str(path))} names no image, since {why}: mend that line."
    )
    return Source(id_of_address(absolute), legible(f"{path.name}:{line}"), problem=problem)
