"""Values of our own keys, checked: each comes with its path, which the refusal names."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from reranker.errors import DialectError

__all__ = ["a_flag", "a_number", "a_text", "a_whole_number", "an_object", "refusal"]

_MOST_SHOWN = 60


def refusal(path: str, expected: str, value: Any) -> DialectError:
    """What says that a key has the wrong value, which is shown if it is short."""
    shown = _shown(value)
    return DialectError(f"[{path}] must be {expected}, not {shown}.")


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


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list):
        return "a list"
    if isinstance(value, str):
        return f'"{_shortened(value)}"'
    return "null" if value is None else str(value).lower()


def _shortened(text: str) -> str:
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}…"
