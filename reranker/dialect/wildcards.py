"""Names with stars in them."""

from __future__ import annotations

__all__ = ["fits"]


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
