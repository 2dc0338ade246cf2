"""What cannot be asked for together with re-ranking or expansion, and what cannot at all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from reranker.errors import DialectError

__all__ = ["check_conflicts"]

_REFUSED = ("collapse", "search_after", "pit", "rescore", "slice")
_REFUSED_PARAMETERS = ("scroll",)
_BY_SCORE: tuple[Any, ...] = (
    "_score",
    {"_score": "desc"},
    {"_score": {"order": "desc"}},
    {"_score": {}},
)
_WITHOUT_IDS = "_none_"
_FORMATS = ("", "json")


def check_conflicts(body: Mapping[str, Any], parameters: Mapping[str, str]) -> None:
    """Refuse what the order of re-ranked hits would break.

    Raises:
        DialectError: it says what, and what to do.
    """
    for key in _REFUSED:
        if body.get(key) is not None:
            raise _conflict(key)
    for key in _REFUSED_PARAMETERS:
        if key in parameters:
            raise _conflict(key)
    if not _sorts_by_score(body.get("sort")) or parameters.get("sort", "_score") not in (
        "_score",
        "_score:desc",
    ):
        raise _conflict("sort")
    if _WITHOUT_IDS in (body.get("stored_fields"), parameters.get("stored_fields")):
        raise _conflict("stored_fields")
    if parameters.get("format", "") not in _FORMATS:
        raise DialectError(
            f"[format] must be json where hits are re-ranked, not {parameters['format'][:20]}."
        )


def _conflict(key: str) -> DialectError:
    return DialectError(
        f"[{key}] cannot be used together with re-ranking or expansion: leave it out, or ask "
        "for the first search only."
    )


def _sorts_by_score(sort: Any) -> bool:
    """Whether a sort is the order that hits have anyway."""
    if sort is None:
        return True
    return all(one in _BY_SCORE for one in (sort if isinstance(sort, list) else [sort]))
