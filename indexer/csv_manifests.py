"""Read CSV manifests: delimiter, column names, numeric columns, rows."""

from __future__ import annotations

import codecs
import csv
import re
from itertools import accumulate, islice
from typing import TYPE_CHECKING, Any, TextIO

from descriptors.errors import RequestError
from indexer.sources import legible

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

__all__ = ["OWN_COLUMNS", "TOO_MANY", "csv_rows"]

# The columns that are not metadata; TOO_MANY holds cells beyond the last column.
TOO_MANY = "\n"
OWN_COLUMNS = ("id", "path", "uri", TOO_MANY)

# The 1,000 fields of the index template (`images-template.json`) less our own.
MAX_META_FIELDS = 987

# Elasticsearch's types of numbers.
_NUMBERS = frozenset(["long", "integer", "short", "byte", "unsigned_long"])
_NUMBERS |= frozenset(["double", "float", "half_float", "scaled_float"])

# A double keeps 15 decimal digits; sign and point are counted too.
_MAX_DIGITS = 15
_PLAIN_NUMBER = re.compile(r"-?[0-9]+(\.[0-9]+)?")

# The largest limit that a C long holds on every platform; Python's default is 128 KiB.
_MAX_CELL = 2**31 - 1


def csv_rows(
    path: Path, warn: Callable[[str], None], mapping: Mapping[str, Any]
) -> Iterator[tuple[int, object]]:
    """The rows of a CSV with their line numbers; see `read_manifest`.

    The file is read twice: the first pass finds the numeric columns.
    """
    names = _columns(path, warn)
    types = {name: _type_of(name, mapping) for name in names if name and name not in OWN_COLUMNS}
    numeric = {name for name, kind in types.items() if kind is None or kind in _NUMBERS}
    for line, cells in islice(_all_rows(path), 1, None):
        for name, cell in zip(names, cells, strict=False):
            if name in numeric and cell and not _round_trips(cell):
                numeric.discard(name)
                if types[name]:
                    warn(
                        f"{legible(str(path))}: the column {name!r} holds {cell[:40]!r} (line "
                        f"{line}), but the gallery maps it as {types[name]}: values that are not "
                        "numbers are not found. Rebuild the gallery with --meta-mapping, where "
                        'its "type" is "keyword".'
                    )
    for line, cells in islice(_all_rows(path), 1, None):
        row: dict[str, object] = {
            name: _number(cell) if name in numeric else cell
            for name, cell in zip(names, cells, strict=False)
            if name and cell
        }
        if any(cell.strip() for cell in cells[len(names) :]):
            row[TOO_MANY] = cells[len(names) :]
        yield line, row


def _type_of(name: str, mapping: Mapping[str, Any]) -> str | None:
    """The mapped type of a column; None if it is not mapped yet."""
    first, _, rest = name.partition(".")
    kind = mapping.get(name, mapping.get(first, {})).get("type")
    if kind == "flattened":
        return "keyword"
    if name not in mapping and rest:
        return _type_of(rest, mapping.get(first, {}).get("properties", {}))
    return None if kind in (None, "object", "nested") else str(kind)


def _columns(path: Path, warn: Callable[[str], None]) -> list[str]:
    """The names of the columns; "" for those that are ignored."""
    shown = legible(str(path))
    line, header = next(_all_rows(path), (1, []))
    names = [_column_name(cell) for cell in header]
    if not {"path", "uri"} & set(names):
        raise RequestError(
            f"The manifest {shown} has no column 'path' or 'uri': name one in its first line, and "
            "separate columns with commas, semicolons or tabs."
        )
    named = [name for name in names if name]
    _check_names(named, f"Line {line} of {shown}")
    if len(named) < len(names):
        warn(
            f"{shown}: {len(names) - len(named)} columns without a name are ignored. Name them in "
            "the first line to keep them."
        )
    columns = zip(header, names, strict=True)
    own = [(cell, name) for cell, name in columns if name and name not in OWN_COLUMNS]
    for cell, name in own:
        if name != cell.strip():
            warn(f"{shown}: the column {cell!r} is searched as 'meta.{name}'.")
    fields = {field for _, name in own for field in accumulate(name.split("."), "{}.{}".format)}
    if len(fields) > MAX_META_FIELDS:
        warn(
            f"{shown}: {len(fields)} metadata fields, but Elasticsearch indexes "
            f"{MAX_META_FIELDS} by default; the others are stored but not searchable. Remove "
            "columns, or raise index.mapping.total_fields.limit of the index before this run."
        )
    return names


def _check_names(names: Sequence[str], where: str) -> None:
    """Refuse a repeated name, and one that is both a value and an object."""
    for name in names:
        if names.count(name) > 1:
            raise RequestError(f"{where} has two columns {name!r}: rename or remove one of them.")
        if inner := [other for other in names if other.startswith(f"{name}.")]:
            raise RequestError(
                f"{where} has a column {name!r} beside {inner[0]!r}: a field cannot hold both a "
                f"value and further fields. Rename {name!r}, for example to '{name}.value'."
            )


def _column_name(cell: str) -> str:
    """A field name: spaces normalized, dots removed unless they separate names.

    ``Inv. No.`` becomes ``Inv No``; names of our own columns are lower-cased.
    """
    name = " ".join(re.sub(r"(?<!\S)\.+|\.+(?!\S)", "", cell).split())
    name = re.sub(r"\.{2,}", ".", name)
    return name.lower() if name.lower() in OWN_COLUMNS else name


def _all_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """The header and the rows that are not blank, with the number of their last line."""
    csv.field_size_limit(_MAX_CELL)
    with path.open(encoding=_encoding(path), newline="") as file:
        delimiter, before = _skip_to_header(path, file)
        # Strict: otherwise an unclosed quote swallows all following rows.
        reader = csv.reader(file, delimiter=delimiter, strict=True)
        end = before
        try:
            for cells in reader:
                end = before + reader.line_num
                if any("\0" in cell for cell in cells):
                    raise RequestError(
                        f"Line {end} of the manifest {legible(str(path))} has NUL bytes: save it "
                        "as UTF-8."
                    )
                if any(cell.strip() for cell in cells):
                    yield end, cells
        except csv.Error as error:
            raise RequestError(
                f"The row at line {end + 1} of the manifest {legible(str(path))} cannot be read "
                f"({error}): put the cell in quotes and double each quote within it, as in "
                '"12"" disc".'
            ) from error


def _skip_to_header(path: Path, file: TextIO) -> tuple[str, int]:
    """The delimiter, and the number of lines read: 1 if the first one states the delimiter."""
    first = file.readline()
    if stated := re.fullmatch(r'"?sep=(.)"?\r?\n?', first, re.IGNORECASE):
        return stated[1], 1
    while first and not first.strip(" \t,;\r\n"):
        first = file.readline()
    file.seek(0)
    return _delimiter(path, first), 0


def _delimiter(path: Path, header: str) -> str:
    """The first delimiter with which the header has a column `path` or `uri`."""
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


def _round_trips(text: str) -> bool:
    """Whether the text survives a round trip through a 64-bit number."""
    plain = len(text) <= _MAX_DIGITS and _PLAIN_NUMBER.fullmatch(text)
    return bool(plain) and str(_number(text)) == text
