"""What a filter sees of a document: single values under dotted paths, as Elasticsearch has them.

Lists are laid out value by value, and the objects in them too; null is no value
at all. A key with a dot in it and a key below a key are the same path.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from descriptors.errors import RequestError
from es_mappings.documents import PictureClass
from es_mappings.filters import Scalar

__all__ = ["CLASS_NAME", "META", "Comparable", "check_field", "check_text"]
__all__ += ["comparable", "leaves", "number_written", "path_of"]

CLASS_NAME = "classes.name"
META = "meta."

_CLASS_FIELDS = ("classes", CLASS_NAME)
_FIELDS = ("id", "_id", "uri", "digest", "width", "height", "indexed_at", "revision")

# A value as it is compared: a boolean as text, an integer of at most 64 bits.
Number = int | float
Comparable = str | Number

_INTEGERS = range(-(2**63), 2**63)
_LARGEST = int(sys.float_info.max)
# No number that JSON writes shortest has more characters, and none of ours needs more.
_LONGEST_NUMBER = 32


def check_field(name: str) -> None:
    """Refuse a field that no document can have.

    Raises:
        RequestError: with the fields there are.
    """
    known = (*_FIELDS, *_CLASS_FIELDS)
    if name not in known and (not name.startswith(META) or name == META):
        raise RequestError(
            f"There is no field {name!r} to filter by: use one of {', '.join(known)}, "
            "or meta.<name>."
        )


def check_text(text: str) -> str:
    """The text itself, refusing half characters, which JSON lets through and which are no text.

    Raises:
        RequestError: with the text.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RequestError(
            f"The filter holds {text!r}, which is not Unicode text: remove the lone surrogate."
        ) from error
    return text


def path_of(name: str) -> str:
    """The path under which the values of a field stand, which may be asked for by a short name."""
    if name in _CLASS_FIELDS:
        return CLASS_NAME
    return "id" if name == "_id" else name


def leaves(
    classes: Sequence[PictureClass], meta: Mapping[str, Any]
) -> Iterator[tuple[str, Comparable]]:
    """Lay out a document's classes and metadata as pairs of path and value."""
    yield from ((CLASS_NAME, one.name) for one in classes)
    # A stack of our own, since metadata may be nested deeper than Python calls itself.
    waiting: list[tuple[str, Any]] = [("meta", meta)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            waiting.extend((_below(path, key), below) for key, below in value.items())
        elif isinstance(value, list | tuple):
            waiting.extend((path, below) for below in value)
        elif value is not None:
            yield path, comparable(value)


def _below(path: str, name: str) -> str:
    """The path of a field within an object; dots at the end of its name say nothing."""
    return f"{path}.{name}".rstrip(".")


def comparable(value: Scalar) -> Comparable:
    """Bring a JSON value into the form in which values are compared."""
    if isinstance(value, bool):
        return json.dumps(value)
    return value if isinstance(value, str) else _within_64_bits(value)


def _within_64_bits(number: Number) -> Number:
    """Turn an integer that SQLite cannot hold into the nearest fraction that it can."""
    if isinstance(number, int) and number not in _INTEGERS:
        return float(max(-_LARGEST, min(_LARGEST, number)))
    return number


def number_written(text: str) -> Number | None:
    """Read the number that JSON writes as this text; None for other text: "007", "1e3", "NaN"."""
    if len(text) > _LONGEST_NUMBER or text[:1] not in "-0123456789":
        return None
    for kind in (int, float):
        try:
            number = kind(text)
        except ValueError:
            continue
        if math.isfinite(number) and json.dumps(number) == text:
            return _within_64_bits(number)
    return None
