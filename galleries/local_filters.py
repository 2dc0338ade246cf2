"""Which documents of a local gallery match a filter, as Elasticsearch would find them.

A filter sees single values under dotted paths: lists are laid out value by value, and the objects
in them too; null is no value at all. A key with a dot in it and a key below a key are the same path.
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

# A value as it is compared: a boolean as text, an integer of at most 64 bits.
Number = int | float
Comparable = str | Number

_INTEGERS = range(-(2**63), 2**63)
_LARGEST = int(sys.float_info.max)
_MAX_COLUMNS = 64  # that are kept in memory
# No number that JSON writes shortest has more characters, and none of ours needs more.
_LONGEST_NUMBER = 32

_COMPARED: Mapping[str, Callable[[Any, Any], bool]] = {
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
}


class Columns:
    """What filters have asked of one state of a gallery."""

    def __init__(self) -> None:
        self._ids: dict[int, str] | None = None
        self._columns: dict[tuple[Any, ...], dict[Comparable, list[int]]] = {}

    def ids(self, rows: Connection) -> dict[int, str]:
        """The ids of all documents by their numbers, in order of the ids."""
        if self._ids is None:
            self._ids = dict(rows.execute("SELECT number, id FROM documents ORDER BY id"))
        return self._ids

    def matching(self, rows: Connection, node: Filter) -> AbstractSet[int]:  # noqa: PLR0911 - one a kind of filter
        """The numbers of the documents that match a filter.

        Args:
            rows: in the state that these columns are of.
            node: the filter.

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
        """The documents' numbers by the values of a field, as far as the node asks for them."""
        path = path_of(node.field)
        query, parameters = "SELECT number, value FROM leaves WHERE path = ?", [path]
        wanted: list[Comparable] = []
        if "." not in path:
            # A plus sign takes the column's own type away, which would turn text into numbers.
            query, parameters = f"SELECT number, +{path} AS value FROM documents", []  # noqa: S608 - a column's name
            if path == "indexed_at":
                query += " WHERE indexed_at <> ''"
        elif isinstance(node, Exists):
            # "/" is the character after ".".
            query += " OR path >= ? AND path < ?"
            parameters += [f"{path}.", f"{path}/"]
        if isinstance(node, Term):
            # SQLite finds one value sooner than a whole column is read.
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
    """The test of one value."""
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
    """Each value in all the forms in which a document may hold it."""
    for value in map(comparable, values):
        yield value
        other = number_written(value) if isinstance(value, str) else json.dumps(value)
        if other is not None:
            yield other


def _within(bounds: Mapping[str, Scalar]) -> Callable[[Comparable], bool]:
    """Whether a value keeps all bounds: as text where it is text, as number where a number."""
    compared = [_COMPARED[key] for key in bounds]
    # A bound that cannot be read as text, or as a number, is None: no value of that kind keeps it.
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
    """Lay out a document's classes and metadata as pairs of path and value."""
    yield from ((path_of("classes"), one.name) for one in classes)
    # A stack of our own, since metadata may be nested deeper than Python calls itself.
    waiting: list[tuple[str, Any]] = [("meta", meta)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            # Dots at the end of a name say nothing.
            waiting.extend((f"{path}.{key}".rstrip("."), below) for key, below in value.items())
        elif isinstance(value, list | tuple):
            waiting.extend((path, below) for below in value)
        elif value is not None:
            yield path, comparable(value)


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
