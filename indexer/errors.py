"""What can go wrong between a list of images and their bytes.

CamsearchError
├── SourceUnreadable          the bytes cannot be had
│   └── SourceUnreachable         not now; another try may get them
└── MalformedRow              a row that names no image
"""

from __future__ import annotations

from descriptors.errors import CamsearchError

__all__ = ["MalformedRow", "SourceUnreachable", "SourceUnreadable"]


class SourceUnreadable(CamsearchError):
    """The bytes of an image cannot be had: gone, forbidden, or at an address we do not open.

    It is final, another try finds the same; what may pass by itself is a `SourceUnreachable`.
    """

    kind = "source_unreadable"


class SourceUnreachable(SourceUnreadable):
    """The bytes of an image cannot be had now, and another try may get them.

    A time-out, a connection refused or broken, a server that answers 408, 425, 429 or 5xx.
    """

    kind = "source_unreachable"


class MalformedRow(CamsearchError):
    """A row of a manifest that names no image."""

    kind = "malformed_row"
