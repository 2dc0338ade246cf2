"""Manifests: which pictures there are, their ids and metadata, out of CSV or JSONL."""

from __future__ import annotations

import codecs
import csv
import json
import os
import re
from typing import TYPE_CHECKING, Any

from descriptors.errors import RequestError
from es_mappings.documents import MOST_ID_BYTES, fits_as_id
from es_mappings.filter_query import NUMBERS, type_at
from es_mappings.leaves import META
from indexer.errors import MalformedRow
from indexer.sources import Skipped, Source, as_on_disk, find_pictures, id_of_long, legible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["read_manifest", "sources_in"]

MANIFEST_SUFFIXES = frozenset([".csv", ".tsv", ".jsonl", ".ndjson"])

# The columns that are ours, and the name for cells beyond the last column.
_TOO_MANY = "\n"
_OWN = ("id", "path", "uri", _TOO_MANY)

# What is left of the 1,000 fields of the index template (`images-template.json`) beside ours.
MAX_META_FIELDS = 987

# A double keeps 15 decimal digits; the sign and the point count here too.
_MAX_DIGITS = 15
_PLAIN_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")

# Python refuses cells over 128 KiB unless told otherwise; this is what each platform's C long holds.
_MAX_CELL = 2**31 - 1


def _no_warning(_sentence: str) -> None:
    """For callers that tell nobody."""


def read_manifest(
    path: Path,
    warn: Callable[[str], None] = _no_warning,
    mapping: Mapping[str, Any] | None = None,
) -> Iterator[Source]:
    """The pictures that a CSV or JSONL manifest names.

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
        Sources; a row that names no picture, or an id for the second time, comes with
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
    warn: Callable[[str], None] = _no_warning,
    *,
    exclude: Sequence[str] = (),
    skipped: Skipped | None = None,
    mapping: Mapping[str, Any] | None = None,
) -> Iterator[Source]:
    """The pictures that paths name: folders and files, and what manifests among them list.

    ``exclude`` and ``skipped`` are those of `find_pictures`, ``mapping`` of `read_manifest`.

    Raises:
        RequestError: for a path that does not exist, or a manifest that cannot be read.
    """
    for path in paths:
        if path.suffix.lower() in MANIFEST_SUFFIXES and not path.is_dir():
            yield from read_manifest(path, warn, mapping)
        else:
            yield from find_pictures([path], exclude, skipped)


def _rows(
    path: Path, warn: Callable[[str], None], mapping: Mapping[str, Any]
) -> Iterator[tuple[int, object]]:
    """The rows of a manifest, each with its line."""
    is_csv = path.suffix.lower() in (".csv", ".tsv")
    try:
        yield from _csv_rows(path, warn, mapping) if is_csv else _jsonl_rows(path)
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


def _csv_rows(
    path: Path, warn: Callable[[str], None], mapping: Mapping[str, Any]
) -> Iterator[tuple[int, object]]:
    """Read the file twice, since only all of its rows tell which columns are numbers."""
    names = _columns(path, warn)
    types = {name: _type_of(name, mapping) for name in names if name and name not in _OWN}
    numeric = {name for name, kind in types.items() if kind is None or kind in NUMBERS}
    for line, cells in _filled_rows(path):
        for name, cell in zip(names, cells, strict=False):
            if name in numeric and cell and not _is_written_back(cell):
                numeric.discard(name)
                if types[name]:
                    warn(
                        f"{legible(str(path))}: the column {name!r} holds {cell[:40]!r} (line {line}), "
                        f"and the gallery maps it as {types[name]}: what is no number is not "
                        'found. Rebuild the gallery with --meta-mapping, where its "type" is '
                        '"keyword".'
                    )
    for line, cells in _filled_rows(path):
        row: dict[str, object] = {
            name: _number(cell) if name in numeric else cell
            for name, cell in zip(names, cells, strict=False)
            if name and cell
        }
        if any(cell.strip() for cell in cells[len(names) :]):
            row[_TOO_MANY] = cells[len(names) :]
        yield line, row


def _type_of(name: str, mapping: Mapping[str, Any]) -> str | None:
    """The type that a column is mapped as; None if it is not mapped yet."""
    named: str | None = mapping.get(name, {}).get("type")
    return named or type_at(f"{META}{name}", {"meta": {"properties": mapping}})


def _columns(path: Path, warn: Callable[[str], None]) -> list[str]:
    """The names of the columns; "" for those that are left out."""
    line, header = next(_all_rows(path), (1, []))
    names = [_column_name(cell) for cell in header]
    if not {"path", "uri"} & set(names):
        raise RequestError(
            f"The manifest {legible(str(path))} has no column 'path' or 'uri': name one in its "
            "first line, and separate columns with commas, semicolons or tabs."
        )
    named = [name for name in names if name]
    for name in named:
        inner = [other for other in named if other.startswith(f"{name}.")]
        if named.count(name) > 1:
            raise RequestError(
                f"Line {line} of {legible(str(path))} has two columns {name!r}: rename or remove "
                "one of them."
            )
        if inner:
            raise RequestError(
                f"Line {line} of {legible(str(path))} has a column {name!r} beside {inner[0]!r}: "
                f"a field cannot hold both a value and further fields. Rename {name!r}, for "
                f"example to '{name}.value'."
            )
    if len(named) < len(names):
        warn(
            f"{legible(str(path))}: {len(names) - len(named)} columns without a name are left out. "
            "Name them in the first line to keep them."
        )
    for cell, name in zip(header, names, strict=True):
        if name and name not in _OWN and name != cell.strip():
            warn(f"{legible(str(path))}: the column {cell!r} is searched as 'meta.{name}'.")
    fields = {name[:end] for name in named if name not in _OWN for end in _ends(name)}
    if len(fields) > MAX_META_FIELDS:
        warn(
            f"{legible(str(path))}: {len(fields)} metadata fields, and Elasticsearch searches "
            f"{MAX_META_FIELDS} of a gallery by default; the others are kept but not found. Remove "
            "columns, or raise index.mapping.total_fields.limit of the index before this run."
        )
    return names


def _ends(name: str) -> list[int]:
    """Where the name of each object around this field ends, and of the field itself."""
    return [*(at for at, letter in enumerate(name) if letter == "."), len(name)]


def _column_name(cell: str) -> str:
    """The name without outer and doubled spaces, and without dots that separate no names.

    ``Inv. No.`` becomes ``Inv No``; our own columns are found in any case.
    """
    name = " ".join(re.sub(r"(?<!\S)\.+|\.+(?!\S)", "", cell).split())
    name = re.sub(r"\.{2,}", ".", name)
    return name.lower() if name.lower() in _OWN else name


def _filled_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows below the header that have a cell with something in it."""
    rows = _all_rows(path)
    next(rows, None)
    yield from rows


