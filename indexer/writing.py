"""Write in background threads; pending items are written in one call."""

from __future__ import annotations

import queue
import threading
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from types import TracebackType

__all__ = ["Writer"]

_Item = TypeVar("_Item")
_Light = TypeVar("_Light")

_MAX_WAITING = 4  # large items; `put` blocks at this number
_SOON_SECONDS = 0.01  # items that arrive within this time are written together
_MAX_TOGETHER = 64  # light items written in one call


class Writer(Generic[_Item, _Light]):
    """Passes items through `lighten` and `write`, each in a thread of its own.

    Convention:
        Pending items are written in one call, so that a slow store gets few large calls. After
        an error only items that are already light are written; the error is raised by the next
        `put`, or at the end.
    """

    def __init__(
        self, lighten: Callable[[_Item], _Light], write: Callable[[Sequence[_Light]], None]
    ) -> None:
        """Set the functions; entering the context starts the threads.

        Args:
            lighten: converts an item to a small one that is held until it is written.
            write: writes the pending items.
        """
        self._lighten, self._write = lighten, write
        self._waiting: queue.Queue[_Item | None] = queue.Queue(_MAX_WAITING)
        self._ready: queue.Queue[_Light | None] = queue.Queue(_MAX_TOGETHER)
        self._error: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._make_ready, name="make-ready", daemon=True),
            threading.Thread(target=self._write_ready, name="write", daemon=True),
        ]

    def put(self, item: _Item) -> None:
        """Queue an item; blocks while too many are pending, and raises an earlier error."""
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
            # None marks the end, and is not waited after.
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

    def __enter__(self) -> Writer[_Item, _Light]:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Write pending items, end the threads, and raise an error that occurred."""
        self._waiting.put(None)
        for thread in self._threads:
            thread.join()
        if self._error is not None and self._error is not error:
            raise self._error
