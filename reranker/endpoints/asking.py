"""Conversions between FastAPI's requests and responses and ours."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Response
from fastapi import Request as OwnRequest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from descriptors.errors import CamsearchError
from reranker.errors import Overloaded
from reranker.http.bodies import plain, read_whole
from reranker.http.error_answers import in_shape, refusal, unexpected
from reranker.http.exchange import Answer, Request
from reranker.http.headers import going_up

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["ERRORS", "answer_errors", "asked_further", "body_of", "counted", "response_of"]

# Headers about the caller's body and accepted answers.
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
    400: "The request is not valid, or its image cannot be read.",
    401: "Elasticsearch requires authentication.",
    403: "Elasticsearch does not let this caller read the index.",
    404: "There is no such index or document.",
    409: "Another method made the vectors of the index.",
    413: "The body is too large.",
    429: "The server is overloaded, or the caller's rate limit is exceeded.",
    503: "Elasticsearch does not answer.",
}
# For OpenAPI: errors have Elasticsearch's format.
ERRORS: dict[int | str, dict[str, Any]] = {
    status: {"description": why, "content": {"application/json": {"schema": _ERROR}}}
    for status, why in _WHY.items()
}


def answer_errors(app: FastAPI) -> None:
    """Answer an application's errors in Elasticsearch's format."""

    @app.exception_handler(CamsearchError)
    async def refused(_: OwnRequest, error: Exception) -> Response:
        return response_of(refusal(error) if isinstance(error, CamsearchError) else unexpected())

    @app.exception_handler(RequestValidationError)
    async def malformed(_: OwnRequest, error: Exception) -> Response:
        return response_of(in_shape(400, "illegal_argument_exception", _said(error)))

    @app.exception_handler(HTTPException)
    async def unknown(request: OwnRequest, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        what = f"[{request.method} {request.url.path[:200]}] is not an endpoint of camsearch: see "
        answer = in_shape(status, "illegal_argument_exception", what + "/_camsearch/docs.")
        response = response_of(answer)
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)  # such as Allow
        return response

    @app.exception_handler(Exception)
    async def failed(_: OwnRequest, __: Exception) -> Response:
        return response_of(unexpected())


def _said(error: Exception) -> str:
    """The first validation error, without the value."""
    if not isinstance(error, RequestValidationError):
        return "The request cannot be understood."
    first = error.errors()[0]
    return f"[{first['loc'][-1]}] is wrong: {first['msg']}."


def asked_further(request: OwnRequest) -> Request:
    """A request to Elasticsearch with the caller's credentials and request ids."""
    client = request.client
    return Request(
        "GET",
        "/",
        headers=going_up(request.scope["headers"], leave_out=_OF_THE_BODY),
        peer="" if client is None else client.host,
    )


async def body_of(request: OwnRequest, most: int) -> bytes:
    """The decompressed body; empty if it is damaged.

    Raises:
        BodyTooLarge: it has more than `most` bytes.
    """
    headers = request.scope["headers"]
    body = await read_whole(request.receive, headers, most)
    return await plain(body, headers, most) or b""


@contextmanager
def counted(count: Callable[[str], None], answered: str) -> Iterator[None]:
    """Count a request by its outcome: `answered`, refused or overloaded."""
    try:
        yield
    except Overloaded:
        count("overloaded")
        raise
    except CamsearchError:
        count("refused")
        raise
    count(answered)


def response_of(answer: Answer) -> Response:
    """Convert an answer for FastAPI."""
    response = Response(answer.body, answer.status)
    for name, value in answer.headers:
        response.headers.append(name.decode("latin-1"), value.decode("latin-1"))
    return response
