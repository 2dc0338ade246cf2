"""Errors of searches and of the proxy."""

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
    "OneImageOnly",
    "Overloaded",
    "UpstreamRefused",
    "UpstreamUnreachable",
]


class DialectError(RequestError):
    """A search that uses camsearch's keys is not valid."""


class OneImageOnly(RequestError):
    """Hits cannot be compared with several images in this way."""

    def __init__(self) -> None:
        """Say what to do instead."""
        super().__init__(
            "Re-ranking by maps or images compares hits with one image, and the query has several: "
            "re-rank by windows, leave re-ranking out, or give one image."
        )


class BodyTooLarge(RequestError):
    """A request body is larger than allowed."""


class Overloaded(CamsearchError):
    """The server is overloaded: try again later."""

    @property
    def retry_after(self) -> int:
        """Seconds after which to try again."""
        return int(self.args[1]) if len(self.args) > 1 else 1


class UpstreamUnreachable(CamsearchError):
    """Elasticsearch does not answer, or times out."""


class UpstreamRefused(CamsearchError):
    """Elasticsearch refused a request that camsearch sent with the caller's credentials."""

    @property
    def answer(self) -> Answer:
        """Elasticsearch's answer, to be returned to the caller."""
        answer: Answer = self.args[1]
        return answer


class ImageNotFound(RequestError):
    """The query names a document that does not exist."""


class NotOurIndex(RequestError):
    """An image search was sent to an index that camsearch did not create."""


class NotServed(RequestError):
    """Elasticsearch supports this; a gallery in a folder does not."""
