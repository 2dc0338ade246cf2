"""Which part of a document's `_source` an answer shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from es_mappings.documents import Document
from es_mappings.fields import DESCRIPTOR, source_of
from reranker.local_elasticsearch.index_names import matches
from reranker.local_elasticsearch.parameters import Parameters
from reranker.local_elasticsearch.refusals import bad_request

__all__ = ["SourceView", "source_view", "whole_source"]

_PARAMETERS = ("_source", "_source_includes", "_source_excludes")
_KEYS = {
    "includes": "includes",
    "include": "includes",
    "excludes": "excludes",
    "exclude": "excludes",
}


@dataclass(frozen=True)
class SourceView:
    """What is shown of a document.

    Attributes:
        shown: anything at all.
        includes: only what one of these paths names, with all below it; empty for everything.
        excludes: not what one of these names.
        vectors: the descriptor too, which otherwise only comes if `includes` names it.
    """

    shown: bool = True
    includes: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    vectors: bool = False

    def of(self, document: Document) -> dict[str, Any]:
        """The part that is shown."""
        source = whole_source(document)
        if not (self.vectors or (self.includes and self._included(DESCRIPTOR))):
            del source[DESCRIPTOR]
        return self._of_object(source, "") if self.includes or self.excludes else source

    def _of_object(self, value: Mapping[str, Any], above: str) -> dict[str, Any]:
        kept: dict[str, Any] = {}
        for key, below in value.items():
            path = f"{above}{key}"
            if _named(path, self.excludes):
                continue
            whole = self._included(path)
            if isinstance(below, Mapping | list):
                part = self._below(below, path)
                if whole or part:
                    kept[key] = part
            elif whole:
                kept[key] = below
        return kept

    def _below(self, value: Mapping[str, Any] | list[Any], path: str) -> dict[str, Any] | list[Any]:
        if isinstance(value, Mapping):
            return self._of_object(value, f"{path}.")
        whole = self._included(path)
        parts = [
            self._below(one, path) if isinstance(one, Mapping | list) else one for one in value
        ]
        return [
            part
            for part, one in zip(parts, value, strict=True)
            if whole or (part and isinstance(one, Mapping | list))
        ]

    def _included(self, path: str) -> bool:
        return not self.includes or _named(path, self.includes)


def source_view(said: object, parameters: Parameters) -> SourceView:
    """Read what a request says of `_source`.

    Args:
        said: in the body; None if nothing.
        parameters: one of `_source` and its kin there, and nothing of the body counts.

    Raises:
        Refused: it cannot be read.
    """
    asked, *named = (parameters.listed(name) for name in _PARAMETERS)
    without_vectors = parameters.flag_if_there("_source_exclude_vectors")
    if asked is None and without_vectors is None and named == [None, None]:
        return SourceView() if said is None else _of_body(said)
    paths = () if asked in {None, ("true",), ("false",)} else asked
    includes, excludes = named
    return SourceView(
        asked != ("false",),
        includes or paths,
        excludes or (),
        without_vectors is False,
    )


def whole_source(document: Document) -> dict[str, Any]:
    """A document as Elasticsearch would keep it, its descriptor as an array of float32."""
    # Base64 is made fastest, and is thrown away: what an answer writes are the numbers.
    return source_of(document, base64_vector=True) | {DESCRIPTOR: document.descriptor}


def _of_body(said: object) -> SourceView:
    if isinstance(said, bool):
        return SourceView(said)
    if isinstance(said, str | list):
        return SourceView(includes=_paths(said))
    if not isinstance(said, Mapping):
        raise _malformed("it must be true, false, a path, a list of paths or an object")
    paths: dict[str, tuple[str, ...]] = {}
    vectors = False
    for key, value in said.items():
        if key == "exclude_vectors" and isinstance(value, bool):
            vectors = not value
        elif key in _KEYS:
            paths[_KEYS[key]] = _paths(value)
        else:
            raise _malformed(f"unknown key [{key}]")
    return SourceView(True, paths.get("includes", ()), paths.get("excludes", ()), vectors)


def _paths(value: object) -> tuple[str, ...]:
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
        raise _malformed("paths must be texts")
    return tuple(listed)


def _malformed(why: str) -> Exception:
    return bad_request("parsing_exception", f"[_source] cannot be read: {why}.")


def _named(path: str, patterns: tuple[str, ...]) -> bool:
    """Whether a pattern names a path or an object above it."""
    return any(matches(one, path) or matches(f"{one}.*", path) for one in patterns)
