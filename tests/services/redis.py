"""A Redis for the tests: one given by its address, in Docker, or the machine's redis-server."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, ClassVar

from tests.services import docker
from tests.services.errors import ServiceBroken, ServiceMissing
from tests.services.recipe import Recipe, data_folder, free_port
from tests.services.server import KeptProcess, Server
from tests.services.settings import REDIS
from tests.support.clock import HANG_S

if TYPE_CHECKING:
    from pathlib import Path

    from redis import Redis

    from tests.services.settings import ServiceSettings

_OPTIONS = {
    "appendonly": "yes",
    # Written before each answer, so that what a test was told is there after a kill, however
    # busy the disk; the default may be behind by a second or two.
    "appendfsync": "always",
    "save": "",
    "maxmemory-policy": "noeviction",
    "databases": "1024",  # a test has one to itself, see `plugin`
}


def _words(options: dict[str, str]) -> tuple[str, ...]:
    return tuple(word for key, value in options.items() for word in (f"--{key}", value))


# The image is pinned to a series and not to a release: any of them will do.
IMAGE = docker.Image(
    name="redis:7.4-alpine", port=6379, data="/data", command=("redis-server", *_words(_OPTIONS))
)


def connect(url: str) -> Redis:
    """A client that does not try again: whoever waits for a server asks again himself."""
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis.from_url(url, socket_timeout=HANG_S, retry=Retry(NoBackoff(), 0))


class RedisServer(Server):
    """Its `url` names database 0."""

    name: ClassVar[str] = "Redis"

    def answers(self) -> bool:
        from redis.exceptions import RedisError

        try:
            with connect(self.url) as client:
                return bool(client.ping())
        except RedisError:  # also while it still loads its data
            return False


def given_or_own(folder: Path, settings: ServiceSettings) -> RedisServer:
    """The server of the environment's address, else one of our own, not yet started."""
    if settings.redis is None:
        return own(folder, settings)
    given = RedisServer(settings.redis)
    if not given.answers():
        raise ServiceBroken(
            f"No Redis answers at {given.url}: start it, or take {REDIS} out of the environment."
        )
    return given


def own(folder: Path, settings: ServiceSettings) -> RedisServer:
    """A server of our own, not yet started, with everything it writes in the folder.

    Raises:
        ServiceMissing: neither Docker nor redis-server is there.
    """
    del settings  # as for Elasticsearch, which has a version to choose
    port = free_port()
    return RedisServer(f"redis://127.0.0.1:{port}/0", KeptProcess(folder, _recipe(folder, port)))


def _recipe(folder: Path, port: int) -> Recipe:
    if docker.can_run(IMAGE.name):
        return docker.container(IMAGE, port)
    program = shutil.which("redis-server")
    if program is None:
        raise ServiceMissing(
            "No Redis here: run `python -m tests.services install`, start Docker, or give the "
            f"address of a running one in {REDIS}."
        )
    data = data_folder(folder)
    place = {"bind": "127.0.0.1", "port": str(port), "dir": str(data)}
    return Recipe(start=(program, *_words(place | _OPTIONS)), forget=("rm", "-rf", str(data)))
