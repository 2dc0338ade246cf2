"""Describe query images in batches, on one thread that owns the network.

A network called from many threads at once is slower for all of them.
"""

from __future__ import annotations

import asyncio
import itertools
import queue
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reranker.errors import Overloaded

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from descriptors.arrays import Box, QueryDescription
    from descriptors.images import RgbImage
    from descriptors.settings import RegionSettings

    Describe = Callable[
        [Sequence[tuple[RgbImage, Box | None]], RegionSettings], Sequence[QueryDescription]
    ]

__all__ = ["Describer"]


@dataclass(frozen=True)
class _Job:
    image: RgbImage
    box: Box | None
    regions: RegionSettings
    loop: asyncio.AbstractEventLoop
    done: asyncio.Future[QueryDescription]


class Describer:
    """Describes query images on its own thread, with a bounded queue."""

    def __init__(
        self, describe: Describe, waiting: int = 64, wait_s: float = 0.003, batch: int = 8
    ) -> None:
        """Start the thread.

        Args:
            describe: called on that thread only; see `Method.describe_queries`.
            waiting: length of the queue.
            wait_s: seconds that the first image of a batch waits for others.
            batch: max. images per batch.
        """
        self._describe, self._wait_s, self._batch = describe, wait_s, batch
        self._jobs: queue.Queue[_Job | None] = queue.Queue(waiting)
        self._closed = False
        self._owner = threading.Thread(target=self._work, name="describe", daemon=True)
        self._owner.start()

    @property
    def waiting(self) -> int:
        """Images in the queue."""
        return self._jobs.qsize()

    async def describe(
        self, image: RgbImage, regions: RegionSettings, box: Box | None = None
    ) -> QueryDescription:
        """Describe a query image.

        Raises:
            Overloaded: the queue is full, or the server is shutting down.
            RequestError: the box lies outside the image.
        """
        if self._closed:
            raise Overloaded("The server is shutting down: try again.", 1)
        loop = asyncio.get_running_loop()
        job = _Job(image, box, regions, loop, loop.create_future())
        try:
            self._jobs.put_nowait(job)
        except queue.Full:
            raise Overloaded(
                f"{self._jobs.maxsize} query images are already waiting: try again in a second.", 1
            ) from None
        return await job.done

    def close(self) -> None:
        """Finish the queue and stop the thread."""
        self._closed = True
        self._jobs.put(None)
        self._owner.join()

    def _work(self) -> None:
        ended = False
        while not ended:
            first = self._jobs.get()
            if first is None:
                return
            batch, ended = self._with_others(first)
            batch = [job for job in batch if not job.done.cancelled()]
            for _, alike in itertools.groupby(batch, lambda job: job.regions):
                self._answer(list(alike))

    def _with_others(self, first: _Job) -> tuple[list[_Job], bool]:
        """A batch, and whether `close` was called meanwhile."""
        batch, until = [first], time.monotonic() + self._wait_s
        while len(batch) < self._batch:
            try:
                job = self._jobs.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            if job is None:
                return batch, True
            batch.append(job)
        return batch, False

    def _answer(self, batch: list[_Job]) -> None:
        try:
            queries = [(job.image, job.box) for job in batch]
            described = list(zip(batch, self._describe(queries, batch[0].regions), strict=True))
        except Exception as error:  # noqa: BLE001 - passed on to the callers
            if len(batch) == 1:
                _tell(batch[0], error)
                return
            for job in batch:  # only one image may be at fault
                self._answer([job])
            return
        for job, query in described:
            _tell(job, query)


def _tell(job: _Job, result: QueryDescription | Exception) -> None:
    def tell() -> None:
        if job.done.done():
            return
        if isinstance(result, Exception):
            job.done.set_exception(result)
        else:
            job.done.set_result(result)

    try:
        job.loop.call_soon_threadsafe(tell)
    except RuntimeError:
        return  # the loop has ended
