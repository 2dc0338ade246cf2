"""What can go wrong between a program and a gallery.

CamsearchError
└── ContractError             a gallery and its user do not agree
    ├── GalleryNotFound           there is no gallery there
    ├── FingerprintMismatch       its vectors were made by another method
    ├── MalformedDocument         a document that a gallery cannot hold
    ├── GalleryDamaged            what lies there cannot be read
    └── GalleryBusy               another process is writing to it
"""

from __future__ import annotations

from descriptors.errors import CamsearchError

__all__ = [
    "ContractError",
    "FingerprintMismatch",
    "GalleryBusy",
    "GalleryDamaged",
    "GalleryNotFound",
    "MalformedDocument",
]


class ContractError(CamsearchError):
    """A gallery and the program that uses it do not agree."""


class GalleryNotFound(ContractError):
    """There is no gallery at this place."""


class FingerprintMismatch(ContractError):
    """The gallery's vectors were made by another method, so cosines would mean nothing."""


class MalformedDocument(ContractError):
    """A document that no gallery can hold: no id, no unit vector, metadata that is no JSON."""


class GalleryDamaged(ContractError):
    """The gallery's files are there but cannot be read."""


class GalleryBusy(ContractError):
    """Another process holds the gallery's write lock for longer than we wait."""
