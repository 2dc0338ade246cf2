"""What every reader's test needs: photos to fit on, and a request."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from descriptors.arrays import Size
from evaluation.datasets.facts import PhotoFacts
from evaluation.datasets.files import Request
from evaluation.trials import Photo

if TYPE_CHECKING:
    from evaluation.datasets.photos import Queries

FIT = (Photo("elsewhere.jpg", Size(4, 3), Path("/elsewhere.jpg")),)


def request(
    root: Path, queries: Queries | None = None, fit: tuple[Photo, ...] | None = FIT
) -> Request:
    """A request that keeps nothing between runs."""
    return Request(root, queries, fit, PhotoFacts(None))
