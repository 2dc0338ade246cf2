"""Contents of a gallery: a document per image, and a reject per image that cannot be indexed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float32

__all__ = ["Document", "FirstHit", "ImageClass", "IndexedImage", "Known", "Reject"]


class ImageClass(NamedTuple):
    """One of the best classes of an image."""

    name: str
    score: float


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
    """

    descriptor: Float32[np.ndarray, " D"]
    classes: Sequence[ImageClass] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    source_tag: str = ""
    revision: int = 0
    indexed_at: str = ""


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
