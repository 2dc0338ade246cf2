"""Send images as tasks of bounded size, throttled to the workers' pace; resend lost tasks."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kombu.exceptions import OperationalError
from kombu.utils import json  # encodes datetime, Decimal and UUID, as the queue does
from redis.exceptions import RedisError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from celery import Celery

    from indexer.ledger import Ledger, RunState
    from indexer.settings import IndexerSettings
    from indexer.sources import Source

__all__ = ["INDEX_IMAGES", "Enqueuer", "Resender", "new_run", "task_text"]

INDEX_IMAGES = "camsearch.index_images"

_MAX_BYTES = 512 * 1024  # of a task's message: metadata may be long
_POLL_SECONDS = 0.25
_LOOK_SECONDS = 60.0

_log = logging.getLogger("camsearch")


def task_text(images: list[dict[str, Any]], named: Mapping[str, Any], queue: str) -> str:
    """A task `index_images` as JSON for the ledger."""
    task = {"name": INDEX_IMAGES, "args": [images], "kwargs": dict(named), "queue": queue}
    return str(json.dumps(task))


def new_run() -> str:
    """A unique run name; names sort by time."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


@dataclass(frozen=True)
class Enqueuer:
    """Sends images to workers. `sleep` can be replaced in tests."""

    app: Celery
    ledger: Ledger
    settings: IndexerSettings
    sleep: Callable[[float], None] = time.sleep

    def enqueue(
        self,
        sources: Iterable[Source],
        gallery: str,
        run: str,
        on_progress: Callable[[RunState], None] = lambda _: None,
        *,
        again: bool = False,
        retry_rejects: bool = False,
    ) -> int:
        """Send images as tasks; blocks while too many tasks are pending.

        Args:
            sources: read as a stream. Sources without a revision get the time of this call, so
                that a later call wins over late tasks of an earlier one.
            gallery: name of a gallery, or of one of its concrete indices.
            run: see `new_run`.
            on_progress: called with the run's state after each task and while blocked.
            again, retry_rejects: see `IndexingPlan`.

        Returns:
            Number of images sent.

        Convention:
            An interrupted run is closed with the images sent so far.
        """
        self.ledger.open_run(run, gallery)
        revision, sent = time.time_ns() // 1_000_000, 0
        shared = {"gallery": gallery, "run": run, "again": again, "retry_rejects": retry_rejects}
        try:
            for number, images in enumerate(self._chunks(sources, revision)):
                self._wait_for_room(run, on_progress)
                self._send(images, shared | {"chunk": f"{run}.{number}"})
                sent += len(images)
                self._tell(run, on_progress)
        finally:
            self.ledger.close_run(run)
        return sent

    def follow(
        self, run: str, on_progress: Callable[[RunState], None], seconds: float | None = None
    ) -> RunState | None:
        """Wait until a run is over, for at most `seconds`, and return its last state."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:
            state = self.ledger.state(run)
            if state is None or state.over:
                return state
            on_progress(state)
            if deadline is not None and time.monotonic() > deadline:
                return state
            self.sleep(_POLL_SECONDS)

    def _wait_for_room(self, run: str, on_progress: Callable[[RunState], None]) -> None:
        # Includes taken tasks: while Elasticsearch is down, workers hold tasks for a retry.
        while (
            self.ledger.waiting(self.settings.queue) + self.ledger.taken()
            >= self.settings.max_waiting
        ):
            self._tell(run, on_progress)
            self.sleep(_POLL_SECONDS)

    def _send(self, images: list[dict[str, Any]], named: dict[str, Any]) -> None:
        # Counted before it is sent, so that the run does not appear finished too early.
        task = task_text(images, named, self.settings.queue)
        self.ledger.ask(named["run"], len(images), named["chunk"], task)
        self.app.send_task(INDEX_IMAGES, args=[images], kwargs=named, ignore_result=True)

    def _tell(self, run: str, on_progress: Callable[[RunState], None]) -> None:
        state = self.ledger.state(run)
        if state is not None:
            on_progress(state)

    def _chunks(self, sources: Iterable[Source], revision: int) -> Iterator[list[dict[str, Any]]]:
        chunk: list[dict[str, Any]] = []
        ids: set[str] = set()
        size = 0
        for source in sources:
            image = _image(source, revision)
            length = len(json.dumps(image))
            full = len(chunk) >= self.settings.chunk or size + length > _MAX_BYTES
            # Ids are unique within a task, since its outcome is counted per id.
            if chunk and (full or source.id in ids):
                yield chunk
                chunk, size, ids = [], 0, set()
            chunk.append(image)
            ids.add(source.id)
            size += length
        if chunk:
            yield chunk


def _image(source: Source, revision: int) -> dict[str, Any]:
    """A source in the JSON form of a task."""
    image: dict[str, Any] = {"id": source.id, "uri": source.uri, "meta": dict(source.meta)}
    image["revision"] = source.revision or revision
    if source.problem is not None:
        image["problem"] = source.problem.reason
    return image


class Resender:
    """Checks periodically for lost tasks of open runs, and sends them again.

    Redis removes a task from the queue before the worker marks it as unacknowledged. If the
    worker or its connection dies in between, only the ledger still has the task.

    Convention:
        A task counts as lost if it is open in two checks in a row while the queue is empty and
        no worker has a task. A mistake is harmless: a task done twice is counted once.
    """

    def __init__(self, app: Celery, ledger: Ledger, settings: IndexerSettings) -> None:
        """Keep the parts; `start` begins to check."""
        self._app, self._ledger, self._queue = app, ledger, settings.queue
        self._pause = min(_LOOK_SECONDS, settings.visibility_timeout)
        self._missed: set[str] = set()

    def start(self) -> None:
        """Check in a daemon thread until the process ends."""
        threading.Thread(target=self._watch, name="resend", daemon=True).start()

    def _watch(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._pause):
            try:
                self.look()
            except (RedisError, OperationalError) as error:
                _log.debug("Cannot look for lost tasks now: %s", error)

    def look(self) -> int:
        """Check once; returns the number of tasks sent again."""
        busy = self._ledger.waiting(self._queue) or self._ledger.taken()
        open_ = {} if busy else self._open_tasks()
        lost = self._missed & set(open_)
        self._missed = set(open_)
        if not lost or not self._ledger.may_resend(self._pause):
            return 0
        for chunk in sorted(lost):
            task = open_[chunk]
            self._app.send_task(task.pop("name"), **task, ignore_result=True)
        _log.warning("%d tasks were lost on their way and are sent again.", len(lost))
        self._missed = set()
        return len(lost)

    def _open_tasks(self) -> dict[str, dict[str, Any]]:
        """The open tasks of this queue; other queues may not be empty."""
        tasks = {chunk: json.loads(text) for chunk, text in self._ledger.open_tasks().items()}
        return {chunk: task for chunk, task in tasks.items() if task["queue"] == self._queue}
