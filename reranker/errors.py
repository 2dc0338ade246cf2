"""What can go wrong between a client and Elasticsearch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from descriptors.errors import CamsearchError, RequestError

if TYPE_CHECKING:
    from reranker.http.exchange import Answer

__all__ = [
    "BodyTooLarge",
    "DialectError",
    "ImageNotFound",
    "NotOurIndex",
    "NotServed",
    "Overloaded",
    "UpstreamRefused",
    "UpstreamUnreachable",
]


class DialectError(RequestError):
    """A search names us but cannot be understood."""


class BodyTooLarge(RequestError):
    """A body has more bytes than are read into memory."""


class Overloaded(CamsearchError):
    """More is being asked than can be worked off: try again later."""

    @property
    def retry_after(self) -> int:
        """Seconds after which to try again."""
        return int(self.args[1]) if len(self.args) > 1 else 1


class UpstreamUnreachable(CamsearchError):
    """Elasticsearch does not answer, or not in time."""


class UpstreamRefused(CamsearchError):
    """Elasticsearch refuses something that we asked with the caller's rights."""

    @property
    def answer(self) -> Answer:
        """What it said, for the caller."""
        answer: Answer = self.args[1]
        return answer


class ImageNotFound(RequestError):
    """The query names an image of the index that is not there."""


class NotOurIndex(RequestError):
    """A search with an image goes to an index that camsearch did not make."""


class NotServed(RequestError):
    """A gallery in a folder does not answer this: an Elasticsearch would."""
