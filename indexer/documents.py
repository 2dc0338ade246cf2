"""Build documents and rejects."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from descriptors.windows import window_boxes
from galleries.checks import check_json
from galleries.documents import Document, ImageClass, Reject, Windows
from galleries.errors import MalformedDocument
from indexer.sources import Source, id_of_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from descriptors.arrays import Described, Size
    from indexer.reading import Prepared

__all__ = ["documents_of", "make_reject", "now", "passes", "windows_per_image"]


def documents_of(
    batch: Sequence[Prepared], described: Described, names: tuple[str, ...]
) -> Iterator[Document | None]:
    """The document of each image of a batch; None where the descriptor is zero.

    Args:
        batch: the images.
        described: their descriptors and classes.
        names: class names by number.
    """
    descriptors = described.descriptors.float().cpu().numpy()
    classes, at, windows = (
        _classes(described, names),
        now(),
        windows_per_image(described, [p.size for p in batch]),
    )
    for image, descriptor, best, own in zip(batch, descriptors, classes, windows, strict=True):
        source = image.source
        yield (
            Document(
                id=source.id,
                uri=source.uri,
                digest=image.digest,
                width=image.size.width,
                height=image.size.height,
                descriptor=descriptor,
                windows=own,
                classes=best,
                meta=source.meta,
                source_tag=image.tag,
                revision=source.revision,
                indexed_at=at,
            )
            if np.any(descriptor)
            else None
        )


def windows_per_image(described: Described, sizes: Sequence[Size]) -> list[Windows | None]:
    """The windows of each image of a batch, from the sizes of the upright images."""
    if described.windows is None:
        return [None] * len(sizes)
    vectors = described.windows.float().cpu().numpy()
    boxes = (window_boxes(vectors.shape[1], size) for size in sizes)
    return [Windows.of(rows, of_image) for rows, of_image in zip(vectors, boxes, strict=True)]


def _classes(described: Described, names: tuple[str, ...]) -> list[tuple[ImageClass, ...]]:
    """The top classes of each image; probabilities are rounded to six decimals."""
    probabilities = (described.probabilities.double() * 1e6).round() / 1e6
    return [
        tuple(
            ImageClass(names[n] if n < len(names) else str(n), p) for n, p in zip(*row, strict=True)
        )
        for row in zip(described.classes.tolist(), probabilities.tolist(), strict=True)
    ]


def make_reject(source: Source, kind: str, reason: str, tag: str = "") -> Reject:
    """A reject that every gallery can store: an invalid id is hashed, invalid metadata dropped.

    Args:
        kind, reason: see `Reject`.
        tag: see `refusal_tag`; "" to retry the image in the next run.
    """
    meta = source.meta if passes(check_json, source) else {}
    id_ = id_of_address(source.id or source.uri)
    return Reject(id_, _text(source.uri), kind, _text(reason), _text(tag), now(), meta)


def _text(text: str) -> str:
    """Valid UTF-8: lone surrogates are escaped."""
    return text.encode(errors="backslashreplace").decode()


def passes(check: Callable[[str, Mapping[str, Any]], None], source: Source) -> bool:
    """Whether the source's metadata passes a check."""
    try:
        check(source.id, source.meta)
    except MalformedDocument:
        return False
    return True


def now() -> str:
    """The current time in ISO 8601, UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
