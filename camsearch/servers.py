"""Elasticsearch and Redis as the settings name them, and what is put together from them."""

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
from indexer.app import make_app
from indexer.ledger import Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator

    from celery import Celery
    from elasticsearch import Elasticsearch

    from camsearch.settings import CommandSettings
    from descriptors.machine import Machine
    from es_mappings.elastic import ElasticGallery
    from indexer.enqueueing import Enqueuer
    from indexer.worker import GalleryWorker

__all__ = ["BrokerUnreachable", "app_of", "broker_answers", "elastic", "enqueuer", "ledger"]
__all__ += ["open_gallery", "worker"]

_TRIES = 8
_LONGEST_WAIT = 5.0


class BrokerUnreachable(CamsearchError):
    """Redis does not answer."""


def elastic(settings: CommandSettings) -> Elasticsearch:
    """A client of the Elasticsearch that the settings name, which has answered once.

    Raises:
        GalleryUnreachable: it does not answer.
        ContractError: it is too old, or of another major version than this client.
    """
    client = _client(settings)
    Server.of(client)
    return client


def _client(settings: CommandSettings) -> Elasticsearch:
    return connect(settings.elasticsearch, api_key=settings.api_key, ca_certs=settings.ca_certs)


def open_gallery(settings: CommandSettings, name: str) -> ElasticGallery:
    """The gallery of a name as workers write it, or one of its concrete indices.

    Raises:
        GalleryNotFound: there is none.
        GalleryUnreachable: Elasticsearch does not answer.
    """
    return indices.open_gallery(elastic(settings), name)


def ledger(settings: CommandSettings) -> Ledger:
    """The ledger, in the Redis that the settings name; tries again for some time.

    Raises:
        SettingsError: the address is none.
    """
    try:
        redis = Redis.from_url(
            settings.broker,
            decode_responses=True,
            socket_timeout=10,
            socket_connect_timeout=5,
            health_check_interval=10,
            retry=Retry(EqualJitterBackoff(cap=_LONGEST_WAIT, base=0.1), _TRIES),
            retry_on_error=[NoConnection, TooLate],
        )
    except ValueError as error:
        raise SettingsError(
            f"{without_password(settings.broker)!r} is no address of a Redis ({error}): write it as "
            "redis://localhost:6379/0 (CAMSEARCH_BROKER)."
        ) from error
    return Ledger(redis)


@contextmanager
def broker_answers(settings: CommandSettings) -> Iterator[None]:
    """Say an error of Redis in our own words.

    Raises:
        BrokerUnreachable: if there is one.
    """
    from kombu.exceptions import OperationalError

    try:
        yield
    except (RedisError, OperationalError) as error:
        raise BrokerUnreachable(
            f"Redis does not answer at {without_password(settings.broker)} ({error}): check that "
            "it runs and that CAMSEARCH_BROKER names it."
        ) from error


def app_of(settings: CommandSettings) -> Celery:
    """The Celery app, without tasks."""
    return make_app(settings)


def enqueuer(settings: CommandSettings) -> Enqueuer:
    """Who sends images to workers."""
    from indexer.enqueueing import Enqueuer

    return Enqueuer(make_app(settings), ledger(settings), settings)


def worker(settings: CommandSettings, machine: Machine) -> GalleryWorker:
    """Who works tasks off, in this process."""
    # Here, since it loads torch, which to ask for a status needs nobody.
    from indexer.worker import GalleryWorker

    # Not asked whether it answers: servers start in any order, and a task waits for it.
    return GalleryWorker(_client(settings), ledger(settings), settings, machine)
