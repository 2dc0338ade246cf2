"""Errors as answers in Elasticsearch's format."""

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

# The first matching class counts, so subclasses come before their bases.
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
    # Anything else is the server's fault: damaged files, wrong settings.
    (CamsearchError, 500, "status_exception"),
)


def refusal(error: CamsearchError) -> Answer:
    """Convert an error to an answer."""
    if isinstance(error, UpstreamRefused):
        return error.answer
    status, kind = next((status, kind) for row, status, kind in _TABLE if isinstance(error, row))
    answer = in_shape(status, kind, error.reason)
    if isinstance(error, Overloaded):
        wait = (b"retry-after", str(error.retry_after).encode())
        return Answer(answer.status, (*answer.headers, wait), answer.body)
    return answer


def unexpected() -> Answer:
    """The answer to an unexpected exception; details are only logged."""
    return in_shape(
        500,
        "status_exception",
        "camsearch failed to answer this request: see its log. Other requests are not affected.",
    )


def in_shape(status: int, kind: str, reason: str) -> Answer:
    """An error as an answer; see `error_answer`."""
    headers = ((b"x-elastic-product", b"Elasticsearch"), *JSON)
    return Answer(status, headers, orjson.dumps(error_answer(status, kind, reason)))


def error_answer(status: int, kind: str, reason: str) -> dict[str, Any]:
    """An error as JSON, of a request or of one search in an `_msearch`.

    Args:
        status: HTTP status.
        kind: Elasticsearch's type, such as `illegal_argument_exception`.
        reason: a sentence with a remedy.
    """
    cause = {"type": kind, "reason": reason}
    return {"error": {"root_cause": [cause], **cause}, "status": status}
