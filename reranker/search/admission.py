"""Limits: concurrent work with a bounded queue, and a rate per caller."""

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

__all__ = ["Gate", "RateLimit", "caller_of"]

_MAX_CALLERS = 10_000


class Gate:
    """A semaphore with a bounded queue."""

    def __init__(self, inside: int, waiting: int) -> None:
        """Args: inside and waiting limit how many may hold a slot, and wait for one."""
        self._free, self._max_waiting = asyncio.Semaphore(inside), waiting
        self.waiting = 0

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Hold a slot.

        Raises:
            Overloaded: the queue is full.
        """
        if self.waiting >= self._max_waiting and self._free.locked():
            raise Overloaded(
                f"{self.waiting} requests are already waiting: try again in a second.", 1
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
    """A rate limit per caller, counted in this process.

    Callers are told apart by ``Authorization``, and without it by address.
    """

    def __init__(self, rate: str, storage: MemoryStorage | None = None) -> None:
        """Args: rate such as ``20/second``, empty for no limit; storage of counts.

        Raises:
            SettingsError: the rate is not valid.
        """
        self._rate = _parsed(rate) if rate else None
        self._storage = storage or MemoryStorage()
        self._window = MovingWindowRateLimiter(self._storage)

    def take(self, request: Request) -> None:
        """Count a search of a caller.

        Raises:
            Overloaded: the limit is reached; the search is not counted.
        """
        if self._rate is None:
            return
        self._forget()
        caller = caller_of(request)
        if not self._window.hit(self._rate, caller):
            free = self._window.get_window_stats(self._rate, caller).reset_time - time.time()
            raise Overloaded(
                f"The rate limit of {self._rate} for image searches is reached: slow down.",
                max(1, math.ceil(free)),
            )

    def _forget(self) -> None:
        """Drop idle callers, whom the library would keep forever."""
        events = self._storage.events
        if len(events) > _MAX_CALLERS:
            for caller in [caller for caller, times in list(events.items()) if not times]:
                events.pop(caller, None)


def _parsed(rate: str) -> RateLimitItem:
    try:
        found, *others = parse_many(rate)
    except ValueError as error:
        raise SettingsError(
            f"CAMSEARCH_SERVE_RATE is {rate!r}, which is not a rate: write one like 20/second or "
            "500/minute."
        ) from error
    if others or found.amount < 1:
        raise SettingsError(
            f"CAMSEARCH_SERVE_RATE is {rate!r}: give one rate, of at least 1, such as 20/second."
        )
    return found


def caller_of(request: Request) -> str:
    """A key for the caller, hashed so that no secret is kept."""
    shown = value_of(request.headers, b"authorization")
    told = b"by address " + request.peer.encode() if shown is None else b"by right " + shown
    return hashlib.sha256(told).hexdigest()
