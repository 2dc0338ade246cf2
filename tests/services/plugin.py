"""Fixtures for tests that talk to Elasticsearch or Redis.

    elasticsearch_url    the run's Elasticsearch, shared by all workers and tests
    index_prefix         this test's own: its indices start so and are deleted after it
    redis_url            the run's Redis, shared likewise; use it for its address only
    redis_db_url         a database of it that is this test's own, emptied after it
    own_elasticsearch    makes servers of this test's own, to be killed and restarted
    own_redis            the same

A test that asks for any of them has the marker `services`. Where a server cannot be had, the test
is skipped and says what to do, or fails where CI is set. What acts on a whole server, such as
FLUSHALL or cluster settings, belongs on a server of the test's own.
"""

from __future__ import annotations

import uuid
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import pytest

from tests.services import databases, elasticsearch, redis
from tests.services.errors import ServiceMissing
from tests.services.settings import ServiceSettings
from tests.services.sharing import Shared, share

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.services.elasticsearch import ElasticsearchServer
    from tests.services.redis import RedisServer
    from tests.services.server import Server

_SETTINGS = pytest.StashKey[ServiceSettings]()
_OURS = {"elasticsearch_url", "index_prefix", "redis_url", "redis_db_url"}
_OURS |= {"own_elasticsearch", "own_redis"}


def pytest_configure(config: pytest.Config) -> None:
    """Reads the environment before the tests' own fixtures clear it of our variables."""
    config.stash[_SETTINGS] = ServiceSettings.from_environment()
    config.addinivalue_line("markers", "services: needs a real Elasticsearch or Redis")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marked before `-m` chooses: who asks for a server cannot forget to say so."""
    for item in items:
        if _OURS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker("services")


@contextmanager
def skip_where_missing(settings: ServiceSettings) -> Iterator[None]:
    """Skips the test where something cannot be had, or fails it where CI is set."""
    try:
        yield
    except ServiceMissing as missing:
        if settings.ci:
            reason = f"CI is set, so this is no reason to skip: {missing}"
            raise pytest.fail.Exception(reason, pytrace=False) from None
        raise pytest.skip.Exception(str(missing)) from None


@pytest.fixture(scope="session")
def _service_settings(request: pytest.FixtureRequest) -> ServiceSettings:
    return request.config.stash[_SETTINGS]


@pytest.fixture(scope="session")
def _services_folder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The run's, not the worker's: a worker's own temporary folder is below that of the run."""
    own = tmp_path_factory.getbasetemp()
    run = own.parent if hasattr(request.config, "workerinput") else own
    return run / "services"


def _shared(
    folder: Path, given_or_own: Callable[[Path, ServiceSettings], Server], settings: ServiceSettings
) -> Iterator[Shared]:
    with skip_where_missing(settings):
        shared = share(folder, partial(given_or_own, settings=settings))
    yield shared
    shared.close()


@pytest.fixture(scope="session")
def _shared_elasticsearch(
    _service_settings: ServiceSettings, _services_folder: Path
) -> Iterator[Shared]:
    folder = _services_folder / "elasticsearch"
    yield from _shared(folder, elasticsearch.given_or_own, _service_settings)


@pytest.fixture(scope="session")
def _shared_redis(_service_settings: ServiceSettings, _services_folder: Path) -> Iterator[Shared]:
    yield from _shared(_services_folder / "redis", redis.given_or_own, _service_settings)


@pytest.fixture(scope="session")
def elasticsearch_url(_shared_elasticsearch: Shared) -> str:
    """The address of the run's Elasticsearch, such as http://127.0.0.1:20123."""
    return _shared_elasticsearch.url


@pytest.fixture(scope="session")
def redis_url(_shared_redis: Shared) -> str:
    """The address of the run's Redis, such as redis://127.0.0.1:20124/0."""
    return _shared_redis.url


@pytest.fixture
def index_prefix(elasticsearch_url: str) -> Iterator[str]:
    """What the names of this test's indices start with; these are deleted after it."""
    prefix = f"test-{uuid.uuid4().hex[:12]}-"
    yield prefix
    elasticsearch.delete_indices(elasticsearch_url, prefix)


@pytest.fixture
def redis_db_url(_shared_redis: Shared, _services_folder: Path) -> Iterator[str]:
    """The address of a database that no other test of this run uses meanwhile."""
    with databases.lent(_shared_redis, _services_folder / "redis") as url:
        yield url


ServerT = TypeVar("ServerT", bound="Server")


def _makers(
    own: Callable[[Path, ServiceSettings], ServerT],
    settings: ServiceSettings,
    folders: pytest.TempPathFactory,
) -> Iterator[Callable[[], ServerT]]:
    with ExitStack() as started:

        def make() -> ServerT:
            with skip_where_missing(settings):
                server = own(folders.mktemp("server"), settings)
            return started.enter_context(server)

        yield make


@pytest.fixture
def own_elasticsearch(
    _service_settings: ServiceSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], ElasticsearchServer]]:
    """Starts an Elasticsearch for this test alone, each call another; some seconds each."""
    yield from _makers(elasticsearch.own, _service_settings, tmp_path_factory)


@pytest.fixture
def own_redis(
    _service_settings: ServiceSettings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[], RedisServer]]:
    """Starts a Redis for this test alone, each call another."""
    yield from _makers(redis.own, _service_settings, tmp_path_factory)
