"""Real worker processes, killed as machines kill them and started again as an orchestrator does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.clock import HANG_S

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[3]
COMMAND = "from camsearch.main import run; run()"


def wait_for(condition: Callable[[], object], what: str, pause: float = 0.05) -> None:
    """Fails, saying what did not happen."""
    deadline = time.monotonic() + HANG_S
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"Not within {HANG_S:g} s: {what}")
        time.sleep(pause)


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


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """This process' own, with these settings and no others of ours."""
    kept = {k: v for k, v in os.environ.items() if not k.upper().startswith("CAMSEARCH_")}
    return kept | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1"} | dict(settings)


class WorkerProcess:
    """`camsearch worker`, in a process of its own."""

    def __init__(self, log: Path, settings: Mapping[str, str], prelude: str = "") -> None:
        """Start it; `prelude` is Python that runs first, to make it fail where a test wants."""
        self._log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"{prelude}\n{COMMAND}", "worker"],
                cwd=ROOT,
                env=environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
            )

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def status(self) -> int | None:
        """The exit status; negative for the signal that ended it."""
        return self._process.poll()

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
            self._process.send_signal(signal.SIGUSR1)
            time.sleep(0.5)

    def kill(self) -> None:
        """SIGKILL: it can do nothing more, not even tell the servers."""
        self._process.kill()
        self._process.wait(HANG_S)

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def ask_to_end(self) -> None:
        self._process.terminate()

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
