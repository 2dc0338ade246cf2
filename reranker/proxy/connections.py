"""Connections to Elasticsearch, kept between requests."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from reranker.proxy.connection import BrokenOff, Connection

if TYPE_CHECKING:
    import ssl

__all__ = ["Connections"]

# Shorter than servers and balancers keep theirs, so that it is we who close.
_IDLE_S = 15.0


class Connections:
    """As many as there are requests at the same time: the callers' server bounds both."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, connect_s: float) -> None:
        """Args: where to, with which certificates (None for plain HTTP), and how long to try."""
        self._host, self._port, self._tls, self._connect_s = host, port, tls, connect_s
        self._idle: list[Connection] = []
        self._keeps = True

    async def take(self) -> Connection:
        """One that is open, kept or new.

        Raises:
            BrokenOff: nobody listens there, or not in time.
        """
        now = asyncio.get_running_loop().time()
        while self._idle:
            kept = self._idle.pop()
            if kept.is_open and now - kept.idle_since < _IDLE_S:
                return kept
            kept.close()
        return await self.new()

    async def new(self) -> Connection:
        """One that has carried nothing yet.

        Raises:
            BrokenOff: nobody listens there, or not in time.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_s):
                _, connection = await loop.create_connection(
                    Connection, self._host, self._port, ssl=self._tls
                )
        except (OSError, TimeoutError) as error:
            raise BrokenOff(f"No connection ({type(error).__name__}).") from error
        return connection

    def put_back(self, connection: Connection) -> None:
        """After an exchange, however far it came."""
        if not connection.end():
            return
        if self._keeps:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """All that are kept, and those in use when they are put back.

        Convention:
            To be called on the loop before it ends: uvloop waits for what is left open.
        """
        self._keeps = False
        for connection in self._idle:
            connection.close()
        self._idle.clear()
