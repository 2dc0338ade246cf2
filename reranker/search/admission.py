"""Who is let in: so many at a time, so many waiting, so often a caller; the rest is refused."""

from __future__ import annotations

import asyncio
import hashlib
import math
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from limits import RateLimitItem, parse_many
from limits.storage import MemoryStorage
from limits.strategies import MovingWindowRateLimiter

from descriptors.errors import SettingsError
from reranker.errors import Overloaded
from reranker.http.headers import value_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from reranker.http.exchange import Request

__all__ = ["Gate", "RateLimit"]

_MAX_CALLERS = 10_000


class Gate:
    """Lets some in at the same time and keeps a bounded number waiting."""

    def __init__(self, inside: int, waiting: int) -> None:
        """Args: inside and waiting are the most that may be either at the same time."""
        self._free, self._max_waiting = asyncio.Semaphore(inside), waiting
        self.waiting = 0

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Inside.

        Raises:
            Overloaded: too many wait already.
        """
        if self.waiting >= self._max_waiting and self._free.locked():
            raise Overloaded(
                f"{self.waiting} searches wait to be re-ranked already: try again in a second.", 1
            )
        self.waiting += 1
        try:
            await self._free.acquire()
        finally:
            self.waiting -= 1
        try:
            yield
        finally:
            self._free.release()


class RateLimit:
    """So many in so long a time, a caller, counted in this process.

    A caller is who shows the same ``Authorization``; without one, who calls from the same address.
    """

    def __init__(self, rate: str, storage: MemoryStorage | None = None) -> None:
        """Args: rate such as ``20/second``, empty for any number; storage of counts, or a new one.

        Raises:
            SettingsError: it is none.
        """
        self._rate = _parsed(rate) if rate else None
        self._storage = storage or MemoryStorage()
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
                f"More than {self._rate} searches with images were asked for: ask more slowly.",
                max(1, math.ceil(free)),
            )

    def _forget(self) -> None:
        """Drop callers who have not asked for long, whom the library keeps by name."""
        events = self._storage.events
        if len(events) > _MAX_CALLERS:
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
