"""Contents of a gallery: a document per image, and a reject per image that cannot be indexed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32, Int8, Int32

from descriptors.arrays import Box

__all__ = ["Document", "FirstHit", "ImageClass", "IndexedImage", "Known", "Reject"]
__all__ += ["Windows", "levels_of"]

# Of an 8-bit window vector.
_MAX_LEVEL = 127


class ImageClass(NamedTuple):
    """One of the best classes of an image."""

    name: str
    score: float


def levels_of(vectors: Float32[np.ndarray, "*M D"]) -> Int8[np.ndarray, "*M D"]:
    """Vectors as 8-bit levels; the largest of each is 127 or -127.

    Args:
        vectors: none of them zero.
    """
    peaks = np.abs(vectors).max(axis=-1, keepdims=True)
    levels: Int8[np.ndarray, "*M D"] = np.rint(vectors * (_MAX_LEVEL / peaks)).astype(np.int8)
    return levels


@dataclass(frozen=True)
class Windows:
    """The described windows of an image, the whole image first.

    Attributes:
        vectors: 8-bit levels of unit vectors; each has its own scale, so only cosines count.
        boxes: x0, y0, x1, y1 in pixels of the upright image.
    """

    vectors: Int8[np.ndarray, "M D"]
    boxes: Int32[np.ndarray, "M 4"]

    @classmethod
    def of(cls, vectors: Float32[np.ndarray, "M D"], boxes: Sequence[Box]) -> Windows:
        """Round vectors to 8 bits and boxes outwards to pixels; windows without activation are left out.

        Args:
            vectors: unit or zero rows.
            boxes: of each.
        """
        alive = np.abs(vectors).max(axis=1) > 0
        pixels = [(floor(box.x0), floor(box.y0), ceil(box.x1), ceil(box.y1)) for box in boxes]
        return cls(levels_of(vectors[alive]), np.array(pixels, dtype=np.int32)[alive])

    def cosines(self, vector: Float32[np.ndarray, " D"]) -> Float32[np.ndarray, " M"]:
        """The cosine of each window with a unit vector."""
        rows = self.vectors.astype(np.float32)
        cosines: Float32[np.ndarray, " M"] = rows @ vector / np.linalg.norm(rows, axis=1)
        return cosines

    def best(self, vector: Float32[np.ndarray, " D"]) -> Box:
        """The window that is most similar to a unit vector."""
        return Box(*self.boxes[self.cosines(vector).argmax()].tolist())


@dataclass(frozen=True)
class IndexedImage:
    """An indexed image, without its vector; see `Document`."""

    id: str
    uri: str
    digest: str
    width: int
    height: int


@dataclass(frozen=True)
class Document(IndexedImage):
    """One image of a gallery.

    Attributes:
        id: chosen by the caller; at most 512 bytes of UTF-8.
        uri: path or fsspec address of the image.
        digest: SHA-256 of its bytes, hexadecimal.
        width, height: of the upright image, in pixels.
        descriptor: unit vector, float32.
        classes: best first; scores are softmax probabilities.
        meta: the caller's fields, JSON values.
        source_tag: size and time of the file; "" if unknown.
        revision: a later write replaces the document only if its revision is at least as high.
        indexed_at: ISO 8601 in UTC.
        windows: None if the gallery's method has none.
    """

    descriptor: Float32[np.ndarray, " D"]
    classes: Sequence[ImageClass] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    source_tag: str = ""
    revision: int = 0
    indexed_at: str = ""
    windows: Windows | None = None


@dataclass(frozen=True)
class Reject:
    """An image that could not be indexed, and why.

    Attributes:
        id, uri: see `Document`.
        kind: short and stable, such as ``unreadable_image``.
        reason: a sentence with a remedy.
        source_tag: see `refusal_tag` in indexer/reading.py; "" if the next run tries again.
        rejected_at: ISO 8601 in UTC.
        meta: the caller's fields, for trying again.
    """

    id: str
    uri: str
    kind: str
    reason: str
    source_tag: str = ""
    rejected_at: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FirstHit:
    """A hit of a kNN search: the document's id and its cosine with the query."""

    id: str
    cosine: float


class Known(NamedTuple):
    """Fields that determine whether an image must be described again; see `Document`."""

    digest: str
    source_tag: str
    meta: Mapping[str, Any]
    revision: int = 0
