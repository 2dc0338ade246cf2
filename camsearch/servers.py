"""Connect to the Elasticsearch and Redis of the settings."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from redis import Redis
from redis.backoff import EqualJitterBackoff
from redis.exceptions import ConnectionError as NoConnection
from redis.exceptions import RedisError
from redis.exceptions import TimeoutError as TooLate
from redis.retry import Retry

from descriptors.errors import CamsearchError, SettingsError
from es_mappings import indices
from es_mappings.elastic_client import Server, connect, without_password
from indexer.app import make_celery_app
from indexer.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elasticsearch import Elasticsearch

    from camsearch.settings import CommandSettings
    from descriptors.machine import Machine
    from es_mappings.elastic import ElasticGallery
    from indexer.enqueueing import Enqueuer
    from indexer.worker import GalleryWorker

__all__ = ["BrokerUnreachable", "broker_answers", "elastic", "enqueuer", "ledger"]
__all__ += ["elastic_gallery", "gallery_worker"]

_RETRIES = 8  # about 16 s
_LONGEST_WAIT = 5.0


class BrokerUnreachable(CamsearchError):
    """Redis does not answer."""


def elastic(settings: CommandSettings) -> Elasticsearch:
    """A client of Elasticsearch, after a first request.

    Raises:
        GalleryUnreachable: Elasticsearch does not answer.
        ContractError: it is too old, or of another major version than the client.
    """
    client = _client(settings)
    Server.of(client)
    return client


def _client(settings: CommandSettings) -> Elasticsearch:
    return connect(settings.elasticsearch, api_key=settings.api_key, ca_certs=settings.ca_certs)


def elastic_gallery(settings: CommandSettings, name: str) -> ElasticGallery:
    """Open a gallery, or one of its concrete indices, as workers write it.

    Raises:
        GalleryNotFound: there is no such gallery.
        GalleryUnreachable: Elasticsearch does not answer.
    """
    return indices.open_gallery(elastic(settings), name)


def ledger(settings: CommandSettings, retries: int = _RETRIES) -> Ledger:
    """The ledger in Redis; a request is retried while Redis does not answer.

    Raises:
        SettingsError: the URL is not valid.
    """
    try:
        redis = Redis.from_url(
            settings.broker,
            decode_responses=True,
            socket_timeout=10,
            socket_connect_timeout=5,
            health_check_interval=10,
            retry=Retry(EqualJitterBackoff(cap=_LONGEST_WAIT, base=0.1), retries),
            retry_on_error=[NoConnection, TooLate],
        )
    except ValueError as error:
        raise SettingsError(
            f"{without_password(settings.broker)!r} is not a valid Redis URL ({error}): write it "
            "as redis://localhost:6379/0 (CAMSEARCH_BROKER)."
        ) from error
    return Ledger(redis)


@contextmanager
def broker_answers(settings: CommandSettings) -> Iterator[None]:
    """Translate errors of Redis to `BrokerUnreachable`."""
    from kombu.exceptions import OperationalError

    try:
        yield
    except (RedisError, OperationalError) as error:
        raise BrokerUnreachable(
            f"Redis does not answer at {without_password(settings.broker)} ({error}): check that "
            "it is running and that CAMSEARCH_BROKER is correct."
        ) from error


def enqueuer(settings: CommandSettings) -> Enqueuer:
    """The sender of images to workers."""
    from indexer.enqueueing import Enqueuer

    return Enqueuer(make_celery_app(settings), ledger(settings), settings)


def gallery_worker(settings: CommandSettings, machine: Machine) -> GalleryWorker:
    """The worker of this process."""
    # Imported here, since it imports torch, which `status` does not need.
    from indexer.worker import GalleryWorker

    # Without a first request, since servers may start in any order.
    return GalleryWorker(_client(settings), ledger(settings), settings, machine)
