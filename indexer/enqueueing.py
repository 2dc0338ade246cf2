"""Any number of pictures into tasks of bounded size, no faster than they are worked off."""

from __future__ import annotations

import json
import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from indexer.resending import task_text
from indexer.tasks import INDEX_IMAGES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from celery import Celery

    from indexer.ledger import Ledger, RunState
    from indexer.settings import IndexerSettings
    from indexer.sources import Source

__all__ = ["Enqueuer", "new_run"]

_MOST_BYTES = 512 * 1024  # of a task's message: metadata may be long
_POLL_SECONDS = 0.25


def new_run() -> str:
    """A name for a run, in order of time."""
    return f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"


@dataclass(frozen=True)
class Enqueuer:
    """Sends pictures to workers.

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
        """Send pictures as tasks; waits while too many tasks wait.

        Args:
            sources: any number; they are read as a stream. One without a revision gets the
                time of this call, so that a later call wins over late tasks of an earlier one.
            gallery: name of a gallery, or of one of its concrete indices.
            run: of `new_run`.
            on_progress: told how the run stands, between tasks and while waiting.
            again, retry_rejects: see `IndexingPlan`.

        Returns:
            How many pictures were sent.

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
            >= self.settings.most_waiting
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
            full = len(chunk) >= self.settings.chunk or size + length > _MOST_BYTES
            # An id twice would be one document and two pictures: what comes of each is counted.
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
