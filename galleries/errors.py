"""What can go wrong between a program and a gallery.

CamsearchError
└── ContractError             a gallery and its user do not agree
    ├── GalleryNotFound           there is no gallery there
    ├── FingerprintMismatch       its vectors were made by another method
    ├── MalformedDocument         a document that a gallery cannot hold
    ├── GalleryDamaged            what lies there cannot be read
    ├── GalleryBusy               another process is writing to it
    ├── GalleryUnreachable        its server does not answer, or says: later
    ├── DocumentsRefused          its server holds the others, but not these
    └── FeatureStoreError         kept maps cannot be written or read

RequestError
└── UnsupportedFilter         a filter that Elasticsearch knows, perhaps, and we do not
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
    "UnsupportedFilter",
]


class ContractError(CamsearchError):
    """A gallery and the program that uses it do not agree."""


class GalleryNotFound(ContractError):
    """There is no gallery at this place."""


class FingerprintMismatch(ContractError):
    """The gallery's vectors were made by another method, so cosines would mean nothing."""


class MalformedDocument(ContractError):
    """A document that no gallery can hold: no id, no unit vector, metadata that cannot be held."""


class GalleryDamaged(ContractError):
    """The gallery's files are there but cannot be read."""


class GalleryBusy(ContractError):
    """Another process holds the gallery's write lock for longer than we wait."""


class GalleryUnreachable(ContractError):
    """The gallery's server does not answer, or answers: later. Worth another try."""


class DocumentsRefused(ContractError):
    """Some documents of a call cannot be held; all others of it are written.

    Attributes:
        reasons: a sentence for each id that was refused.
    """

    def __init__(self, reason: str, reasons: Mapping[str, str]) -> None:
        """Keep both; positional, so that the error survives pickling."""
        super().__init__(reason, reasons)
        self.reasons = reasons

    def __str__(self) -> str:
        """The sentence alone."""
        return self.reason


class FeatureStoreError(ContractError):
    """Kept maps cannot be written or read: a full disk, a damaged file, an unusable address."""


class UnsupportedFilter(RequestError):
    """A query or a key of one that our filters do not have, though Elasticsearch may."""
