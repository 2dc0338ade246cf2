"""Convert documents, rejects and filters to and from Elasticsearch's JSON."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
from jaxtyping import Float32

from es_mappings.windows import REGIONS, regions_of, windows_of
from galleries.documents import Document, ImageClass, Reject
from galleries.errors import ContractError
from galleries.filters import And, Everything, Exists, Filter, Ids, Not, Or, Range, Term, path_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DESCRIPTOR",
    "document_of",
    "gallery_settings",
    "meta_names",
    "query_of",
    "reject_of",
    "reject_source",
    "source_of",
    "vector_as_base64",
]

DESCRIPTOR = "descriptor"

# Left out if unknown, since a date cannot be an empty text.
_INDEXED_AT, _REJECTED_AT = "indexed_at", "rejected_at"


def source_of(document: Document, *, base64_vector: bool) -> dict[str, Any]:
    """The `_source` of a document.

    Args:
        document: checked.
        base64_vector: write the descriptor as base64, which servers that accept it read
            several times faster.
    """
    vector = document.descriptor
    source: dict[str, Any] = {
        "id": document.id,
        "uri": document.uri,
        "digest": document.digest,
        "width": document.width,
        "height": document.height,
        DESCRIPTOR: vector_as_base64(vector) if base64_vector else _numbers(vector),
        "classes": [{"name": one.name, "score": one.score} for one in document.classes],
        "source_tag": document.source_tag,
        "revision": document.revision,
        "meta": dict(document.meta),
    }
    if document.indexed_at:
        source[_INDEXED_AT] = document.indexed_at
    if document.windows is not None:
        source[REGIONS] = regions_of(document.windows)
    return source


def document_of(source: Mapping[str, Any]) -> Document:
    """The document of a `_source`."""
    return Document(
        id=source["id"],
        uri=source["uri"],
        digest=source["digest"],
        width=source["width"],
        height=source["height"],
        descriptor=_vector(source[DESCRIPTOR]),
        classes=tuple(ImageClass(one["name"], one["score"]) for one in source["classes"]),
        meta=source["meta"],
        source_tag=source["source_tag"],
        revision=source["revision"],
        indexed_at=source.get(_INDEXED_AT, ""),
        windows=windows_of(source.get(REGIONS)),
    )


def reject_source(reject: Reject) -> dict[str, Any]:
    """The `_source` of a reject."""
    source = asdict(reject)
    if not reject.rejected_at:
        del source[_REJECTED_AT]
    return source


def reject_of(source: Mapping[str, Any]) -> Reject:
    """The reject of a `_source`."""
    return Reject(**{_REJECTED_AT: "", **source})


def vector_as_base64(vector: Float32[np.ndarray, " D"]) -> str:
    """Base64 of big-endian float32, for dense_vector fields of Elasticsearch 9.3 and later."""
    return base64.b64encode(vector.astype(">f4").tobytes()).decode()


def _numbers(vector: Float32[np.ndarray, " D"]) -> list[float]:
    """A vector as the shortest numbers that are read as the same float32.

    `tolist` has the digits of a float64, which older servers keep: 4.5 KB more at 512 dimensions.
    """
    numbers: list[float] = orjson.loads(orjson.dumps(vector, option=orjson.OPT_SERIALIZE_NUMPY))
    return numbers


def _vector(written: list[float] | str) -> Float32[np.ndarray, " D"]:
    """A vector from numbers, or from base64 of big-endian float32."""
    if isinstance(written, str):
        return np.frombuffer(base64.b64decode(written), dtype=">f4").astype(np.float32)
    return np.asarray(written, dtype=np.float32)


def query_of(node: Filter | None) -> dict[str, Any]:  # noqa: PLR0911 - one a kind of filter
    """The Elasticsearch query of a filter; None matches all.

    Raises:
        RequestError: a field that no document can have.
    """
    match node:
        case None | Everything():
            return {"match_all": {}}
        case Ids(ids):
            return {"terms": {"id": list(ids)}}
        case Not(part):
            return {"bool": {"must_not": [query_of(part)]}}
        case And(parts):
            return {"bool": {"filter": [query_of(part) for part in parts]}}
        case Or(parts, least):
            if least <= 0 or not parts:  # an empty `should` would match all
                return {"match_all" if least <= 0 else "match_none": {}}
            should = [query_of(part) for part in parts]
            return {"bool": {"should": should, "minimum_should_match": least}}
        case Exists(field):
            return {"exists": {"field": path_of(field)}}
        case Range(field, bounds):
            return {"range": {path_of(field): dict(bounds)}}
        case Term(field, value):
            return {"term": {path_of(field): {"value": value}}}
    return {"terms": {path_of(node.field): list(node.values)}}


def gallery_settings(index: str, mappings: Mapping[str, Any]) -> dict[str, Any]:
    """The description of the method in an index's mapping.

    Raises:
        ContractError: there is none.
    """
    about: dict[str, Any] = mappings.get("_meta", {}).get("camsearch", {})
    if "fingerprint" not in about or DESCRIPTOR not in mappings.get("properties", {}):
        raise ContractError(
            f"The mapping of the index {index} does not say which method made its descriptors: "
            "create the index with `camsearch gallery create`."
        )
    return about


def meta_names(mapped: dict[str, Any]) -> list[str]:
    """Names of metadata fields, such as ``meta.city``, in order, from the mapping of ``meta``."""
    names: list[str] = []
    waiting = [("meta", mapped)]
    while waiting:
        path, mapped = waiting.pop()
        inner = mapped.get("properties", {})
        waiting.extend((f"{path}.{name}", below) for name, below in inner.items())
        if mapped.get("type", "object") not in ("object", "nested"):
            names.append(path)
    return sorted(names)
