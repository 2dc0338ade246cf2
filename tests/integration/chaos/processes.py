"""Real worker processes, killed as machines kill them and started again as an orchestrator does."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.support.clock import wait_for
from tests.support.forked import forked_command

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path


def slow_decoder(seconds: float) -> str:
    """A prelude for a worker: it is long enough in its tasks to be met in the middle of one."""
    return f"""
import time
import indexer.reading
decode = indexer.reading.read_image
def slow(data, *args, **options):
    time.sleep({seconds})
    return decode(data, *args, **options)
indexer.reading.read_image = slow
"""


class WorkerProcess:
    """`camsearch worker`, in a process of its own."""

    def __init__(self, log: Path, settings: Mapping[str, str], prelude: str = "") -> None:
        """Start it; `prelude` is Python that runs first, to make it fail where a test wants."""
        self._log, self._reading = log, threading.Lock()
        self._process = forked_command(log, "worker", settings=settings, prelude=prelude)

    @property
    def alive(self) -> bool:
        return self.status is None

    @property
    def status(self) -> int | None:
        """The exit status; negative for the signal that ended it."""
        with self._reading:  # it can be read once only, and a supervisor asks too
            return self._process.exitcode

    def said(self) -> str:
        return self._log.read_text(errors="replace")

    def log_tail(self, lines: int = 12) -> str:
        state = "alive" if self.alive else f"ended with {self.status}"
        tail = "\n".join(self.said().splitlines()[-lines:])
        return f"--- worker {self._process.pid}, {state}:\n{tail}"

    def wait_until_ready(self) -> None:
        wait_for(lambda: " ready." in self.said() or not self.alive, self.log_tail())
        if not self.alive:
            pytest.fail(f"The worker ended at its start.\n{self.log_tail()}")

    def say_where(self) -> None:
        """It writes the stacks of its threads into its log: Celery's own answer to this signal."""
        if self.alive:
            self._signal(signal.SIGUSR1)
            time.sleep(0.5)

    def kill(self) -> None:
        """SIGKILL: it can do nothing more, not even tell the servers."""
        self._signal(signal.SIGKILL)
        self.wait_for_its_end()

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.pid is not None and self.alive:
            os.kill(self._process.pid, number)

    def ask_to_end(self) -> None:
        self._signal(signal.SIGTERM)

    def wait_for_its_end(self) -> None:
        wait_for(lambda: not self.alive, f"the worker's end\n{self.log_tail()}")

    def close(self) -> None:
        if self.alive:
            self.kill()


class Supervisor:
    """Keeps one worker running, as an orchestrator would: where it ends, another starts."""

    def __init__(self, start: Callable[[], WorkerProcess]) -> None:
        self._start = start
        self._closing = threading.Event()
        self.started = [start()]
        self._thread = threading.Thread(target=self._watch, name="supervisor", daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        while not self._closing.wait(0.1):
            if not self.started[-1].alive:
                self.started.append(self._start())

    def statuses(self) -> list[int | None]:
        """How each worker ended so far; None for the one that runs."""
        return [worker.status for worker in self.started]

    def close(self) -> None:
        """Starts no more; the processes themselves are ended by who made them."""
        self._closing.set()
        self._thread.join()
