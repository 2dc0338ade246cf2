"""How often one caller may ask for work of ours."""

from __future__ import annotations

import hashlib
import math
import time
from typing import TYPE_CHECKING

from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from descriptors.errors import SettingsError
from reranker.errors import Overloaded
from reranker.passing.hop_headers import value_of

if TYPE_CHECKING:
    from reranker.exchange import Request

__all__ = ["RateLimit"]

_MOST_CALLERS = 10_000


class RateLimit:
    """So many in so long a time, a caller, counted in this process.

    A caller is who shows the same ``Authorization``; without one, who calls from the same address.
    """

    def __init__(self, rate: str) -> None:
        """Args: rate such as ``20/second``; empty for any number.

        Raises:
            SettingsError: it is none.
        """
        self._rate = _parsed(rate) if rate else None
        if self._rate is not None:
            self._storage = MemoryStorage()
            self._window = MovingWindowRateLimiter(self._storage)

    def take(self, request: Request) -> None:
        """Count a search of a caller.

        Raises:
            Overloaded: there were too many; this one is not counted.
        """
        if self._rate is None:
            return
        self._forget()
        caller = _caller(request)
        if not self._window.hit(self._rate, caller):
            free = self._window.get_window_stats(self._rate, caller).reset_time - time.time()
            raise Overloaded(
                f"More than {self._rate} searches with pictures were asked for: ask more slowly.",
                max(1, math.ceil(free)),
            )

    def _forget(self) -> None:
        """Drop callers who have not asked for long, whom the library keeps by name."""
        events = self._storage.events
        if len(events) > _MOST_CALLERS:
            for caller in [caller for caller, times in list(events.items()) if not times]:
                events.pop(caller, None)


def _parsed(rate: str) -> RateLimitItem:
    try:
        found, *others = parse_many(rate)
    except ValueError as error:
        raise SettingsError(
            f"CAMSEARCH_SERVE_RATE is {rate!r}, which is no rate: write one as 20/second or "
            "500/minute."
        ) from error
    if others or found.amount < 1:
        raise SettingsError(
            f"CAMSEARCH_SERVE_RATE is {rate!r}: give one rate, of at least 1, such as 20/second."
        )
    return found


def _caller(request: Request) -> str:
    """Its name here; a hash, so that no secret is kept."""
    shown = value_of(request.headers, b"authorization")
    told = b"by address " + request.peer.encode() if shown is None else b"by right " + shown
    return hashlib.sha256(told).hexdigest()
