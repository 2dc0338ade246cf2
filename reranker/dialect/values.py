"""Values of requests, each read or refused by its name, and warnings as they are written."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote_plus

import orjson

from reranker.errors import DialectError

__all__ = ["Page", "a_flag", "a_number", "a_text", "a_whole_number", "about_indices", "an_object"]
__all__ += ["fits", "parameters_of", "read_page", "refusal", "seconds_of"]
__all__ += ["warning", "without", "written_json"]

_MAX_SHOWN = 60
_ABOUT_INDICES = ("allow_no_indices", "expand_wildcards", "ignore_unavailable")
_SEPARATOR = re.compile("[&;]")
_TIME = re.compile(r"\s*([0-9]{1,15})(nanos|micros|ms|s|m|h|d)\s*", re.IGNORECASE)
_SECONDS = {"nanos": 1e-9, "micros": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86400}
_DEFAULT_SIZE = 10  # Elasticsearch's
_WHOLE = re.compile("[0-9]{1,9}")
_SPACES = re.compile(r"\s+")
# All of ASCII that is seen, and the space; Elasticsearch writes a percent sign as its number too.
_PLAIN = "".join(chr(code) for code in range(0x20, 0x7F) if chr(code) not in '"\\%')
_MAX_WARNING = 1000


def refusal(path: str, expected: str, value: Any) -> DialectError:
    """What says that a key has the wrong value, which is shown if it is short."""
    return DialectError(f"[{path}] must be {expected}, not {_shown(value)}.")


def an_object(value: Any, path: str, known: Collection[str]) -> Mapping[str, Any]:
    """An object that has no other keys than these.

    Raises:
        DialectError: it is none, or has.
    """
    if not isinstance(value, dict):
        raise refusal(path, "an object", value)
    for key in value:
        if key not in known:
            names = ", ".join(f"[{name}]" for name in known)
            raise DialectError(f"[{path}.{_shortened(key)}] is not known here: use {names}.")
    return value


def a_whole_number(value: Any, path: str, least: int, most: int) -> int:
    """A whole number between two others, both allowed.

    Raises:
        DialectError: it is none, or not between them.
    """
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
        raise refusal(path, f"a whole number from {least:,} to {most:,}", value)
    return value


def a_number(value: Any, path: str, least: float) -> float:
    """A finite number that is not less than another.

    Raises:
        DialectError: it is none, or is.
    """
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        raise refusal(path, f"a number, {least:g} or more", value)
    if not math.isfinite(value) or value < least:
        raise refusal(path, f"a finite number, {least:g} or more", value)
    return float(value)


def a_flag(value: Any, path: str) -> bool:
    """True or false.

    Raises:
        DialectError: it is neither.
    """
    if not isinstance(value, bool):
        raise refusal(path, "true or false", value)
    return value


def a_text(value: Any, path: str, most: int) -> str:
    """A text that is not empty.

    Raises:
        DialectError: it is none, is empty, or has more characters than allowed.
    """
    if not isinstance(value, str) or not 0 < len(value) <= most:
        raise refusal(path, f"a text of 1 to {most:,} characters", value)
    return value


@dataclass(frozen=True)
class Page:
    """So many hits from so many on, of those that have the score."""

    start: int
    size: int
    min_score: float | None


def read_page(body: Mapping[str, Any], parameters: Mapping[str, str], max_hits: int) -> Page:
    """The page that is asked for.

    Raises:
        DialectError: a number is none, is negative, or asks for too many.

    Convention:
        As in Elasticsearch the query string wins over the body.
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
        raise refusal("min_score", "a number", least)
    return Page(start, size, None if least is None else float(least))


def _whole(name: str, body: Mapping[str, Any], parameters: Mapping[str, str], default: int) -> int:
    """From the body also numbers in quotes, and what is behind the point is cut."""
    written = str(parameters.get(name, ""))
    if name not in parameters:
        value = body.get(name, default)
        if isinstance(value, float) and math.isfinite(value):
            value = int(value)
        written = "" if isinstance(value, bool) else str(value)
    if not _WHOLE.fullmatch(written):
        raise refusal(name, "a whole number, 0 or more", parameters.get(name, body.get(name)))
    return int(written)


def parameters_of(query: str) -> dict[str, str]:
    """The parameters of a query string, decoded. Of one that comes twice the last counts."""
    return dict(_read(part) for part in _SEPARATOR.split(query) if part)


def without(query: str, names: Collection[str]) -> str:
    """The query string without these parameters, the others as they came."""
    return "&".join(p for p in _SEPARATOR.split(query) if p and _read(p)[0] not in names)


def about_indices(query: str) -> str:
    """What of a query string says which indices a path means, as it came."""
    return "&".join(p for p in _SEPARATOR.split(query) if p and _read(p)[0] in _ABOUT_INDICES)


def _read(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return unquote_plus(name), unquote_plus(value)


def seconds_of(written: object) -> float | None:
    """A time such as `500ms` in seconds; None for no limit, or what is no time."""
    found = _TIME.fullmatch(written) if isinstance(written, str) else None
    return int(found[1]) * _SECONDS[found[2].lower()] if found else None


def fits(pattern: str, name: str) -> bool:
    """Whether a name is what a pattern says, in which a star stands for any text.

    Convention:
        Takes no longer than reading both: patterns come from callers, and a regular
        expression with many stars can take for ever.
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
        text: a sentence; it comes out on one line, in ASCII, shortened if it is long.
        version: of the Elasticsearch that is asked, since clients look for its name.
        build: its build's hash.

    Convention:
        Double quotes become single ones and backslashes slashes: clients take what stands
        between the first two quotes, escaped or not. Other letters are written as the
        numbers of their bytes in UTF-8, as Elasticsearch does.
    """
    line = _SPACES.sub(" ", text).strip().replace('"', "'").replace("\\", "/")[:_MAX_WARNING]
    plain = quote(line, safe=_PLAIN, errors="replace")
    return f'299 Elasticsearch-{version}-{build} "{plain}"'.encode("ascii")


def written_json(value: Any, *, pretty: bool = False) -> bytes:
    """JSON, in one line or for people; vectors may be arrays."""
    options = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE if pretty else 0
    try:
        return orjson.dumps(value, option=options | orjson.OPT_SERIALIZE_NUMPY)
    except orjson.JSONEncodeError:
        # Metadata may hold integers of any size and be nested deeper than orjson goes.
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
