"""What a gallery holds: a document for each image, and a note for each image it refused."""

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
        id: the caller's; at most 512 bytes of UTF-8.
        uri: where the image lies: a path or an fsspec address.
        digest: SHA-256 of its bytes, hexadecimal.
        width, height: of the upright image, in pixels.
        descriptor: unit vector, float32.
        classes: its best classes, best first; a score is a softmax probability.
        meta: the caller's own fields, JSON values.
        source_tag: what the source said of this version (size, time); "" if unknown.
        revision: a later write of the same id wins only with a revision at least as high.
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
        id, uri: as they would have stood in the document.
        kind: short and stable, such as ``unreadable_image``.
        reason: a sentence with the remedy.
        source_tag: of all that it was made of (see `refusal_tag` in indexer/reading.py); "" if
            it is tried again at the next run.
        rejected_at: ISO 8601 in UTC.
        meta: the caller's own fields, so that it can be tried again as it was asked.
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
    """One hit of a kNN search: the document's id and its cosine with the query."""

    id: str
    cosine: float


class Known(NamedTuple):
    """What tells whether an image must be described again; see `Document`."""

    digest: str
    source_tag: str
    meta: Mapping[str, Any]
    revision: int = 0
