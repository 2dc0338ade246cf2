"""Writes to Elasticsearch, as the lines of a bulk request."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import orjson

from es_mappings.fields import reject_source

if TYPE_CHECKING:
    from collections.abc import Mapping

    from es_mappings.documents import Reject

__all__ = ["deletion", "reject_write", "versioned_write"]


def versioned_write(index: str, id_: str, source: Mapping[str, Any], revision: int) -> bytes:
    """A write that a later revision wins against."""
    return b"%b\n%b" % (_line("index", index, id_, revision), _json(source))


def deletion(index: str, id_: str, version: int | None = None) -> bytes:
    """A deletion; with a version it leaves what is later."""
    return _line("delete", index, id_, version)


def reject_write(index: str, reject: Reject) -> bytes:
    """A write of a reject, whatever is there."""
    return b"%b\n%b" % (_line("index", index, reject.id), _json(reject_source(reject)))


def _line(operation: str, index: str, id_: str, version: int | None = None) -> bytes:
    about: dict[str, Any] = {"_index": index, "_id": id_}
    if version is not None:
        about |= {"version": version, "version_type": "external_gte"}
    return orjson.dumps({operation: about})


def _json(source: Mapping[str, Any]) -> bytes:
    try:
        return orjson.dumps(source)
    except TypeError:  # whole numbers of more than 64 bits, which Elasticsearch may take as text
        return json.dumps(source, ensure_ascii=False).encode()
