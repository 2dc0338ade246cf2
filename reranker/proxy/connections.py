"""A pool of connections to Elasticsearch."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from reranker.proxy.connection import BrokenOff, Connection

if TYPE_CHECKING:
    import ssl

__all__ = ["Connections"]

# Shorter than the idle timeout of servers and load balancers, so that the proxy closes first.
_IDLE_S = 15.0


class Connections:
    """A pool without a limit of its own: the server limits concurrent requests."""

    def __init__(self, host: str, port: int, tls: ssl.SSLContext | None, connect_s: float) -> None:
        """Args: host and port; tls, None for plain HTTP; connect_s, the timeout of connecting."""
        self._host, self._port, self._tls, self._connect_s = host, port, tls, connect_s
        self._idle: list[Connection] = []
        self._keeps = True

    async def take(self) -> Connection:
        """An open connection, reused or new.

        Raises:
            BrokenOff: it cannot connect, or not in time.
        """
        now = asyncio.get_running_loop().time()
        while self._idle:
            kept = self._idle.pop()
            if kept.is_open and now - kept.idle_since < _IDLE_S:
                return kept
            kept.close()
        return await self.new()

    async def new(self) -> Connection:
        """A new connection.

        Raises:
            BrokenOff: it cannot connect, or not in time.
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
        """Finish the exchange, and keep the connection if it can be reused."""
        if not connection.end():
            return
        if self._keeps:
            connection.idle_since = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            connection.close()

    def close(self) -> None:
        """Close idle connections now, and used ones when they are put back.

        Convention:
            Call it before the loop ends: uvloop waits for open connections.
        """
        self._keeps = False
        for connection in self._idle:
            connection.close()
        self._idle.clear()
