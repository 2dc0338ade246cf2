"""A request to our own endpoints as it is asked further, and answers of ours as theirs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import Response

from reranker.exchange import Answer, Request
from reranker.passing.hop_headers import going_up
from reranker.passing.refusals import in_shape
from reranker.passing.search_bodies import plain, read_whole

if TYPE_CHECKING:
    from fastapi import Request as OwnRequest

__all__ = ["ERRORS", "asked_further", "body_of", "response_of", "too_large"]

# Of the caller's own body and of the answer it takes.
_OF_THE_BODY = frozenset(
    {
        b"accept",
        b"accept-encoding",
        b"content-encoding",
        b"content-length",
        b"content-type",
        b"if-none-match",
        b"range",
    }
)
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error", "status"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["type", "reason", "root_cause"],
            "properties": {
                "type": {"type": "string"},
                "reason": {"type": "string"},
                "root_cause": {"type": "array", "items": {"type": "object"}},
            },
        },
        "status": {"type": "integer"},
    },
}
_WHY = {
    400: "The request cannot be understood, or its picture not be read.",
    401: "Elasticsearch wants to know who asks.",
    403: "Elasticsearch does not let this caller read the index.",
    404: "There is no such index or document.",
    409: "Another method made the vectors of the index.",
    413: "The body is too large.",
    429: "Too much is asked at the same time, or too often.",
    503: "Elasticsearch does not answer.",
}
# For OpenAPI: every error has the shape that Elasticsearch gives it.
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": why, "content": {"application/json": {"schema": _ERROR}}}
    for status, why in _WHY.items()
}


def asked_further(request: OwnRequest) -> Request:
    """A request with the caller's rights and marks, to be given method, path and body."""
    client = request.client
    return Request(
        "GET",
        "/",
        headers=going_up(request.scope["headers"], leave_out=_OF_THE_BODY),
        peer="" if client is None else client.host,
    )


async def body_of(request: OwnRequest, most: int) -> bytes:
    """The body, unpacked; empty if it cannot be unpacked.

    Raises:
        BodyTooLarge: it has more than `most` bytes.
    """
    headers = request.scope["headers"]
    body = await read_whole(request.receive, headers, most)
    return await plain(body, headers, most) or b""


def response_of(answer: Answer) -> Response:
    """An answer of ours, for FastAPI."""
    response = Response(answer.body, answer.status)
    for name, value in answer.headers:
        response.headers.append(name.decode("latin-1"), value.decode("latin-1"))
    return response


def too_large(most: int) -> Answer:
    """What is said to who sends too much."""
    return in_shape(
        413,
        "content_too_long_exception",
        f"The body has more than {most} bytes: send a smaller picture.",
    )
