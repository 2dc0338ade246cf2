"""The rows of a CSV file that people wrote."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from descriptors.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["numbers", "read_rows"]


def read_rows(path: Path, columns: tuple[str, ...], remedy: str) -> list[dict[str, str]]:
    """The rows of a CSV file that has at least these columns.

    Args:
        path: of the file.
        columns: that each row must have.
        remedy: what to do if it cannot be read.

    Raises:
        RequestError: if it cannot be read, lacks a column, or has a row that is cut short.
    """
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            rows = list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} cannot be read ({type(error).__name__}): {remedy}.") from error
    if missing:
        raise RequestError(f"{path} lacks the columns {', '.join(missing)}: add them.")
    for line, row in enumerate(rows, start=2):
        if any(row[name] is None for name in columns):
            raise RequestError(f"Row {line} of {path} is cut short: give all of its columns.")
    return rows


def numbers(row: Mapping[str, str], names: tuple[str, ...], file: str) -> list[float]:
    """Some columns of a row as numbers.

    Raises:
        RequestError: if one is none.
    """
    try:
        return [float(row[name]) for name in names]
    except ValueError as error:
        raise RequestError(
            f"{file} has a {' or '.join(names)} of {row['path']} that is no number: correct it."
        ) from error
