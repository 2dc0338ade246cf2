"""Documents for tests that say only what the test is about, and their comparison."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np

from descriptors.arrays import Box
from galleries.documents import Document, Reject, Windows

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

DIMS = 4


def unit(values: Sequence[float] | np.ndarray) -> np.ndarray:
    """These values as a unit vector."""
    vector = np.asarray(values, dtype=np.float64)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def document(
    id_: str, vector: Sequence[float] | np.ndarray = (1, 2, 3, 4), **said: Any
) -> Document:
    """A document with this id; whatever else is not said is plausible."""
    filled: dict[str, Any] = {
        "uri": f"/photos/{id_}",
        "digest": "d" * 64,
        "width": 640,
        "height": 480,
        "indexed_at": "2024-05-06T07:08:09+00:00",
    }
    return Document(id=id_, descriptor=unit(vector), **filled | said)


def windows(*vectors: Sequence[float] | np.ndarray) -> Windows:
    """Windows with these vectors, of any length; the i-th begins at pixel i of each side."""
    rows = np.stack([unit(vector) for vector in vectors])
    return Windows.of(rows, [Box(i, i, 640, 480) for i in range(len(rows))])


def reject(id_: str, **said: Any) -> Reject:
    """A reject with this id."""
    filled = {"uri": f"/photos/{id_}", "kind": "unreadable_image", "reason": "It is cut off."}
    return Reject(id=id_, **filled | said)


def ids_of(documents: Iterable[Document] | Iterable[Reject]) -> list[str]:
    """Their ids, in order."""
    return [one.id for one in documents]


def told_apart(expected: Document, found: Document) -> list[str]:
    """Names of the fields in which two documents differ; vectors differ by any bit."""
    return [
        field.name
        for field in fields(Document)
        if not _equal(getattr(expected, field.name), getattr(found, field.name))
    ]


def _equal(expected: object, found: object) -> bool:
    if isinstance(expected, Windows) and isinstance(found, Windows):
        return np.array_equal(expected.vectors, found.vectors) and np.array_equal(
            expected.boxes, found.boxes
        )
    return np.array_equal(expected, found)  # type: ignore[arg-type] - compares any two values
