"""Read and validate values of requests; write warnings and JSON."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_plus

import orjson

from es_mappings.windows import MAX_HITS
from reranker.errors import DialectError

__all__ = ["Page", "a_flag", "a_number", "a_text", "a_whole_number", "about_indices", "an_object"]
__all__ += ["fits", "invalid_value", "max_copies", "parameters_of", "read_page", "seconds_of"]
__all__ += ["warning", "without", "written_json"]

_MAX_SHOWN = 60
# Copies of an id that the searched indices may contain.
_COPIES = 100
_ABOUT_INDICES = ("allow_no_indices", "expand_wildcards", "ignore_unavailable")
_SEPARATOR = re.compile("[&;]")
_TIME = re.compile(r"\s*([0-9]{1,15})(nanos|micros|ms|s|m|h|d)\s*", re.IGNORECASE)
_SECONDS = {"nanos": 1e-9, "micros": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DEFAULT_SIZE = 10  # Elasticsearch's
_WHOLE = re.compile("[0-9]{1,9}")
_SPACES = re.compile(r"\s+")
# Printable ASCII that a warning need not percent-encode.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in '"\\%')
_MAX_WARNING = 1000


def invalid_value(path: str, expected: str, value: Any) -> DialectError:
    """The error for a wrong value, which the sentence shows, shortened."""
    return DialectError(f"[{path}] must be {expected}, not {_shown(value)}.")


def an_object(value: Any, path: str, known: Collection[str]) -> Mapping[str, Any]:
    """Check for an object with known keys only.

    Raises:
        DialectError: it is not an object, or has another key.
    """
    if not isinstance(value, dict):
        raise invalid_value(path, "an object", value)
    for key in value:
        if key not in known:
            names = ", ".join(f"[{name}]" for name in known)
            raise DialectError(f"[{path}.{_shortened(key)}] is not known: use {names}.")
    return value


def a_whole_number(value: Any, path: str, least: int, most: int) -> int:
    """Check for an integer from `least` to `most`.

    Raises:
        DialectError: it is not.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise invalid_value(path, f"a whole number from {least:,} to {most:,}", value)
    return value


def a_number(value: Any, path: str, least: float) -> float:
    """Check for a finite number of at least `least`.

    Raises:
        DialectError: it is not.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise invalid_value(path, f"a number, {least:g} or more", value)
    if not math.isfinite(value) or value < least:
        raise invalid_value(path, f"a finite number, {least:g} or more", value)
    return float(value)


def a_flag(value: Any, path: str) -> bool:
    """Check for a boolean.

    Raises:
        DialectError: it is not.
    """
    if not isinstance(value, bool):
        raise invalid_value(path, "true or false", value)
    return value


def a_text(value: Any, path: str, most: int) -> str:
    """Check for a string of 1 to `most` characters.

    Raises:
        DialectError: it is not.
    """
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise invalid_value(path, f"a text of 1 to {most:,} characters", value)
    return value


@dataclass(frozen=True)
class Page:
    """`from`, `size` and `min_score` of a search."""

    start: int
    size: int
    min_score: float | None


def read_page(body: Mapping[str, Any], parameters: Mapping[str, str], max_hits: int) -> Page:
    """Read the page; the query string takes precedence over the body.

    Raises:
        DialectError: a number is not valid, or the page goes beyond `max_hits`.
    """
    start = _whole("from", body, parameters, 0)
    size = _whole("size", body, parameters, _DEFAULT_SIZE)
    if start + size > max_hits:
        raise DialectError(
            f"Result window is too large, [from] + [size] must be less than or equal to "
            f"[{max_hits}] but was [{start + size}]."
        )
    least = body.get("min_score")
    number = isinstance(least, (int, float)) and not isinstance(least, bool)
    if least is not None and not (number and math.isfinite(least)):
        raise invalid_value("min_score", "a number", least)
    return Page(start, size, None if least is None else float(least))


def _whole(name: str, body: Mapping[str, Any], parameters: Mapping[str, str], default: int) -> int:
    """As Elasticsearch, accepts quoted numbers and truncates fractions in the body."""
    written = str(parameters.get(name, ""))
    if name not in parameters:
        value = body.get(name, default)
        if isinstance(value, float) and math.isfinite(value):
            value = int(value)
        written = "" if isinstance(value, bool) else str(value)
    if not _WHOLE.fullmatch(written):
        raise invalid_value(name, "a whole number, 0 or more", parameters.get(name, body.get(name)))
    return int(written)


def parameters_of(query: str) -> dict[str, str]:
    """The decoded parameters of a query string; the last of duplicates counts."""
    return dict(_read(part) for part in _SEPARATOR.split(query) if part)


def without(query: str, names: Collection[str]) -> str:
    """The query string without these parameters, otherwise unchanged."""
    return "&".join(p for p in _SEPARATOR.split(query) if p and _read(p)[0] not in names)


def about_indices(query: str, *more: str) -> str:
    """The parameters that decide which indices a path resolves to, and `more`, unchanged."""
    kept = (*_ABOUT_INDICES, *more)
    return "&".join(p for p in _SEPARATOR.split(query) if p and _read(p)[0] in kept)


def max_copies(ids: int) -> int:
    """The number of hits to ask for by this many ids, which several indices may contain."""
    return min(ids * _COPIES, MAX_HITS)


def _read(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return unquote_plus(name), unquote_plus(value)


def seconds_of(written: object) -> float | None:
    """Parse a time such as `500ms` into seconds; None if it is not one."""
    found = _TIME.fullmatch(written) if isinstance(written, str) else None
    return int(found[1]) * _SECONDS[found[2].lower()] if found else None


def fits(pattern: str, name: str) -> bool:
    """Whether a name matches a pattern in which `*` matches any text.

    Convention:
        Takes linear time: patterns come from callers, and a regular expression with many stars
        can take exponential time.
    """
    start, *others = pattern.split("*")
    if not others:
        return pattern == name
    *parts, end = others
    if not name.startswith(start):
        return False
    at = len(start)
    for part in parts:
        at = name.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return name.endswith(end) and at <= len(name) - len(end)


def warning(text: str, version: str = "9.0.0", build: str = "unknown") -> bytes:
    """The value of a `Warning` header.

    Args:
        text: a sentence, put on one line and shortened if it is long.
        version: of Elasticsearch, whose name clients expect.
        build: hash of its build.

    Convention:
        Double quotes become single quotes and backslashes become slashes, since clients read up
        to the next quote, escaped or not. Other non-ASCII text is percent-encoded, as
        Elasticsearch does.
    """
    line = _SPACES.sub(" ", text).strip().replace('"', "'").replace("\\", "/")[:_MAX_WARNING]
    plain = quote(line, safe=_PLAIN, errors="replace")
    return f'299 Elasticsearch-{version}-{build} "{plain}"'.encode("ascii")


def written_json(value: Any, *, pretty: bool = False) -> bytes:
    """Write JSON, indented if `pretty`; vectors may be arrays."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE if pretty else 0
    try:
        return orjson.dumps(value, option=options | orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:
        # Metadata may have larger integers and deeper nesting than orjson can write.
        return json.dumps(value, default=lambda array: array.tolist(), ensure_ascii=False).encode()


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f'"{_shortened(value)}"'
    return "null" if value is None else str(value).lower()


def _shortened(text: str) -> str:
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}…"
