"""Errors of galleries.

CamsearchError
└── ContractError
    ├── GalleryNotFound
    ├── FingerprintMismatch
    ├── MalformedDocument
    ├── GalleryDamaged
    ├── GalleryBusy
    ├── GalleryUnreachable
    ├── DocumentsRefused
    └── FeatureStoreError

RequestError
├── UnsupportedFilter
└── NoWindows
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from descriptors.errors import CamsearchError, RequestError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "ContractError",
    "DocumentsRefused",
    "FeatureStoreError",
    "FingerprintMismatch",
    "GalleryBusy",
    "GalleryDamaged",
    "GalleryNotFound",
    "GalleryUnreachable",
    "MalformedDocument",
    "NoWindows",
    "UnsupportedFilter",
]


class ContractError(CamsearchError):
    """A gallery cannot be used as requested."""


class GalleryNotFound(ContractError):
    """The gallery does not exist."""


class FingerprintMismatch(ContractError):
    """The gallery's vectors were made by another method and cannot be compared."""


class MalformedDocument(ContractError):
    """A document that no gallery can store, because of its id, vector or metadata."""


class GalleryDamaged(ContractError):
    """The gallery's files exist but cannot be read."""


class GalleryBusy(ContractError):
    """Another process held the gallery's write lock until the timeout."""


class GalleryUnreachable(ContractError):
    """The gallery's server does not respond, or is too busy; can be retried."""


class DocumentsRefused(ContractError):
    """The server refused some documents of a call; all others are written.

    Attributes:
        reasons: a sentence for each id that was refused.
    """

    def __init__(self, reason: str, reasons: Mapping[str, str]) -> None:
        super().__init__(reason, reasons)  # both, so that the error can be pickled
        self.reasons = reasons

    def __str__(self) -> str:
        return self.reason


class FeatureStoreError(ContractError):
    """Kept maps cannot be written or read."""


class UnsupportedFilter(RequestError):
    """A query or key that filters do not support, although Elasticsearch may."""


class NoWindows(RequestError):
    """The gallery's method has no windows, so they cannot be searched."""

    def __init__(self) -> None:
        """Say how to get windows."""
        super().__init__(
            "This gallery has no windows: index its images again with windows (`camsearch gallery "
            "rebuild --windows 14`, or `camsearch index --windows 14` into a new folder), or "
            "search whole images."
        )
