"""Warnings as Elasticsearch writes them, and JSON as it does."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import orjson

__all__ = ["warning", "written_json"]

_SPACES = re.compile(r"\s+")
# All of ASCII that is seen, and the space; Elasticsearch writes a percent sign as its number too.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in '"\\%')
_MOST_WARNING = 1000


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
