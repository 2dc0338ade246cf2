"""Parse filters in Elasticsearch's query syntax into a typed tree."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from descriptors.errors import RequestError
from galleries.checks import is_unicode
from galleries.errors import UnsupportedFilter

__all__ = ["META", "And", "Everything", "Exists", "Filter", "Ids", "Not", "Or", "Range", "Scalar"]
__all__ += ["Term", "Terms", "parse_filter", "path_of"]

Scalar = str | int | float | bool

META = "meta."
_CLASS_NAME = "classes.name"
_OWN = ("id", "_id", "uri", "digest", "width", "height", "indexed_at", "revision")
_FIELDS = (*_OWN, "classes", _CLASS_NAME)

# Protects the recursive functions on the tree.
MAX_DEPTH = 32

# Keys that Elasticsearch allows in any query and that do not affect filters.
_WITHOUT_EFFECT = frozenset({"boost", "_name"})
_BOUNDS = ("gt", "gte", "lt", "lte")
_BOOL_KEYS = ("must", "filter", "should", "must_not", "minimum_should_match")


@dataclass(frozen=True)
class Term:
    """The field has this value, or is a list that contains it.

    Convention:
        Numbers compare as numbers: 1 equals 1.0. A text equals a number or boolean if it is
        its JSON form: "1999" and 1999, "true" and true.
    """

    field: str
    value: Scalar


@dataclass(frozen=True)
class Terms:
    """The field has one of these values, or is a list that contains one; see `Term`."""

    field: str
    values: tuple[Scalar, ...]


@dataclass(frozen=True)
class Range:
    """The field has a value within these bounds; numbers as numbers, text (dates) as text.

    Convention:
        One value of a list must satisfy all bounds. The bound "1999" is compared as text with
        text and as 1999 with numbers; a bound that is a number never matches text. Dates are
        compared as text, without time zones or date arithmetic.
    """

    field: str
    bounds: Mapping[str, Scalar]  # gt, gte, lt, lte


@dataclass(frozen=True)
class Exists:
    """The field has a value that is neither null nor an empty list."""

    field: str


@dataclass(frozen=True)
class Ids:
    """The document has one of these ids."""

    ids: tuple[str, ...]


@dataclass(frozen=True)
class Everything:
    """Every document."""


@dataclass(frozen=True)
class And:
    """All parts match."""

    parts: tuple[Filter, ...]


@dataclass(frozen=True)
class Or:
    """At least `least` parts match."""

    parts: tuple[Filter, ...]
    least: int = 1


@dataclass(frozen=True)
class Not:
    """The part does not match."""

    part: Filter


Filter = Term | Terms | Range | Exists | Ids | Everything | And | Or | Not


def path_of(field: str) -> str:
    """The full path of a field, which may be given by a short name.

    Raises:
        RequestError: no document can have this field.
    """
    is_meta = field.startswith(META) and field != META and is_unicode(field)
    if field not in _FIELDS and not is_meta:
        raise RequestError(
            f"There is no field {field!r} to filter by: use one of {', '.join(_FIELDS)}, "
            "or meta.<name>."
        )
    return {"_id": "id", "classes": _CLASS_NAME}.get(field, field)


def parse_filter(body: object) -> Filter:
    """Parse a filter.

    Args:
        body: decoded JSON: a query, or a list of queries that must all match.

    Raises:
        UnsupportedFilter: an unknown query or key.
        RequestError: another mistake; both errors say where it is and what was expected.
    """
    return _all(_queries(body, "filter", 0))


def _queries(body: object, where: str, depth: int) -> tuple[Filter, ...]:
    """Parse one query, or a list of them."""
    if isinstance(body, list):
        return tuple(_query(one, f"{where}[{place}]", depth) for place, one in enumerate(body))
    return (_query(body, where, depth),)


def _all(parts: tuple[Filter, ...]) -> Filter:
    """The smallest tree that requires all parts."""
    if not parts:
        return Everything()
    return parts[0] if len(parts) == 1 else And(parts)


def _query(body: object, where: str, depth: int) -> Filter:
    """Parse one query: an object with its name as the only key."""
    if depth >= MAX_DEPTH:
        raise RequestError(f"The filter is nested more than {MAX_DEPTH} deep: flatten it.")
    name, content = _only_entry(body, where, "a query")
    here = f"{where}.{name}"
    if name == "bool":
        return _bool(content, here, depth)
    reader = _LEAVES.get(name)
    if reader is None:
        known = ", ".join(sorted([*_LEAVES, "bool"]))
        raise UnsupportedFilter(f"{where} has an unknown query {name!r}: use one of {known}.")
    return reader(content, here)


def _bool(body: object, where: str, depth: int) -> Filter:
    """Parse a combination of queries."""
    body = _mapping(body, where, _BOOL_KEYS)

    def clauses(key: str) -> tuple[Filter, ...]:
        # A null clause is ignored, as in Elasticsearch.
        found = body.get(key)
        return () if found is None else _queries(found, f"{where}.{key}", depth + 1)

    needed = (*clauses("must"), *clauses("filter"))
    should, refused = clauses("should"), clauses("must_not")
    least = _min_should_match(
        body.get("minimum_should_match"), where, 0 if needed or not should else 1
    )
    wanted = (Or(should, least),) if least > 0 else ()
    return _all((*needed, *wanted, *map(Not, refused)))


def _min_should_match(value: object, where: str, default: int) -> int:
    """Parse how many of the `should` clauses must match."""
    if value is None:
        return default
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise RequestError(
            f"{where}.minimum_should_match is {value!r}: it must be an integer of 0 or more."
        )
    return value


def _term(body: object, where: str) -> Filter:
    """Parse ``{"field": value}`` or ``{"field": {"value": value}}``."""
    field, value = _only_entry(body, where, "a field")
    here = f"{where}.{field}"
    if isinstance(value, Mapping):
        value = _mapping(value, here, ("value",)).get("value")
    return Term(field, _scalar(value, here))


def _terms(body: object, where: str) -> Filter:
    """Parse ``{"field": [values]}``."""
    field, values = _only_entry(body, where, "a field")
    here = f"{where}.{field}"
    if not isinstance(values, list):
        raise RequestError(f"{here} must be a list of values, not {_kind(values)}.")
    return Terms(field, tuple(_scalar(v, f"{here}[{i}]") for i, v in enumerate(values)))


def _range(body: object, where: str) -> Filter:
    """Parse ``{"field": {"gte": value, …}}``; null bounds are ignored, none match any value."""
    field, limits = _only_entry(body, where, "a field")
    here = f"{where}.{field}"
    given = _mapping(limits, here, _BOUNDS)
    bounds = {
        key: _scalar(value, f"{here}.{key}") for key, value in given.items() if value is not None
    }
    for key, value in bounds.items():
        if isinstance(value, bool):
            raise RequestError(f"{here}.{key} must be a number or a text, not a boolean.")
    return Range(field, bounds) if bounds else Exists(field)


def _exists(body: object, where: str) -> Filter:
    """Parse ``{"field": name}``."""
    field = _mapping(body, where, ("field",)).get("field")
    if not isinstance(field, str):
        raise RequestError(f"{where}.field must be a field's name, not {_kind(field)}.")
    return Exists(field)


def _ids(body: object, where: str) -> Filter:
    """Parse ``{"values": [ids]}``."""
    values = _mapping(body, where, ("values",)).get("values")
    if not isinstance(values, list) or not all(isinstance(v, str) for v in values):
        raise RequestError(f"{where}.values must be a list of ids, each a text.")
    return Ids(tuple(values))


def _match_all(body: object, where: str) -> Filter:
    """Parse ``{}``."""
    _mapping(body, where, ())
    return Everything()


_LEAVES = {
    "term": _term,
    "terms": _terms,
    "range": _range,
    "exists": _exists,
    "ids": _ids,
    "match_all": _match_all,
}


def _only_entry(body: object, where: str, of_what: str) -> tuple[str, object]:
    """Parse an object with a single key."""
    if isinstance(body, Mapping):
        entries = [(str(key), body[key]) for key in body if key not in _WITHOUT_EFFECT]
        if len(entries) == 1:
            return entries[0]
        found = f"the keys {', '.join(key for key, _ in entries)}" if entries else "no key"
    else:
        found = _kind(body)
    raise RequestError(f"{where} must be an object whose only key is {of_what}, not {found}.")


def _mapping(body: object, where: str, keys: Sequence[str]) -> Mapping[str, object]:
    """Parse an object with these keys only."""
    expected = f"an object with {' / '.join(keys)}" if keys else "an empty object"
    if not isinstance(body, Mapping):
        raise RequestError(f"{where} must be {expected}, not {_kind(body)}.")
    for key in body:
        if key not in keys and key not in _WITHOUT_EFFECT:
            raise UnsupportedFilter(f"{where} has an unknown key {key!r}: expected {expected}.")
    return {key: body[key] for key in keys if key in body}


def _scalar(value: object, where: str) -> Scalar:
    """Parse one value."""
    if isinstance(value, float) and not math.isfinite(value):
        raise RequestError(f"{where} is {value}: a filter needs a finite number.")
    if isinstance(value, Scalar):
        return value
    raise RequestError(f"{where} must be a text, a number or a boolean, not {_kind(value)}.")


def _kind(value: object) -> str:
    """The name of a value's JSON type."""
    names = {dict: "an object", list: "a list", str: "a text", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")
