"""One of a shared Redis' numbered databases for one test.

All keys stand in the database of the address. Publish and subscribe are the whole server's; kombu
puts the number into the names of its channels, so that Celery's tests do not hear each other.
"""

from __future__ import annotations

import random
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.services.errors import ServiceMissing
from tests.services.locks import try_alone
from tests.services.redis import connect
from tests.services.settings import REDIS

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from typing import TextIO

    from tests.services.sharing import Shared


@contextmanager
def lent(server: Shared, folder: Path) -> Iterator[str]:
    """The address of an empty database, emptied again after.

    Raises:
        ServiceMissing: all are taken, or hold data that are not ours to delete.
    """
    url, hold = _take(server, folder)
    with hold:
        try:
            yield url
        finally:
            _empty(url)


def _take(server: Shared, folder: Path) -> tuple[str, TextIO]:
    """Held by a lock on a file of its number, so that no two workers have the same."""
    for number in _numbers(server):
        hold = try_alone(folder / f"database-{number}.lock")
        if hold is not None:
            url = urlsplit(server.url)._replace(path=f"/{number}").geturl()
            _empty(url)  # of what a test left that was killed, or that something of it wrote after
            return url, hold
    raise ServiceMissing(
        f"All databases of the Redis at {server.url} are in use: empty one that is not needed, or "
        f"take {REDIS} out of the environment."
    )


def _numbers(server: Shared) -> list[int]:
    """All but 0, which a test gets that forgets to say which; of a given server the empty ones.

    Drawn by chance: what an earlier test left running hardly writes into the next one's.
    """
    with connect(server.url) as client:
        count = int(client.config_get("databases")["databases"])
        filled = set() if server.ours else set(client.info("keyspace"))
    return [n for n in random.sample(range(1, count), count - 1) if f"db{n}" not in filled]


def _empty(url: str) -> None:
    with connect(url) as client:
        client.flushdb()
