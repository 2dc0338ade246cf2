"""Where our names stand in a search's body."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["NAME", "Path", "depth_of", "key_of", "objects_of", "written"]

NAME = "camsearch"

Path = tuple[str | int, ...]

# Where Elasticsearch takes a query or a retriever; elsewhere the same words are somebody's data.
_SECTIONS = ("retriever", "knn", "query", "post_filter", "rescore", "aggs", "aggregations")
_DATA = "params"  # a script's


def objects_of(body: Mapping[str, Any]) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Each object of the body in which a query or retriever may stand, with its path.

    Convention:
        An object comes before those in it, and they in their order.
    """
    waiting: list[tuple[Path, Any]] = [((k,), body[k]) for k in reversed(_SECTIONS) if k in body]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            yield path, value
            inner = [((*path, k), v) for k, v in value.items() if k != _DATA]
        elif isinstance(value, list):
            inner = [((*path, i), v) for i, v in enumerate(value) if isinstance(v, (dict, list))]
        else:
            continue
        waiting.extend(reversed(inner))


def key_of(path: Path) -> str:
    """The key under which an object stands, be it alone or in a list."""
    return next((part for part in reversed(path) if isinstance(part, str)), "")


def written(path: Path) -> str:
    """A path as refusals name it."""
    return ".".join(map(str, path))


def depth_of(value: Any) -> int:
    """How many objects and lists lie in one another, at most."""
    depth, layer = 0, [value]
    while layer := [v for v in layer if isinstance(v, (dict, list))]:
        depth += 1
        layer = [v for one in layer for v in (one.values() if isinstance(one, dict) else one)]
    return depth
