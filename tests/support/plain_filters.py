"""Filters read plainly, one document at a time: what every gallery's own way must agree with."""

from __future__ import annotations

import json
import operator

from galleries.filters import And, Everything, Exists, Ids, Not, Or, Range, Term, Terms


def values_at(one, field):
    """All values that a document has in a field, lists and objects laid out."""
    if field in ("classes", "classes.name"):
        return [image_class.name for image_class in one.classes]
    if not field.startswith("meta."):
        value = getattr(one, field.removeprefix("_"))
        return [] if field == "indexed_at" and value == "" else [value]
    return [value for path, value in below("meta", one.meta) if path == field]


def below(path, value):
    """All values below a path, with their own paths."""
    if isinstance(value, dict):
        return [leaf for key in value for leaf in below(f"{path}.{key}", value[key])]
    if isinstance(value, list):
        return [leaf for element in value for leaf in below(path, element)]
    return [] if value is None else [(path, value)]


def is_number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_number(value):
    """A number, or the number that JSON writes as this text."""
    if is_number(value):
        return value
    try:
        number = json.loads(value)
    except (TypeError, ValueError):
        return None
    return number if is_number(number) and json.dumps(number) == value else None


def as_text(value):
    return value if isinstance(value, str) else json.dumps(value)


def same(had, asked):
    if is_number(had):
        return had == as_number(asked)
    return as_text(had) == as_text(asked)


def keeps(had, bounds):
    """Whether one value keeps all bounds."""
    if is_number(had):
        value, limits = had, {key: as_number(bound) for key, bound in bounds.items()}
    else:
        value = as_text(had)
        limits = {key: bound if isinstance(bound, str) else None for key, bound in bounds.items()}
    return all(
        limit is not None and getattr(operator, key.replace("te", "e"))(value, limit)
        for key, limit in limits.items()
    )


def holds(node, one):  # noqa: PLR0911 - one line a kind of filter
    """Whether a filter holds for a document."""
    match node:
        case Everything():
            return True
        case Term(field, value):
            return any(same(had, value) for had in values_at(one, field))
        case Terms(field, values):
            return any(same(had, value) for had in values_at(one, field) for value in values)
        case Range(field, bounds):
            return any(keeps(had, bounds) for had in values_at(one, field))
        case Exists(field):
            paths = {path for path, _ in below("meta", one.meta)}
            deeper = any(path.startswith(f"{field}.") for path in paths)
            return deeper or values_at(one, field) != []
        case Ids(ids):
            return one.id in ids
        case And(parts):
            return all(holds(part, one) for part in parts)
        case Or(parts, least):
            return sum(holds(part, one) for part in parts) >= least
        case Not(part):
            return not holds(part, one)
