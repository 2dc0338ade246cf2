"""The fields of a document in Elasticsearch: their names, and a document to and from JSON."""

from __future__ import annotations

import base64
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from es_mappings.documents import Document, Known, PictureClass, Reject

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "DESCRIPTOR",
    "document_of",
    "known_of",
    "reject_of",
    "reject_source",
    "source_of",
    "vector_as_base64",
]

DESCRIPTOR = "descriptor"

# A date cannot be an empty text: where the time is unknown the field is left out.
_INDEXED_AT, _REJECTED_AT = "indexed_at", "rejected_at"


def source_of(document: Document, *, base64_vector: bool) -> dict[str, Any]:
    """A document as Elasticsearch takes it.

    Args:
        document: checked already.
        base64_vector: write the descriptor as base64, which is read several times faster,
            by the servers that take it.
    """
    vector = document.descriptor
    source: dict[str, Any] = {
        "id": document.id,
        "uri": document.uri,
        "digest": document.digest,
        "width": document.width,
        "height": document.height,
        DESCRIPTOR: vector_as_base64(vector) if base64_vector else vector.tolist(),
        "classes": [{"name": one.name, "score": one.score} for one in document.classes],
        "source_tag": document.source_tag,
        "revision": document.revision,
        "meta": dict(document.meta),
    }
    if document.indexed_at:
        source[_INDEXED_AT] = document.indexed_at
    return source


def document_of(source: Mapping[str, Any]) -> Document:
    """A document out of `_source`."""
    return Document(
        id=source["id"],
        uri=source["uri"],
        digest=source["digest"],
        width=source["width"],
        height=source["height"],
        descriptor=_vector(source[DESCRIPTOR]),
        classes=tuple(PictureClass(one["name"], one["score"]) for one in source["classes"]),
        meta=source["meta"],
        source_tag=source["source_tag"],
        revision=source["revision"],
        indexed_at=source.get(_INDEXED_AT, ""),
    )


def known_of(source: Mapping[str, Any]) -> Known:
    """What tells whether a picture must be described again."""
    return Known(source["digest"], source["source_tag"], source["meta"], source["revision"])


def reject_source(reject: Reject) -> dict[str, Any]:
    """A reject as Elasticsearch takes it."""
    source = asdict(reject)
    if not reject.rejected_at:
        del source[_REJECTED_AT]
    return source


def reject_of(source: Mapping[str, Any]) -> Reject:
    """A reject out of `_source`."""
    return Reject(**{_REJECTED_AT: "", **source})


def vector_as_base64(vector: Float32[np.ndarray, " D"]) -> str:
    """Big-endian float32, as Elasticsearch 9.3 and later take it in a dense_vector field."""
    return base64.b64encode(vector.astype(">f4").tobytes()).decode()


def _vector(written: list[float] | str) -> Float32[np.ndarray, " D"]:
    """A vector as it was written: numbers, or base64 of big-endian float32."""
    if isinstance(written, str):
        return np.frombuffer(base64.b64decode(written), dtype=">f4").astype(np.float32)
    return np.asarray(written, dtype=np.float32)
