"""Which of the hits are answered: `from`, `size` and `min_score`."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reranker.dialect.limits import DialectLimits
from reranker.dialect.values import refusal
from reranker.errors import DialectError

__all__ = ["Page", "read_page"]

_SIZE = 10  # Elasticsearch's default
_WHOLE = re.compile("[0-9]{1,9}")


@dataclass(frozen=True)
class Page:
    """So many hits from so many on, of those that have the score."""

    start: int
    size: int
    min_score: float | None


def read_page(
    body: Mapping[str, Any], parameters: Mapping[str, str], limits: DialectLimits
) -> Page:
    """The page that is asked for.

    Raises:
        DialectError: a number is none, is negative, or asks for too many.

    Convention:
        As in Elasticsearch the query string wins over the body.
    """
    start = _whole("from", body, parameters, 0)
    size = _whole("size", body, parameters, _SIZE)
    if start + size > limits.hits:
        raise DialectError(
            f"Result window is too large, [from] + [size] must be less than or equal to "
            f"[{limits.hits}] but was [{start + size}]."
        )
    return Page(start, size, _score(body.get("min_score")))


def _whole(
    name: str, body: Mapping[str, Any], parameters: Mapping[str, str], otherwise: int
) -> int:
    """As Elasticsearch reads it: from the body also numbers in quotes, and what is behind the point is cut."""
    written = str(parameters.get(name, ""))
    if name not in parameters:
        value = body.get(name, otherwise)
        if isinstance(value, float) and math.isfinite(value):
            value = int(value)
        written = "" if isinstance(value, bool) else str(value)
    if not _WHOLE.fullmatch(written):
        raise refusal(name, "a whole number, 0 or more", parameters.get(name, body.get(name)))
    return int(written)


def _score(value: Any) -> float | None:
    if value is None:
        return None
    if not isinstance(value, (int, float)) or isinstance(value, bool) or not math.isfinite(value):
        raise refusal("min_score", "a number", value)
    return float(value)
