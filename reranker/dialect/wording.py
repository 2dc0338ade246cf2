"""Errors and warnings as Elasticsearch writes them, and JSON as it does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

__all__ = ["error_answer", "error_body", "warning", "written_json"]

_SPACES = re.compile(r"\s+")
# All of ASCII that is seen, and the space; Elasticsearch writes a percent sign as its number too.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in '"\\%')
_MOST_WARNING = 1000


def error_answer(status: int, kind: str, reason: str) -> dict[str, Any]:
    """An error, also as one of an `_msearch`'s answers.

    Args:
        status: of HTTP.
        kind: Elasticsearch's name for it, such as `illegal_argument_exception`.
        reason: a sentence.
    """
    cause = {"type": kind, "reason": reason}
    return {"error": {"root_cause": [cause], **cause}, "status": status}


def error_body(status: int, kind: str, reason: str) -> bytes:
    """The body of an answer that is an error."""
    return written_json(error_answer(status, kind, reason))


def warning(text: str, version: str = "9.0.0", build: str = "unknown") -> bytes:
    """The value of a `Warning` header.

    Args:
        text: a sentence; it comes out on one line, in ASCII, shortened if it is long.
        version: of the Elasticsearch that is asked, since clients look for its name.
        build: its build's hash.

    Convention:
        Double quotes become single ones and backslashes slashes: clients take what stands
        between the first two quotes, escaped or not. Other letters are written as the
        numbers of their bytes in UTF-8, as Elasticsearch does.
    """
    line = _SPACES.sub(" ", text).strip().replace('"', "'").replace("\\", "/")[:_MOST_WARNING]
    plain = quote(line, safe=_PLAIN, errors="replace")
    return f'299 Elasticsearch-{version}-{build} "{plain}"'.encode("ascii")


def written_json(value: Mapping[str, Any], *, pretty: bool = False) -> bytes:
    """JSON, in one line or for people."""
    if pretty:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    return orjson.dumps(value)
