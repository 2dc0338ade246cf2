"""A server's process as the tests hold it: start, stop, kill, start again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services.errors import ServiceBroken
from tests.services.locks import Lease, is_held_alone
from tests.support.clock import HANG_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.services.recipe import Recipe

_ROOT = Path(__file__).parents[2]
_STOP_S = 30.0
_PAUSE_S = 0.05


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether it came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(_PAUSE_S)
    return True


class KeptProcess:
    """Lives until `close`, or until the process that made it ends, see `keeper`."""

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        recipe.write(folder)
        self._folder = folder
        self._recipe = recipe
        self._lease = Lease(folder / "lease")

    @property
    def alive(self) -> bool:
        return is_held_alone(self._folder / "alive")

    def start(self) -> None:
        if self.alive:
            raise ServiceBroken(f"The server in {self._folder} runs already: stop it first.")
        done = subprocess.run(
            [sys.executable, "-m", "tests.services.keeper", str(self._folder)],
            cwd=_ROOT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG_S,
        )
        if done.returncode:
            raise ServiceBroken(
                f"{self._recipe.start[0]} could not be started: {done.stderr.strip()} "
                "Run `python -m tests.services install` to see what is missing."
            )

    def kill(self) -> None:
        """SIGKILL: nothing is flushed, nothing is said."""
        self._end(self._recipe.kill, signal.SIGKILL)
        self._wait_for_its_end(HANG_S)

    def stop(self) -> None:
        """As an administrator stops it, with time to flush; killed where it does not end."""
        self._end(self._recipe.stop, signal.SIGTERM)
        if not wait_until(lambda: not self.alive, _STOP_S):
            self.kill()

    def close(self) -> None:
        """Ends it for good: its data go, its log stays."""
        was_alive = self.alive
        self._lease.close()
        if was_alive:
            self._wait_for_its_end(HANG_S)
        elif self._recipe.forget:
            subprocess.run(self._recipe.forget, capture_output=True, check=False)

    def let_go(self) -> None:
        """Leaves it to others who hold a lease on its folder, and to its keeper."""
        self._lease.close()

    def log_tail(self, lines: int = 25) -> str:
        log = self._folder / "log"
        said = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join(said[-lines:])

    def _end(self, command: tuple[str, ...], otherwise: signal.Signals) -> None:
        if not self.alive:
            return
        if command:
            subprocess.run(command, capture_output=True, check=False)
        else:
            os.kill(int((self._folder / "pid").read_text()), otherwise)

    def _wait_for_its_end(self, seconds: float) -> None:
        if not wait_until(lambda: not self.alive, seconds):
            pid = (self._folder / "pid").read_text()
            raise ServiceBroken(
                f"The server in {self._folder} does not end within {seconds:g} s: "
                f"end its process {pid} by hand."
            )
