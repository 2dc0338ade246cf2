"""The Celery app, configured so that no task is lost. Creating it opens no connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

from celery import Celery
from kombu.transport import redis as transport
from kombu.transport import virtual

if TYPE_CHECKING:
    from indexer.settings import IndexerSettings

__all__ = ["make_celery_app"]

_RESULT_SECONDS = 24 * 3600

# Without time-outs a worker hangs when a firewall drops its connection to Redis silently.
_TIMEOUTS = {
    "socket_timeout": 5,
    "socket_connect_timeout": 5,
    "socket_keepalive": True,
    "health_check_interval": 10,
}

_LOOK_SECONDS = 10.0
_LOCK_SECONDS = 30


class _Credit(transport.QoS):
    """Drops a task whose acknowledgement failed, so that the worker can take the next.

    kombu keeps counting it as unacknowledged, and a worker with a prefetch of one then never
    takes another (celery#8030). The task is redelivered after the visibility timeout.
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


def make_celery_app(settings: IndexerSettings) -> Celery:
    """An app that can send tasks by name; `tasks.register` adds the tasks of a worker."""
    transport.Channel.QoS = _Credit
    app = Celery("camsearch", broker=settings.broker, backend=settings.broker, set_as_current=False)
    # Celery reads this in three places; the shortest of all apps on one Redis applies.
    timeout = {"visibility_timeout": settings.visibility_timeout}
    app.conf.update(
        broker_transport_options=timeout | _restoring(settings) | _TIMEOUTS,
        result_backend_transport_options=timeout,
        visibility_timeout=settings.visibility_timeout,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        redis_backend_health_check_interval=10,
        redis_retry_on_timeout=True,
        redis_socket_keepalive=True,
        # Unpickling a message can run any code.
        task_serializer="json",
        result_serializer="json",
        accept_content=["json"],
        result_expires=_RESULT_SECONDS,
        task_default_queue=settings.queue,
        # Acknowledge a task when it is finished, not when it is received.
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        worker_prefetch_multiplier=1,
        # One process owns the device; its threads overlap reading and writing.
        worker_pool="solo",
        worker_concurrency=1,
        worker_soft_shutdown_timeout=settings.soft_shutdown,
        worker_enable_soft_shutdown_on_idle=True,
        # A solo worker cannot stop a running task, and tasks are idempotent.
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
    )
    return app


def _restoring(settings: IndexerSettings) -> dict[str, float]:
    """Restore the tasks of dead workers soon after the visibility timeout.

    kombu's defaults: a check every 100 s, under a lock that a killed worker leaves for 300 s.
    """
    return {
        "unacked_restore_interval": min(_LOOK_SECONDS, settings.visibility_timeout / 5),
        "unacked_restore_throttle": 1,
        "unacked_mutex_expire": _LOCK_SECONDS,
    }
