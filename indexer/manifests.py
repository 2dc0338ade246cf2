"""Read manifests: images with ids and metadata, in CSV or JSONL."""

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
    """The images in a CSV or JSONL manifest.

    Each row has ``path`` or ``uri``, and optionally ``id`` (default: the path); all other
    columns become metadata. Relative paths are relative to the manifest's folder.

    Convention:
        A CSV column is numeric if every cell survives a round trip through a number (``12``,
        ``-3.5``; not ``007`` or ``1904.10``) and the column is not mapped as another type.
        Empty cells and blank rows are ignored. Columns are separated by commas, semicolons or
        tabs, or as a ``sep=`` line says.

    Args:
        path: the manifest.
        warn: called with a sentence for each column that is not searchable as written.
        mapping: the gallery's fields below ``meta``, as Elasticsearch ``properties``.

    Returns:
        Sources; an invalid row, or a repeated id, has a `problem` and becomes a reject.

    Raises:
        RequestError: before the first row, if the manifest is missing, not CSV (UTF-8, UTF-16)
            or JSONL (UTF-8), or its columns are missing, repeated or in conflict.
    """
    seen: set[str] = set()
    for line, row in _rows(path, warn, mapping or {}):
        source = _of_row(row, path, line)
        if source.problem is None and source.id in seen:
            source = _malformed(path, line, f"its id {source.id!r} is already in an earlier row")
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
    """The images in folders, files and manifests; see `find_images` and `read_manifest`."""
    for path in paths:
        if path.suffix.lower() in MANIFEST_SUFFIXES and not path.is_dir():
            yield from read_manifest(path, warn, mapping)
        else:
            yield from find_images([path], exclude, skipped)


def _rows(
    path: Path, warn: Callable[[str], None], mapping: Mapping[str, Any]
) -> Iterator[tuple[int, object]]:
    """The rows of a manifest with their line numbers."""
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
            "JSONL in UTF-8, with the matching suffix."
        ) from error


def _jsonl_rows(path: Path) -> Iterator[tuple[int, object]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                yield number, _of_json(line)


def _of_json(line: str) -> object:
    """The parsed line; None if it is not JSON that a gallery can store."""
    try:
        row: object = json.loads(line)
        check_json("", {"row": row})  # Python accepts NaN, lone surrogates and any depth
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
    """Why the row is invalid; "" if it is valid."""
    if not isinstance(row, dict):
        return "it is not a JSON object of Unicode text and finite numbers"
    if TOO_MANY in row:
        return "it has more cells than the first line"
    named, where = row.get("id"), row.get("uri") or row.get("path")
    if named is not None and not (_is_name(named) and fits_as_id(str(named))):
        return f"its id must have 1 to {MAX_ID_BYTES} bytes of UTF-8"
    if not where or not _is_name(where):
        return "it has no 'path' or 'uri'"
    return ""


def _is_name(value: object) -> bool:
    """Whether the value is text or a number."""
    return isinstance(value, str | int | float) and not isinstance(value, bool)


def _malformed(path: Path, line: int, why: str) -> Source:
    absolute = f"{os.path.abspath(path)}:{line}"
    problem = MalformedRow(
        f"Line {line} of {legible(str(path))} is not a valid image, since {why}: fix that line."
    )
    return Source(id_of_address(absolute), legible(f"{path.name}:{line}"), problem=problem)
