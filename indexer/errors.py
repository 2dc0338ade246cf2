"""Errors of reading manifests and sources.

CamsearchError
├── SourceUnreadable          permanent
│   └── SourceUnreachable         temporary: a retry may succeed
└── MalformedRow
"""

from __future__ import annotations

from descriptors.errors import CamsearchError

__all__ = ["MalformedRow", "SourceUnreachable", "SourceUnreadable"]


class SourceUnreadable(CamsearchError):
    """An image cannot be read: missing, forbidden, or at an address that is not allowed."""

    kind = "source_unreadable"


class SourceUnreachable(SourceUnreadable):
    """An image cannot be read now: a time-out, a connection error, status 408, 425, 429 or 5xx."""

    kind = "source_unreachable"


class MalformedRow(CamsearchError):
    """A row of a manifest, or an entry of a task, that does not describe an image."""

    kind = "malformed_row"
