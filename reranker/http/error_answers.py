"""What went wrong, in the shape in which Elasticsearch says it."""

from __future__ import annotations

from typing import Any

import orjson

from descriptors.errors import CamsearchError, ImageError, RequestError
from galleries.errors import (
    FingerprintMismatch,
    GalleryBusy,
    GalleryNotFound,
    GalleryUnreachable,
    UnsupportedFilter,
)
from reranker.errors import (
    BodyTooLarge,
    DialectError,
    ImageNotFound,
    NotServed,
    Overloaded,
    UpstreamRefused,
    UpstreamUnreachable,
)
from reranker.http.exchange import JSON, Answer

__all__ = ["error_answer", "in_shape", "refusal", "unexpected"]

# The first row whose class fits, so that the narrower stand above the wider.
_TABLE: tuple[tuple[type[CamsearchError], int, str], ...] = (
    (BodyTooLarge, 413, "content_too_long_exception"),
    (DialectError, 400, "parsing_exception"),
    (UnsupportedFilter, 501, "unsupported_operation_exception"),
    (NotServed, 501, "unsupported_operation_exception"),
    (ImageNotFound, 404, "resource_not_found_exception"),
    (RequestError, 400, "illegal_argument_exception"),
    (ImageError, 400, "illegal_argument_exception"),
    (GalleryNotFound, 404, "index_not_found_exception"),
    (FingerprintMismatch, 409, "status_exception"),
    (Overloaded, 429, "es_rejected_execution_exception"),
    (GalleryBusy, 503, "status_exception"),
    (GalleryUnreachable, 503, "connect_transport_exception"),
    (UpstreamUnreachable, 503, "connect_transport_exception"),
    # What is left is no fault of the caller's: damaged files, wrong settings.
    (CamsearchError, 500, "status_exception"),
)


def refusal(error: CamsearchError) -> Answer:
    """An error of ours as Elasticsearch would answer it."""
    if isinstance(error, UpstreamRefused):
        return error.answer
    status, kind = next((status, kind) for row, status, kind in _TABLE if isinstance(error, row))
    answer = in_shape(status, kind, error.reason)
    if isinstance(error, Overloaded):
        wait = (b"retry-after", str(error.retry_after).encode())
        return Answer(answer.status, (*answer.headers, wait), answer.body)
    return answer


def unexpected() -> Answer:
    """A fault of ours: what it was stands in the log, not in the answer."""
    return in_shape(
        500,
        "status_exception",
        "camsearch failed at this request. Its log says why; other requests are not affected.",
    )


def in_shape(status: int, kind: str, reason: str) -> Answer:
    """An error answer.

    Args:
        status: of HTTP.
        kind: the name that Elasticsearch gives such errors.
        reason: a sentence with its remedy.
    """
    headers = ((b"x-elastic-product", b"Elasticsearch"), *JSON)
    return Answer(status, headers, orjson.dumps(error_answer(status, kind, reason)))


def error_answer(status: int, kind: str, reason: str) -> dict[str, Any]:
    """An error, also as one of an `_msearch`'s answers.

    Args:
        status: of HTTP.
        kind: Elasticsearch's name for it, such as `illegal_argument_exception`.
        reason: a sentence.
    """
    cause = {"type": kind, "reason": reason}
    return {"error": {"root_cause": [cause], **cause}, "status": status}
