"""A filter as a query of Elasticsearch that finds what the local gallery would find.

Elasticsearch compares by the type of a field, and refuses what it cannot read as that
type. Here a value that no document's field can equal simply matches nothing: so the
types of the fields that a filter names are read from the mapping first.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

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
from es_mappings.leaves import META, check_field, check_text, number_written, path_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["NUMBERS", "named_meta", "query_of", "type_at"]

Query = dict[str, Any]

# Elasticsearch's own limit of a bool query's clauses is at least this.
_MOST_CLAUSES = 1024

NUMBERS = frozenset(
    [
        "long",
        "integer",
        "short",
        "byte",
        "double",
        "float",
        "half_float",
        "scaled_float",
        "unsigned_long",
    ]
)
_NOTHING: Query = {"match_none": {}}
_ALL: Query = {"match_all": {}}
# The fields of every document, by the types of images.json; dates and ids are asked for as text.
_TYPES = {"width": "integer", "height": "integer", "revision": "long"}


def named_meta(node: Filter | None) -> bool:
    """Whether a filter names the caller's own fields, whose types only the mapping knows."""
    match node:
        case And(parts) | Or(parts):
            return any(named_meta(part) for part in parts)
        case Not(part):
            return named_meta(part)
        case Term() | Terms() | Range() | Exists():
            return node.field.startswith(META)
        case _:
            return False


def query_of(node: Filter | None, properties: Mapping[str, Any]) -> Query:
    """A filter as a query; None matches all.

    Args:
        node: the filter.
        properties: of the index's mapping, for the fields below ``meta``.

    Raises:
        RequestError: for a field that no document can have, or text that is no Unicode.
    """
    match node:
        case None | Everything():
            return _ALL
        case Ids(ids):
            return {"terms": {"id": list(map(check_text, ids))}} if ids else _NOTHING
        case Not(part):
            return {"bool": {"must_not": [query_of(part, properties)]}}
        case And(parts):
            return {"bool": {"filter": _parts(parts, properties)}} if parts else _ALL
        case Or(parts, least):
            return _at_least(parts, least, properties)
        case _:
            check_field(node.field)
            return _on_field(node, path_of(node.field), properties)


def _parts(parts: Sequence[Filter], properties: Mapping[str, Any]) -> list[Query]:
    if len(parts) > _MOST_CLAUSES:
        raise RequestError(
            f"The filter joins {len(parts)} queries, more than {_MOST_CLAUSES}: "
            "use one `terms` with many values."
        )
    return [query_of(part, properties) for part in parts]


def _at_least(parts: Sequence[Filter], least: int, properties: Mapping[str, Any]) -> Query:
    if least <= 0:
        return _ALL
    if least > len(parts):
        return _NOTHING
    return {"bool": {"should": _parts(parts, properties), "minimum_should_match": least}}


def _on_field(
    node: Term | Terms | Range | Exists, path: str, properties: Mapping[str, Any]
) -> Query:
    """A condition on the values of one field."""
    if isinstance(node, Exists):
        return {"exists": {"field": path}}
    kind = _TYPES.get(path) or type_at(path, properties)
    if kind is None:
        return _NOTHING
    if isinstance(node, Range):
        return _range(path, kind, node.bounds)
    values = [node.value] if isinstance(node, Term) else node.values
    asked = [value for value in (_as_type(v, kind) for v in values) if value is not None]
    return {"terms": {path: asked}} if asked else _NOTHING


def type_at(path: str, properties: Mapping[str, Any]) -> str | None:
    """The type of the field at a dotted path; None where no document has one.

    Args:
        path: of the field.
        properties: of the index's mapping.
    """
    if not path.startswith(META):
        return "keyword"
    here: Any = {"properties": properties}
    for name in path.split("."):
        here = here.get("properties", {}).get(name)
        if here is None:
            return None
        if here.get("type") == "flattened":
            return "keyword"
    kind = here.get("type")
    return None if kind in (None, "object", "nested") else str(kind)


def _range(path: str, kind: str, bounds: Mapping[str, Scalar]) -> Query:
    found = {key: _bound(value, kind) for key, value in bounds.items()}
    if any(value is None for value in found.values()):
        return _NOTHING
    return {"range": {path: found}}


def _bound(value: Scalar, kind: str) -> Scalar | None:
    """A bound for a field of this type; None if no value of the field keeps it."""
    if kind == "keyword":
        # A number never meets text.
        return check_text(value) if isinstance(value, str) else None
    return _as_type(value, kind)


def _as_type(value: Scalar, kind: str) -> Scalar | None:
    """A value as a field of this type holds it; None if it cannot hold it."""
    if kind == "keyword":
        return check_text(value) if isinstance(value, str) else json.dumps(value)
    if kind == "boolean":
        written = value if isinstance(value, str) else json.dumps(value)
        return written if written in ("true", "false") else None
    if kind in NUMBERS:
        if isinstance(value, bool):
            return None
        return number_written(value) if isinstance(value, str) else value
    return check_text(value) if isinstance(value, str) else value
