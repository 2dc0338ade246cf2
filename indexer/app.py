"""The Celery app: how tasks travel so that none is lost. Making it connects to nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import Celery
from kombu.transport import redis as transport
from kombu.transport import virtual

if TYPE_CHECKING:
    from indexer.settings import IndexerSettings

__all__ = ["make_app"]

_RESULT_SECONDS = 24 * 3600

# By themselves the queue's connections wait for ever: a worker whose line to Redis fell silent,
# as behind a firewall that forgot it, stayed up and took nothing any more.
_PATIENCE = {
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
}

_LOOK_SECONDS = 10.0
_LOCK_SECONDS = 30


class _Credit(transport.QoS):
    """Forgets a task that it could not say is done, so that the worker may take the next.

    By itself kombu keeps it in mind: with one task at a time, a worker whose connection failed
    just there stays up and never takes another (celery#8030). The task comes again after the
    visibility timeout, and is counted once.
    """

    def ack(self, delivery_tag: str) -> None:
        try:
            super().ack(delivery_tag)
        except self.channel.connection_errors:
            virtual.QoS.ack(self, delivery_tag)
            raise

    def reject(self, delivery_tag: str, requeue: bool = False) -> None:  # noqa: FBT002
        try:
            super().reject(delivery_tag, requeue)
        except self.channel.connection_errors:
            virtual.QoS.ack(self, delivery_tag)
            raise


def make_app(settings: IndexerSettings) -> Celery:
    """An app without tasks: enough to send them by name; `tasks.register` adds them.

    Args:
        settings: of the queue.
    """
    transport.Channel.QoS = _Credit
    app = Celery("camsearch", broker=settings.broker, backend=settings.broker, set_as_current=False)
    # Celery reads this in three places, and the shortest of all apps on one Redis counts.
    timeout = {"visibility_timeout": settings.visibility_timeout}
    app.conf.update(
        broker_transport_options=timeout | _restoring(settings) | _PATIENCE,
        result_backend_transport_options=timeout,
        visibility_timeout=settings.visibility_timeout,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        redis_backend_health_check_interval=10,
        redis_retry_on_timeout=True,
        redis_socket_keepalive=True,
        # JSON only: a pickled message may run anything.
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        result_expires=_RESULT_SECONDS,
        task_default_queue=settings.queue,
        # A task is done when it is done, not when it is taken.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        # One process owns the device: threads inside it overlap reading and writing.
        worker_pool="solo",
        worker_concurrency=1,
        worker_soft_shutdown_timeout=settings.soft_shutdown,
        worker_enable_soft_shutdown_on_idle=True,
        # A solo worker cannot stop a running task; coming twice does no harm.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
    )
    return app


def _restoring(settings: IndexerSettings) -> dict[str, float]:
    """How soon a task whose worker died comes back, once the visibility timeout has passed.

    Convention:
        By itself kombu looks once in 100 s, and the lock under which it looks is held for 300 s
        where the worker that holds it is killed meanwhile. Looking is one request that mostly
        finds nothing.
    """
    return {
        "unacked_restore_interval": min(_LOOK_SECONDS, settings.visibility_timeout / 5),
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": _LOCK_SECONDS,
    }
