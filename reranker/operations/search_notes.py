"""What is noted of one request while it is answered, for its line in the log."""

from __future__ import annotations

import re
import secrets
from collections import Counter, defaultdict
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from reranker.passing.hop_headers import value_of

if TYPE_CHECKING:
    from reranker.exchange import Headers

__all__ = ["NOTE", "SearchNote", "request_id_of"]

# Long enough for a UUID and a name before it; no letter that means something to a terminal.
_SANE = re.compile(rb"[A-Za-z0-9._:@/+=-]{1,128}")


@dataclass
class SearchNote:
    """One request of ours.

    Attributes:
        request_id: the caller's mark of it, or our own.
        outcomes: how its searches ended.
        windows: R of each search that was re-ranked.
        milliseconds: of each stage, of all its searches together.
    """

    request_id: str
    outcomes: Counter[str] = field(default_factory=Counter)
    windows: list[int] = field(default_factory=list)
    milliseconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))


# Tasks that a request starts see the same note; None outside of requests.
NOTE: ContextVar[SearchNote | None] = ContextVar("search_note", default=None)


def request_id_of(headers: Headers) -> str:
    """The caller's own mark of a request where it is short and plain, else a new one."""
    for name in (b"x-request-id", b"x-opaque-id"):
        mark = value_of(headers, name)
        if mark is not None and _SANE.fullmatch(mark):
            return mark.decode("ascii")
    return secrets.token_hex(8)
