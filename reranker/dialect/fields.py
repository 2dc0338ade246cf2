"""The fields of hits that we need, and those the caller asked for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from reranker.dialect.wildcards import fits

__all__ = ["NEEDED", "hides_vectors", "missing_fields"]

# What tells whether a hit's maps are kept, and where its picture is if they are not.
NEEDED = ("digest", "width", "height", "uri")


def missing_fields(body: Mapping[str, Any], parameters: Mapping[str, str]) -> tuple[str, ...]:
    """Those we need that the caller did not ask for."""
    asked = set(_asked(body, parameters))
    return tuple(name for name in NEEDED if not any(fits(one, name) for one in asked))


def hides_vectors(body: Mapping[str, Any], parameters: Mapping[str, str]) -> bool:
    """Whether the caller says nothing of `_source`, so that vectors are left out of it."""
    return "_source" not in body and not any(name.startswith("_source") for name in parameters)


def _asked(body: Mapping[str, Any], parameters: Mapping[str, str]) -> Iterable[str]:
    """Names and patterns of all that puts something into a hit's `fields`."""
    for key in ("fields", "docvalue_fields"):
        given = body.get(key)
        for one in given if isinstance(given, list) else ():
            name = one.get("field") if isinstance(one, dict) else one
            if isinstance(name, str):
                yield name
    yield from parameters.get("docvalue_fields", "").split(",")
    scripts = body.get("script_fields")
    yield from scripts if isinstance(scripts, dict) else ()
