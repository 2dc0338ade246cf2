"""The rows of a CSV file that people wrote."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

from descriptors.arrays import Box
from descriptors.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["box_of", "numbers", "read_rows", "read_words"]


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
        # A spreadsheet puts a mark before the first column's name.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            rows = list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} cannot be read ({type(error).__name__}): {remedy}.") from error
    if missing:
        raise RequestError(
            f"{path} lacks the columns {', '.join(missing)}: name them in its first line, "
            "separated by commas."
        )
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


def box_of(corners: Sequence[float], where: str) -> Box:
    """A box that a file gives.

    Args:
        corners: x0, y0, x1, y1 in pixels.
        where: the file and its row, for the error.

    Raises:
        RequestError: for a box without area, or with a coordinate that is no number.
    """
    try:
        return Box(*corners)
    except RequestError as error:
        raise RequestError(f"{where}: {error.reason}") from error


def read_words(path: Path) -> str:
    """The text of a file of the authors.

    Raises:
        RequestError: if it is missing, or is no text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"{path} cannot be read ({type(error).__name__}): unpack its archive again."
        ) from error
