"""So many at a time, so many waiting, the rest refused."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from reranker.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ["Gate"]


class Gate:
    """Lets some in at the same time and keeps a bounded number waiting."""

    def __init__(self, inside: int, waiting: int) -> None:
        """Args: inside and waiting are the most that may be either at the same time."""
        self._free, self._most_waiting = asyncio.Semaphore(inside), waiting
        self.waiting = 0

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Inside.

        Raises:
            Overloaded: too many wait already.
        """
        if self.waiting >= self._most_waiting and self._free.locked():
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
