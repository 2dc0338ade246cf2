r"""`filter_path`: only those parts of an answer that its caller asks for.

hits.hits._id           names, one for each object on the way; lists do not count
hits.*.na*              a star stands for any text within a name
**.name                 two stars for one name or more
aggregations.a\.b       a backslash before a dot that belongs to the name
-hits.total             a minus leaves out
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from reranker.dialect.wildcards import fits

__all__ = ["filtered"]

_DOT = re.compile(r"(?<!\\)\.")
_ANY_NAMES = "**"
_LEFT_OUT = object()

# What is left of a path on the way down.
_Names = tuple[str, ...]


def filtered(answer: Mapping[str, Any], filter_path: str) -> dict[str, Any]:
    """The parts of an answer that the paths name, as Elasticsearch cuts them out.

    Args:
        answer: whole.
        filter_path: paths with commas between; what is left out wins over what is asked for.
            Empty, or with nothing asked for: all that is not left out.

    Convention:
        An object or a list that has lost all it had goes too, and so does an empty one
        unless it is asked for itself.
    """
    paths = [path for path in map(str.strip, filter_path.split(",")) if path]
    wanted = _Paths.of(path for path in paths if not path.startswith("-"))
    unwanted = _Paths.of(path[1:] for path in paths if path.startswith("-"))
    return _cut_object(answer, wanted, unwanted, whole=not wanted.paths)


@dataclass(frozen=True)
class _Paths:
    """Paths, as far as they are not gone yet."""

    paths: frozenset[_Names]

    @staticmethod
    def of(written: Iterable[str]) -> _Paths:
        split = (_DOT.split(path) for path in written)
        return _Paths(
            frozenset(tuple(name.replace("\\.", ".") for name in names) for names in split)
        )

    @property
    def end_here(self) -> bool:
        """Whether one of them names what we stand at."""
        return () in self.paths

    def into(self, key: str) -> _Paths:
        """What is left of them one name further down."""
        left: set[_Names] = set()
        for path in self.paths:
            if path and fits(path[0], key):
                left.add(path[1:])
            if path and path[0] == _ANY_NAMES:
                left.add(path)
        return _Paths(frozenset(left))


def _cut(value: Any, wanted: _Paths, unwanted: _Paths, *, whole: bool) -> Any:
    """What stays of a value; `_LEFT_OUT` for nothing."""
    if whole and not unwanted.paths:
        return value
    if isinstance(value, dict):
        kept: Any = _cut_object(value, wanted, unwanted, whole=whole)
    elif isinstance(value, list):
        each = (_cut(one, wanted, unwanted, whole=whole) for one in value)
        kept = [one for one in each if one is not _LEFT_OUT]
    else:
        return value if whole else _LEFT_OUT
    return kept if kept or (whole and not value) else _LEFT_OUT


def _cut_object(
    value: Mapping[str, Any], wanted: _Paths, unwanted: _Paths, *, whole: bool
) -> dict[str, Any]:
    kept = {}
    for key, inner in value.items():
        out = unwanted.into(key)
        asked = wanted if whole else wanted.into(key)
        all_of_it = whole or asked.end_here
        if out.end_here or not (all_of_it or asked.paths):
            continue
        stays = _cut(inner, asked, out, whole=all_of_it)
        if stays is not _LEFT_OUT:
            kept[key] = stays
    return kept
