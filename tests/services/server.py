"""A server that tests talk to, and where it is ours may also kill and start again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from tests.services.errors import NotOurs, ServiceBroken
from tests.services.locks import Lease, is_held_alone
from tests.support.clock import HANG_S

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.services.recipe import Recipe

_ROOT = Path(__file__).parents[2]
_PAUSE_S = 0.05


def wait_until(condition: Callable[[], bool]) -> bool:
    """Whether it came true before the test is called hung."""
    deadline = time.monotonic() + HANG_S
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
            raise ServiceBroken(f"The server in {self._folder} runs already: kill it first.")
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
        if not self.alive:
            return
        if self._recipe.kill:
            subprocess.run(self._recipe.kill, capture_output=True, check=False)
        else:
            os.kill(int((self._folder / "pid").read_text()), signal.SIGKILL)
        self._wait_for_its_end()

    def close(self) -> None:
        """Ends it for good: its data go, its log stays."""
        was_alive = self.alive
        self._lease.close()
        if was_alive:
            self._wait_for_its_end()
        elif self._recipe.forget:
            subprocess.run(self._recipe.forget, capture_output=True, check=False)

    def let_go(self) -> None:
        """Leaves it to others who hold a lease on its folder, see `sharing`, and to its keeper."""
        self._lease.close()

    def log_tail(self) -> str:
        log = self._folder / "log"
        said = log.read_text(errors="replace").splitlines() if log.exists() else []
        return "\n".join(said[-25:])

    def _wait_for_its_end(self) -> None:
        if not wait_until(lambda: not self.alive):
            pid = (self._folder / "pid").read_text()
            raise ServiceBroken(
                f"The server in {self._folder} does not end within {HANG_S:g} s: "
                f"end its process {pid} by hand."
            )


class Server(ABC):
    """Used in a `with`, it is started where it is ours, and ended after."""

    name: ClassVar[str]

    def __init__(self, url: str, process: KeptProcess | None = None) -> None:
        """One without a process came by its address, and is somebody else's."""
        self.url, self.process = url, process

    @abstractmethod
    def answers(self) -> bool:
        """Whether it is ready to be used, asked once and without waiting long."""

    def start(self) -> None:
        """Returns when it answers; on the same port with the same data as before."""
        process = self._ours("started")
        process.start()
        wait_until(lambda: self.answers() or not process.alive)
        if process.alive and self.answers():
            return
        how = f"did not answer within {HANG_S:g} s" if process.alive else "ended at once"
        tail = process.log_tail()
        process.kill()
        raise ServiceBroken(
            f"{self.name} at {self.url} {how}. The last lines of its log say why:\n{tail}"
        )

    def kill(self) -> None:
        """By SIGKILL."""
        self._ours("killed").kill()

    def close(self) -> None:
        """The end of it and of its data, where it is ours."""
        if self.process is not None:
            self.process.close()

    def __enter__(self) -> Self:
        if self.process is not None and not self.process.alive:
            try:
                self.start()
            except BaseException:
                self.close()
                raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ours(self, done: str) -> KeptProcess:
        if self.process is None:
            raise NotOurs(
                f"{self.name} at {self.url} was given by its address and is not to be {done} from "
                "here: tests that do so ask for a server of their own."
            )
        return self.process
