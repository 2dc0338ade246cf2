"""A filter as an SQL condition on the local gallery's tables.

Values and paths are always parameters, never part of the SQL. Every condition
is 0 or 1 and never NULL, so that NOT of "the field is missing" is true, as it
is in Elasticsearch.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from descriptors.errors import RequestError
from es_mappings.filters import (
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
)
from es_mappings.leaves import (
    Comparable,
    check_field,
    check_text,
    comparable,
    number_written,
    path_of,
)

__all__ = ["Sql", "where"]

# Table `documents`; the time of writing is "" where it is not known, which is no value.
_COLUMNS = {
    "id": "documents.id",
    "_id": "documents.id",
    "uri": "documents.uri",
    "digest": "documents.digest",
    "width": "documents.width",
    "height": "documents.height",
    "indexed_at": "NULLIF(documents.indexed_at, '')",
    "revision": "documents.revision",
}

# SQLite's parser keeps 100 symbols, an expression may have 1,000 levels and a statement 32,766
# parameters. A condition within these bounds stays below, with the statement around it.
_MOST_NESTING = 60
_MOST_CLAUSES = 512
_MOST_PARAMETERS = 30_000

_OPERATORS = {"gt": ">", "gte": ">=", "lt": "<", "lte": "<="}


class Sql(NamedTuple):
    """A condition as one operand, its parameters in order, and how deep the parser must go for it."""

    text: str
    parameters: tuple[Comparable | None, ...] = ()
    nesting: int = 0


_ALWAYS = Sql("1")
_NEVER = Sql("0")


def where(matching: Filter | None) -> Sql:
    """Write a filter as a condition on a row of `documents`; None matches all.

    Raises:
        RequestError: a field that the gallery does not have, or a filter too large for SQLite.
    """
    sql = _condition(matching or Everything())
    if sql.nesting > _MOST_NESTING:
        raise RequestError("The filter is nested too deep for a local gallery: flatten it.")
    if len(sql.parameters) > _MOST_PARAMETERS:
        raise RequestError(
            f"The filter has {len(sql.parameters)} bounds and fractions, more than "
            f"{_MOST_PARAMETERS}: use fewer ranges, and ranges instead of lists of fractions."
        )
    for value in sql.parameters:
        check_text(str(value))
    return sql


def _condition(node: Filter) -> Sql:
    """Write one node of the tree."""
    match node:
        case Everything():
            return _ALWAYS
        case Ids(ids):
            return _among("documents.id", ids)
        case Not(part):
            inner = _condition(part)
            return Sql(f"(NOT {inner.text})", inner.parameters, inner.nesting + 2)
        case And(parts):
            return _joined(parts, " AND ") if parts else _ALWAYS
        case Or(parts, least):
            return _at_least(parts, least)
        case _:
            return _on_field(node)


def _at_least(parts: Sequence[Filter], least: int) -> Sql:
    """Write that so many of the parts hold."""
    if least <= 0:
        return _ALWAYS
    if least > len(parts):
        return _NEVER
    if least == 1:
        return _joined(parts, " OR ")
    total = _joined(parts, " + ")
    return Sql(f"({total.text} >= ?)", (*total.parameters, least), total.nesting + 1)


def _joined(parts: Sequence[Filter], operator: str) -> Sql:
    """Write one or more conditions one after another."""
    if len(parts) > _MOST_CLAUSES:
        raise RequestError(
            f"The filter joins {len(parts)} queries, more than {_MOST_CLAUSES}: "
            "use one `terms` with many values."
        )
    # The deepest first: what stands before it would wait in the parser until it has been read.
    conditions = sorted(map(_condition, parts), key=lambda sql: -sql.nesting)
    return Sql(
        f"({operator.join(sql.text for sql in conditions)})",
        tuple(value for sql in conditions for value in sql.parameters),
        max(sql.nesting + (3 if place else 1) for place, sql in enumerate(conditions)),
    )


def _on_field(node: Term | Terms | Range | Exists) -> Sql:
    """Write a condition on the values of one field."""
    if node.field in _COLUMNS:
        # A plus sign takes the column's own type away, which would turn text into numbers.
        sql = _on_value(node, f"+{_COLUMNS[node.field]}")
        return Sql(f"({sql.text} IS TRUE)", sql.parameters)
    check_field(node.field)
    path = path_of(node.field)
    leaf = _exists_below(path) if isinstance(node, Exists) else _on_leaf(node, path)
    return Sql(
        f"EXISTS (SELECT 1 FROM leaves WHERE leaves.number = documents.number AND {leaf.text})",  # noqa: S608 - only SQL of this module
        leaf.parameters,
    )


def _exists_below(path: str) -> Sql:
    """Write that a leaf stands at a path or below it, for an object exists with any of its fields."""
    # "/" is the character after ".".
    return Sql(
        "(leaves.path = ? OR leaves.path >= ? AND leaves.path < ?)", (path, f"{path}.", f"{path}/")
    )


def _on_leaf(node: Term | Terms | Range, path: str) -> Sql:
    """Write a condition on the leaves at a path."""
    sql = _on_value(node, "leaves.value")
    return Sql(f"leaves.path = ? AND {sql.text}", (path, *sql.parameters))


def _on_value(node: Term | Terms | Range | Exists, value: str) -> Sql:
    """Write a condition on one value, itself given as SQL."""
    match node:
        case Term(_, asked):
            return _among(value, _spellings([asked]))
        case Terms(_, many):
            return _among(value, _spellings(many))
        case Range(_, bounds):
            return _within(value, bounds)
        case _:
            return Sql(f"({value} IS NOT NULL)")


def _spellings(values: Iterable[Scalar]) -> list[Comparable]:
    """Write each value in all the forms in which a document may hold it."""
    found: list[Comparable] = []
    for value in map(comparable, values):
        other = number_written(value) if isinstance(value, str) else json.dumps(value)
        found += [value] if other is None else [value, other]
    return found


def _among(value: str, asked: Sequence[Comparable]) -> Sql:
    """Write that a value is one of many, however many there are."""
    # One JSON parameter holds any number of values. SQLite's JSON reader may round fractions and
    # cuts text at NUL: such values are given one by one.
    apart = [one for one in asked if isinstance(one, float) or "\0" in str(one)]
    listed = [one for one in asked if not isinstance(one, float) and "\0" not in str(one)]
    text = f"{value} IN (SELECT value FROM json_each(?))"  # noqa: S608 - a column's name
    if apart:
        text += f" OR {value} IN ({', '.join('?' * len(apart))})"
    return Sql(f"({text})", (json.dumps(listed), *apart))


def _within(value: str, bounds: Mapping[str, Scalar]) -> Sql:
    """Write that a value keeps all bounds: as text where it is text, as number where a number."""
    tests = "".join(f" AND {value} {_OPERATORS[key]} ?" for key in bounds)
    # A bound that cannot be read as text, or as a number, is NULL: no value of that kind keeps it.
    texts = [bound if isinstance(bound, str) else None for bound in bounds.values()]
    numbers = [
        number_written(bound) if isinstance(bound, str) else comparable(bound)
        for bound in bounds.values()
    ]
    return Sql(
        f"(typeof({value}) = 'text'{tests} OR typeof({value}) IN ('integer', 'real'){tests})",
        (*texts, *numbers),
    )
