"""Two threads that write while another computes; what waits is written together."""

from __future__ import annotations

import queue
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

__all__ = ["Writer"]

Item = TypeVar("Item")
Light = TypeVar("Light")

_MAX_WAITING = 4  # items, which may be large; whoever brings one more waits
_SOON_SECONDS = 0.01  # what comes so soon after another is written with it
_MAX_TOGETHER = 64  # light items that are written in one call


class Writer(Generic[Item, Light]):
    """Hands items to two functions, each in a thread of its own: one makes them light, one writes.

    Convention:
        All that waits is written in one call: a slow store is asked seldom with much, a fast
        one at once. An error ends the making ready; what was ready before it is written, and
        the error is raised at the next `put`, or at the end.
    """

    def __init__(
        self, lighten: Callable[[Item], Light], write: Callable[[Sequence[Light]], None]
    ) -> None:
        """Name the functions; `with` starts the threads.

        Args:
            lighten: called with each item as it comes; what it returns is kept until written.
            write: called with what has come since the last call.
        """
        self._lighten, self._write = lighten, write
        self._waiting: queue.Queue[Item | None] = queue.Queue(_MAX_WAITING)
        self._ready: queue.Queue[Light | None] = queue.Queue(_MAX_TOGETHER)
        self._error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._make_ready, name="make-ready", daemon=True),
            threading.Thread(target=self._write_ready, name="write", daemon=True),
        ]

    def put(self, item: Item) -> None:
        """Let an item be written; waits while too many are.

        Raises:
            Exception: what a function raised.
        """
        if self._error is not None:
            raise self._error
        self._waiting.put(item)

    def _make_ready(self) -> None:
        while (item := self._waiting.get()) is not None:
            if self._error is None:
                with self._noting_errors():
                    self._ready.put(self._lighten(item))
        self._ready.put(None)

    def _write_ready(self) -> None:
        failed = ended = False
        while not ended:
            together = [self._ready.get()]
            # The end is what comes last: whoever ends waits for nothing.
            with suppress(queue.Empty):
                while together[-1] is not None and len(together) < _MAX_TOGETHER:
                    together.append(self._ready.get(timeout=_SOON_SECONDS))
            ended = together[-1] is None
            light = [one for one in together if one is not None]
            if light and not failed:
                failed = True
                with self._noting_errors():
                    self._write(light)
                    failed = False

    @contextmanager
    def _noting_errors(self) -> Iterator[None]:
        """Keep the first error for the other thread."""
        try:
            yield
        except BaseException as error:  # noqa: BLE001 - raised again in the other thread
            self._error = self._error or error

    def __enter__(self) -> Writer[Item, Light]:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write what waits, end the threads, and raise what went wrong."""
        self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        if self._error is not None and self._error is not error:
            raise self._error
