"""Waiting for events, and a clock that a test moves: an event loop whose time jumps."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

T = TypeVar("T")

__all__ = ["HANG_S", "move_clock", "run_with_clock", "wait_for"]

# Seconds after which a test that waits for an event is called hung; no measure of speed.
HANG_S = 900.0


class _MovedLoop(asyncio.SelectorEventLoop):
    """Time-outs and sleeps of asyncio are counted by `time`, so moving it makes them due."""

    ahead_s = 0.0

    def time(self) -> float:
        return super().time() + self.ahead_s


def run_with_clock(test: Coroutine[Any, Any, T]) -> T:
    """Run as `asyncio.run` does, on a loop that `move_clock` moves."""
    with asyncio.Runner(loop_factory=_MovedLoop) as runner:
        return runner.run(test)


def move_clock(seconds: float) -> None:
    """Let that much time pass at once, for all that waits in the running loop."""
    loop = asyncio.get_running_loop()
    if not isinstance(loop, _MovedLoop):
        raise TypeError("This loop's clock is the machine's: start it by run_with_clock.")
    loop.ahead_s += seconds


def wait_for(condition: Callable[[], object], what: str, pause: float = 0.05) -> None:
    """Fails, saying what did not happen."""
    deadline = time.monotonic() + HANG_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"Not within {HANG_S:g} s: {what}")
        time.sleep(pause)
