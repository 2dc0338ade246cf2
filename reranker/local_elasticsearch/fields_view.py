"""The `fields` of a hit: values of single fields, always in lists, as the mapping types them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np

from es_mappings.documents import Document
from es_mappings.fields import DESCRIPTOR
from es_mappings.filters import META
from reranker.local_elasticsearch.index_names import matches
from reranker.local_elasticsearch.refusals import bad_request, missing
from reranker.local_elasticsearch.source_view import whole_source

__all__ = ["FieldsView", "fields_view"]

_WRITTEN_AT = "indexed_at"


@dataclass(frozen=True)
class FieldsView:
    """Which fields are shown: their names, in which ``*`` stands for any text."""

    patterns: tuple[str, ...]

    def of(self, document: Document, index: str) -> dict[str, Any]:
        """The fields that have a value."""
        values: dict[str, Any] = defaultdict(list)
        source = whole_source(document)
        vector = source.pop(DESCRIPTOR)
        for path, value in _leaves(source):
            values[path].append(value)
        known = values | {DESCRIPTOR: vector}
        found = {path: known[path] for path in known if self._names(path)}
        about = {"_id": document.id, "_index": index, "_version": document.revision}
        return found | {name: [about[name]] for name in about if name in self.patterns}

    def _names(self, path: str) -> bool:
        return any(matches(pattern, path) for pattern in self.patterns)


def fields_view(said: object) -> FieldsView | None:
    """Read what a body says under ``fields``; None if nothing.

    Raises:
        Refused: it cannot be read, or asks for a format.
    """
    if said is None:
        return None
    if not isinstance(said, list):
        raise bad_request("parsing_exception", "[fields] must be a list.")
    return FieldsView(tuple(_pattern(one) for one in said))


def _pattern(said: object) -> str:
    if isinstance(said, str):
        return said
    if not isinstance(said, Mapping) or not isinstance(said.get("field"), str):
        raise bad_request(
            "parsing_exception", "[fields] holds names, or objects with a [field] that is one."
        )
    for key in said:
        if key == "format":
            raise missing("A format of [fields]")
        if key not in {"field", "include_unmapped"}:
            raise bad_request(
                "x_content_parse_exception", f"[fetch_field_and_format] unknown field [{key}]"
            )
    return str(said["field"])


def _leaves(source: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Single values under dotted paths, in their order; null is none."""
    # A stack of our own, since metadata may be nested deeper than Python calls itself.
    waiting: list[tuple[str, Any]] = [("", source)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            above = f"{path}." if path else ""
            waiting.extend((f"{above}{key}", value[key]) for key in reversed(list(value)))
        elif isinstance(value, list | tuple):
            waiting.extend((path, one) for one in reversed(value))
        elif value is not None:
            yield path, _typed(path, value)


def _typed(path: str, value: Any) -> Any:
    """A value as a field of the mapping gives it: see images.json."""
    if path == _WRITTEN_AT:
        return _as_date(value)
    if path == "classes.score":
        return np.float32(value)
    if path.startswith(META) and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    return value


def _as_date(text: str) -> str:
    """A time as Elasticsearch writes it; as it is where that is no time."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    known = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return known.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
