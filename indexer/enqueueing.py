"""Images into tasks of bounded size, throttled to the workers' pace; lost tasks are sent again."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kombu.exceptions import OperationalError
from kombu.utils import json  # has times, Decimal and UUID, as the queue has
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


def task_text(name: str, images: list[dict[str, Any]], named: Mapping[str, Any], queue: str) -> str:
    """A task that takes images, and perhaps more by name, as the ledger keeps it."""
    return str(json.dumps({"name": name, "args": [images], "kwargs": dict(named), "queue": queue}))


def new_run() -> str:
    """A name for a run, in order of time."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


@dataclass(frozen=True)
class Enqueuer:
    """Sends images to workers.

    Attributes:
        app: to send with.
        ledger: where the run is counted.
        settings: of the queue.
        sleep: waits; a test's own may not.
    """

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
        """Send images as tasks; waits while too many tasks wait.

        Args:
            sources: any number; they are read as a stream. One without a revision gets the
                time of this call, so that a later call wins over late tasks of an earlier one.
            gallery: name of a gallery, or of one of its concrete indices.
            run: of `new_run`.
            on_progress: told how the run stands, between tasks and while waiting.
            again, retry_rejects: see `IndexingPlan`.

        Returns:
            How many images were sent.

        Convention:
            A run whose sources end in an error, or that is stopped, is one of what was sent.
        """
        self.ledger.open_run(run, gallery)
        revision, sent = time.time_ns() // 1_000_000, 0
        try:
            for number, images in enumerate(self._chunks(sources, revision)):
                self._wait_for_room(run, on_progress)
                # Asked before it is sent, so that a run never seems over too early.
                chunk = f"{run}.{number}"
                named: dict[str, Any] = {"gallery": gallery, "run": run, "chunk": chunk}
                named |= {"again": again, "retry_rejects": retry_rejects}
                task = task_text(INDEX_IMAGES, images, named, self.settings.queue)
                self.ledger.ask(run, len(images), chunk, task)
                self.app.send_task(INDEX_IMAGES, args=[images], kwargs=named, ignore_result=True)
                sent += len(images)
                self._tell(run, on_progress)
        finally:
            self.ledger.close_run(run)
        return sent

    def follow(
        self, run: str, on_progress: Callable[[RunState], None], seconds: float | None = None
    ) -> RunState | None:
        """Wait until a run is over.

        Args:
            run: its name.
            on_progress: told how it stands, several times a second.
            seconds: to wait at most; None for ever.

        Returns:
            How it stands at the end.
        """
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
        # Taken ones, too: while Elasticsearch is away workers hold tasks that will be tried again.
        while (
            self.ledger.waiting(self.settings.queue) + self.ledger.taken()
            >= self.settings.max_waiting
        ):
            self._tell(run, on_progress)
            self.sleep(_POLL_SECONDS)

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
            # An id twice would be one document and two images: what comes of each is counted.
            if chunk and (full or source.id in ids):
                yield chunk
                chunk, size, ids = [], 0, set()
            chunk.append(image)
            ids.add(source.id)
            size += length
        if chunk:
            yield chunk


def _image(source: Source, revision: int) -> dict[str, Any]:
    """A source as a task takes it."""
    image: dict[str, Any] = {"id": source.id, "uri": source.uri, "meta": dict(source.meta)}
    image["revision"] = source.revision or revision
    if source.problem is not None:
        image["problem"] = source.problem.reason
    return image


class Resender:
    """Looks from time to time whether runs wait for tasks that are nowhere, and sends them again.

    Redis takes a task out of its list and then sends it; the worker notes that it has it a moment
    later. A worker that is killed between the two, or a line that dies under the answer, loses
    it: no list holds it then, and no visibility timeout brings it back. The ledger still does.

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
