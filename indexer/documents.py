"""Documents and rejects as indexing writes them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from galleries.checks import check_json
from galleries.documents import Document, ImageClass, Reject
from galleries.errors import MalformedDocument
from indexer.sources import Source, id_of_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from typing import Any

    from descriptors.arrays import Described
    from indexer.reading import Prepared

__all__ = ["documents_of", "now", "passes", "reject_of"]


def documents_of(
    batch: Sequence[Prepared], described: Described, names: tuple[str, ...]
) -> Iterator[Document | None]:
    """The documents of a batch of images, in their order; None where the network saw nothing.

    Args:
        batch: of images.
        described: their descriptors and classes.
        names: of the classes, by number.
    """
    descriptors = described.descriptors.float().cpu().numpy()
    classes, at = _classes(described, names), now()
    for image, descriptor, best in zip(batch, descriptors, classes, strict=True):
        source = image.source
        yield (
            Document(
                id=source.id,
                uri=source.uri,
                digest=image.digest,
                width=image.size.width,
                height=image.size.height,
                descriptor=descriptor,
                classes=best,
                meta=source.meta,
                source_tag=image.tag,
                revision=source.revision,
                indexed_at=at,
            )
            if np.any(descriptor)
            else None
        )


def _classes(described: Described, names: tuple[str, ...]) -> list[tuple[ImageClass, ...]]:
    """The best classes of each image of a batch; probabilities with six digits."""
    probabilities = (described.probabilities.double() * 1e6).round() / 1e6
    return [
        tuple(
            ImageClass(names[n] if n < len(names) else str(n), p) for n, p in zip(*row, strict=True)
        )
        for row in zip(described.classes.tolist(), probabilities.tolist(), strict=True)
    ]


def reject_of(source: Source, kind: str, reason: str, tag: str = "") -> Reject:
    """A reject that every gallery can hold, whatever the source holds.

    Args:
        source: of the image; one whose id cannot be held is listed under its digest.
        kind, reason: see `Reject`.
        tag: of `refusal_tag`; "" to try the image again at the next run.
    """
    meta = source.meta if passes(check_json, source) else {}
    id_ = id_of_address(source.id or source.uri)
    return Reject(id_, _text(source.uri), kind, _text(reason), _text(tag), now(), meta)


def _text(text: str) -> str:
    """Text that UTF-8 can hold: lone surrogates are written as escapes."""
    return text.encode(errors="backslashreplace").decode()


def passes(check: Callable[[str, Mapping[str, Any]], None], source: Source) -> bool:
    """Whether a check of metadata lets a source's pass."""
    try:
        check(source.id, source.meta)
    except MalformedDocument:
        return False
    return True


def now() -> str:
    """The time as documents have it, ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")
