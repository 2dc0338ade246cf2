"""Find the documents of a local gallery that match a filter, as Elasticsearch would.

Metadata is flattened to values under dotted paths, including lists and objects within them; null
is not a value. A name with a dot is the same path as a name within an object.
"""

from __future__ import annotations

import json
import math
import operator
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from itertools import chain
from sqlite3 import Connection
from typing import Any

from galleries.checks import is_unicode
from galleries.documents import ImageClass
from galleries.filters import (
    And,
    Everything,
    Exists,
    Filter,
    Ids,
    Not,
    Or,
    Range,
    Scalar,
    Term,
    Terms,
    path_of,
)

__all__ = ["Columns", "comparable", "leaves", "number_written"]

# Values in the form in which they are compared: booleans as text, integers of at most 64 bits.
Number = int | float
Comparable = str | Number

_INTEGERS = range(-(2**63), 2**63)
_LARGEST = int(sys.float_info.max)
_MAX_COLUMNS = 64  # in memory
# Characters of the longest number in JSON's shortest form.
_LONGEST_NUMBER = 32

_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


class Columns:
    """A cache of the columns that filters have read from one state of a gallery."""

    def __init__(self) -> None:
        self._ids: dict[int, str] | None = None
        self._columns: dict[tuple[Any, ...], dict[Comparable, list[int]]] = {}

    def ids(self, rows: Connection) -> dict[int, str]:
        """The ids of all documents by their row numbers, in order of the ids."""
        if self._ids is None:
            self._ids = dict(rows.execute("SELECT number, id FROM documents ORDER BY id"))
        return self._ids

    def matching(self, rows: Connection, node: Filter) -> AbstractSet[int]:  # noqa: PLR0911 - one a kind of filter
        """The row numbers of the documents that match a filter.

        Raises:
            RequestError: a field that no document can have.
        """
        match node:
            case Everything():
                return self.ids(rows).keys()
            case Ids(ids):
                wanted = frozenset(ids)
                return {number for number, id_ in self.ids(rows).items() if id_ in wanted}
            case Not(part):
                return self.ids(rows).keys() - self.matching(rows, part)
            case And(parts):
                found = [self.matching(rows, part) for part in parts]
                return frozenset(found[0]).intersection(*found) if found else self.ids(rows).keys()
            case Or(parts, least):
                if least <= 0:
                    return self.ids(rows).keys()
                counts = Counter(chain.from_iterable(self.matching(rows, part) for part in parts))
                return {number for number, count in counts.items() if count >= least}
            case _:
                column, holds = self._column(rows, node), _holds(node)
                return set(chain.from_iterable(column[value] for value in column if holds(value)))

    def _column(
        self, rows: Connection, node: Term | Terms | Range | Exists
    ) -> dict[Comparable, list[int]]:
        """Row numbers by the values of a field, at least those that the node may match."""
        path = path_of(node.field)
        query, parameters = "SELECT number, value FROM leaves WHERE path = ?", [path]
        wanted: list[Comparable] = []
        if "." not in path:
            # A plus sign removes the column's affinity, which would convert text to numbers.
            query, parameters = f"SELECT number, +{path} AS value FROM documents", []  # noqa: S608 - a column's name
            if path == "indexed_at":
                query += " WHERE indexed_at <> ''"
        elif isinstance(node, Exists):
            # "/" is the character after ".".
            query += " OR path >= ? AND path < ?"
            parameters += [f"{path}.", f"{path}/"]
        if isinstance(node, Term):
            # Looking up one value is faster than reading a column.
            wanted = [value for value in _spellings([node.value]) if is_unicode(str(value))]
            query = f"SELECT * FROM ({query}) WHERE value IN ({', '.join('?' * len(wanted))})"  # noqa: S608
        key = (query, *parameters, *wanted)
        if key not in self._columns:
            column: dict[Comparable, list[int]] = defaultdict(list)
            for number, value in rows.execute(query, (*parameters, *wanted)):
                column[value].append(number)
            if len(self._columns) >= _MAX_COLUMNS:
                self._columns.clear()
            self._columns[key] = column
        return self._columns[key]


def _holds(node: Term | Terms | Range | Exists) -> Callable[[Comparable], bool]:
    """The predicate for one value."""
    match node:
        case Term(_, value):
            return frozenset(_spellings([value])).__contains__
        case Terms(_, values):
            return frozenset(_spellings(values)).__contains__
        case Range(_, bounds):
            return _within(bounds)
        case _:
            return lambda _: True


def _spellings(values: Iterable[Scalar]) -> Iterator[Comparable]:
    """Each value in all forms in which a document can contain it."""
    for value in map(comparable, values):
        yield value
        other = number_written(value) if isinstance(value, str) else json.dumps(value)
        if other is not None:
            yield other


def _within(bounds: Mapping[str, Scalar]) -> Callable[[Comparable], bool]:
    """Whether a value satisfies all bounds, compared as text or as numbers by its own type."""
    compared = [_COMPARED[key] for key in bounds]
    # A bound without a form of that type is None, which no value satisfies.
    texts = [bound if isinstance(bound, str) else None for bound in bounds.values()]
    numbers = [
        number_written(bound) if isinstance(bound, str) else comparable(bound)
        for bound in bounds.values()
    ]

    def keeps(value: Comparable) -> bool:
        limits = zip(compared, texts if isinstance(value, str) else numbers, strict=True)
        return all(limit is not None and keep(value, limit) for keep, limit in limits)

    return keeps


def leaves(
    classes: Sequence[ImageClass], meta: Mapping[str, Any]
) -> Iterator[tuple[str, Comparable]]:
    """A document's classes and metadata as pairs of path and value."""
    yield from ((path_of("classes"), one.name) for one in classes)
    # Not recursive, since metadata may be nested deeper than Python's limit.
    waiting: list[tuple[str, Any]] = [("meta", meta)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            # Trailing dots of names are ignored.
            waiting.extend((f"{path}.{key}".rstrip("."), below) for key, below in value.items())
        elif isinstance(value, list | tuple):
            waiting.extend((path, below) for below in value)
        elif value is not None:
            yield path, comparable(value)


def comparable(value: Scalar) -> Comparable:
    """Convert a JSON value to the form in which values are compared."""
    if isinstance(value, bool):
        return json.dumps(value)
    return value if isinstance(value, str) else _within_64_bits(value)


def _within_64_bits(number: Number) -> Number:
    """Convert an integer that SQLite cannot store to the nearest float."""
    if isinstance(number, int) and number not in _INTEGERS:
        return float(max(-_LARGEST, min(_LARGEST, number)))
    return number


def number_written(text: str) -> Number | None:
    """The number with this JSON form; None for other text, such as "007", "1e3", "NaN"."""
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
