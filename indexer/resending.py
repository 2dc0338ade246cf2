"""Tasks that Redis handed over and that nobody got are sent again.

Redis takes a task out of its list and then sends it; the worker notes that it has it a moment
later. A worker that is killed between the two, or a line that dies under the answer, loses it:
no list holds it then, and no visibility timeout brings it back. The ledger still does.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any

from kombu.exceptions import OperationalError
from kombu.utils import json  # has times, Decimal and UUID, as the queue has
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from celery import Celery

    from indexer.ledger import Ledger
    from indexer.settings import IndexerSettings

__all__ = ["Resender", "task_text"]

_LOOK_SECONDS = 60.0

_log = logging.getLogger("camsearch")


def task_text(name: str, images: list[dict[str, Any]], named: Mapping[str, Any], queue: str) -> str:
    """A task that takes pictures, and perhaps more by name, as the ledger keeps it."""
    return str(json.dumps({"name": name, "args": [images], "kwargs": dict(named), "queue": queue}))


class Resender:
    """Looks from time to time whether runs wait for tasks that are nowhere.

    Convention:
        It can be sure only while the queue is empty and no worker has a task; and twice in a
        row, since a task on its way from one to the other is in neither for a moment. Were it
        wrong, the task would be done twice and counted once.
    """

    def __init__(self, app: Celery, ledger: Ledger, settings: IndexerSettings) -> None:
        """Put the parts together; `start` begins to look."""
        self._app, self._ledger, self._queue = app, ledger, settings.queue
        self._pause = min(_LOOK_SECONDS, settings.visibility_timeout)
        self._missed: set[str] = set()

    def start(self) -> None:
        """Look from a thread of its own, until the process ends."""
        threading.Thread(target=self._watch, name="resend", daemon=True).start()

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._pause):
            try:
                self.look()
            except (RedisError, OperationalError) as error:
                _log.debug("Cannot look for lost tasks now: %s", error)

    def look(self) -> int:
        """Look once; returns how many tasks were sent again."""
        busy = self._ledger.waiting(self._queue) or self._ledger.taken()
        there = {} if busy else self._ours()
        lost = self._missed & set(there)
        self._missed = set(there)
        if not lost or not self._ledger.may_resend(self._pause):
            return 0
        for chunk in sorted(lost):
            task = there[chunk]
            self._app.send_task(
                task["name"],
                args=task["args"],
                kwargs=task["kwargs"],
                queue=task["queue"],
                ignore_result=True,
            )
        _log.warning("%d tasks were lost on their way and are sent again.", len(lost))
        self._missed = set()
        return len(lost)

    def _ours(self) -> dict[str, dict[str, Any]]:
        """Open tasks of this queue: whether another is empty we do not know."""
        tasks = {chunk: json.loads(text) for chunk, text in self._ledger.open_tasks().items()}
        return {chunk: task for chunk, task in tasks.items() if task["queue"] == self._queue}
