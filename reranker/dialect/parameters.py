"""The query string of a search, as Elasticsearch reads it."""

from __future__ import annotations

import re
from collections.abc import Collection
from urllib.parse import unquote_plus

__all__ = ["about_indices", "parameters_of", "seconds_of", "without"]

_ABOUT_INDICES = ("allow_no_indices", "expand_wildcards", "ignore_unavailable")
_SEPARATOR = re.compile("[&;]")
_TIME = re.compile(r"\s*([0-9]{1,15})(nanos|micros|ms|s|m|h|d)\s*", re.IGNORECASE)
_SECONDS = {"nanos": 1e-9, "micros": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}


def parameters_of(query: str) -> dict[str, str]:
    """The parameters, decoded. Of one that comes twice the last counts."""
    return dict(_read(part) for part in _SEPARATOR.split(query) if part)


def without(query: str, names: Collection[str]) -> str:
    """The query string without these parameters, the others as they came."""
    return "&".join(p for p in _SEPARATOR.split(query) if p and _read(p)[0] not in names)


def about_indices(query: str) -> str:
    """What of a query string says which indices a path means, as it came."""
    return "&".join(p for p in _SEPARATOR.split(query) if p and _read(p)[0] in _ABOUT_INDICES)


def seconds_of(written: object) -> float | None:
    """A time such as `500ms` in seconds; None for no limit, or what is no time."""
    found = _TIME.fullmatch(written) if isinstance(written, str) else None
    return int(found[1]) * _SECONDS[found[2].lower()] if found else None


def _read(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return unquote_plus(name), unquote_plus(value)