def _all_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with its last line; the header is the first."""
    csv.field_size_limit(_MAX_CELL)
    with path.open(encoding=_encoding(path), newline="") as file:
        first = file.readline()
        stated = re.fullmatch(r'"?sep=(.)"?\r?\n?', first, re.IGNORECASE)
        if stated:
            delimiter, before = stated[1], 1
        else:
            while first and not first.strip(" \t,;\r\n"):
                first = file.readline()
            delimiter, before = _delimiter(path, first), 0
            file.seek(0)
        # Strict, since a quote that is never closed would swallow all rows after it.
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        end = before
        try:
            for cells in reader:
                end = before + reader.line_num
                if any("\0" in cell for cell in cells):
                    raise RequestError(
                        f"Line {end} of the manifest {legible(str(path))} has NUL bytes, which "
                        "are no text: save it as UTF-8."
                    )
                if any(cell.strip() for cell in cells):
                    yield end, cells
        except csv.Error as error:
            raise RequestError(
                f"The row at line {end + 1} of the manifest {legible(str(path))} cannot be read "
                f"({error}): put "
                'the cell in quotes and double each quote within it, as in "12"" disc".'
            ) from error


def _delimiter(path: Path, header: str) -> str:
    """The first delimiter by which the header has a column of ours."""
    usual = "\t,;" if path.suffix.lower() == ".tsv" else ",;\t"
    for delimiter in usual:
        if {"path", "uri"} & {_column_name(c.strip('"\r\n')) for c in header.split(delimiter)}:
            return delimiter
    return usual[0]


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        start = file.read(2)
    return "utf-16" if start in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE) else "utf-8-sig"


def _number(text: str) -> int | float:
    return float(text) if "." in text else int(text)


def _is_written_back(text: str) -> bool:
    """Whether a number of 64 bits, as Elasticsearch keeps it, reads as this text again."""
    plain = len(text) <= _MAX_DIGITS and _PLAIN_NUMBER.fullmatch(text)
    return bool(plain) and str(_number(text)) == text


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
        uri = as_on_disk(os.path.abspath(path.parent / uri))
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
