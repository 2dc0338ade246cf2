"""Which content type an answer has, by the request's headers."""

from __future__ import annotations

import re

from reranker.http.exchange import Headers
from reranker.local_elasticsearch.refusals import Refused, missing, plain

__all__ = ["answer_type"]

_VENDOR = re.compile(
    r"application/vnd\.elasticsearch\+(?P<kind>json|x-ndjson)\s*;\s*compatible-with=(?P<version>\d+)",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"application/(?:json|x-ndjson)\s*(?:;.*)?", re.IGNORECASE)
_OTHER_FORMS = re.compile(
    r"application/(?:vnd\.elasticsearch\+)?(?:yaml|cbor|smile)\b", re.IGNORECASE
)
_VERSIONS = frozenset({"8", "9"})
_BAD_REQUEST, _NOT_ACCEPTABLE = 400, 406


def answer_type(headers: Headers, *, has_body: bool) -> str:
    """The content type of the answer.

    Args:
        headers: of the request.
        has_body: whether the request has one; else its `Content-Type` says nothing.

    Raises:
        Refused: the body is no JSON, the two headers name different versions, or a form is
            asked for that is not JSON.
    """
    accept = _value(headers, b"accept")
    content = _value(headers, b"content-type") if has_body else ""
    for asked in (accept, content):
        if _OTHER_FORMS.match(asked):
            raise missing(f"The form [{asked}]")
    if has_body and not (_VENDOR.fullmatch(content) or _PLAIN.fullmatch(content)):
        raise plain(f"Content-Type header [{content}] is not supported", _NOT_ACCEPTABLE)
    version = _version(accept, content, has_body=has_body)
    if version is None:
        return "application/json"
    return f"application/vnd.elasticsearch+json;compatible-with={version}"


def _version(accept: str, content: str, *, has_body: bool) -> str | None:
    """The version that both headers name; None for none."""
    of_accept, of_content = _VENDOR.match(accept), _VENDOR.match(content)
    wanted = of_accept["version"] if of_accept else None
    if wanted is not None and wanted not in _VERSIONS:
        raise _unequal(
            f"Accept version must be either version 9 or 8, but found {wanted}. Accept={accept}"
        )
    sent = of_content["version"] if of_content else None
    if has_body and sent != wanted:
        both = " and the compatible versions must match" if sent and wanted else ""
        raise _unequal(
            "A compatible version is required on both Content-Type and Accept headers if either "
            f"one has requested a compatible version{both}. Accept={accept}, Content-Type={content}"
        )
    return wanted


def _unequal(why: str) -> Refused:
    kind, reason = "media_type_header_exception", "Invalid media-type value on headers"
    cause = {"type": kind, "reason": f"{reason} [Content-Type, Accept]"}
    caused_by = {"type": "status_exception", "reason": why}
    return Refused(why, _BAD_REQUEST, {"root_cause": [cause], **cause, "caused_by": caused_by})


def _value(headers: Headers, name: bytes) -> str:
    """The last value of a header; "" if there is none."""
    found = [value for key, value in headers if key == name]
    return found[-1].decode("latin-1").strip() if found else ""
