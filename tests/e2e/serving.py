"""`camsearch serve` as its users start it: a process of its own, at a free port."""

from __future__ import annotations

import re
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.support.clock import HANG_S, wait_for
from tests.support.forked import forked_command

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

_STARTED = re.compile(r"camsearch answers at (http://\S+)")


@dataclass(frozen=True)
class Served:
    url: str
    log: Path
    process: ForkServerProcess


@contextmanager
def serving(log, *options, **settings):
    """The proxy, until the block ends; it must then end by itself.

    Args:
        log: where its output goes.
        options: of the command.
        settings: of its environment, such as ``web_hosts``.
    """
    command = ("serve", "--port", "0", "--precision", "float32", *options)
    process = forked_command(log, *command, settings=settings)
    try:
        wait_for(lambda: _STARTED.search(log.read_text()) or not process.is_alive(), "an address")
        found = _STARTED.search(log.read_text())
        assert found, f"The proxy did not start: {log.read_text()[-2000:]}"
        yield Served(found[1], log, process)
        process.terminate()
        process.join(HANG_S)
        assert process.exitcode in (0, -15), log.read_text()[-2000:]
    finally:
        process.kill()
        process.join(HANG_S)
