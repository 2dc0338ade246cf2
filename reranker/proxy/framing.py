"""Requests that two servers in a row could read differently, or that are none of Elasticsearch's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reranker.http.error_answers import in_shape
from reranker.http.headers import value_of

if TYPE_CHECKING:
    from starlette.types import Scope

    from reranker.http.exchange import Answer, Headers

__all__ = ["refused_framing"]

_KIND = "illegal_argument_exception"


def refused_framing(scope: Scope) -> Answer | None:
    """Why a request goes no further; None if it may.

    Convention:
        The server before us refuses most of these by itself; what it lets through is said here
        again, so that no change of server opens it.
    """
    if scope["method"] == "CONNECT":
        return in_shape(405, _KIND, "CONNECT is not served here.")
    headers: Headers = scope["headers"]
    expected = value_of(headers, b"expect")
    if expected is not None and expected.lower() != b"100-continue":
        return in_shape(417, _KIND, "The only Expect understood is 100-continue.")
    wrong = _wrong_start(scope) or _wrong_length(headers, scope["http_version"])
    return in_shape(400, _KIND, wrong) if wrong else None


def _wrong_start(scope: Scope) -> str | None:
    if not scope["raw_path"].startswith(b"/"):
        return "The target of a request must be a path that begins with a slash."
    if scope["http_version"] not in {"1.0", "1.1"}:
        return "Only HTTP/1.0 and HTTP/1.1 are served here."
    return None


def _wrong_length(headers: Headers, version: str) -> str | None:
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        return "A request must have one Content-Length or one Transfer-Encoding, not both."
    if lengths and not lengths[0].isdigit():
        return "Content-Length must be a number."
    if codings and (version == "1.0" or codings[0].lower() != b"chunked"):
        return "The only Transfer-Encoding understood is chunked, of HTTP/1.1."
    return None
