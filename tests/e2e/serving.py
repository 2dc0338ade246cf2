"""`camsearch serve` as its users start it: a process of its own, at a free port."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.clock import HANG_S

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
_STARTED = re.compile(r"camsearch answers at (http://\S+)")


@dataclass(frozen=True)
class Served:
    """A running proxy, and the file that has all it says."""

    url: str
    log: Path
    process: subprocess.Popen[bytes]


@contextmanager
def serving(log: Path, *options: str, **settings: str) -> Iterator[Served]:
    """The proxy, until the block ends; it must then end by itself.

    Args:
        log: where its output goes.
        options: of the command.
        settings: of its environment, such as ``web_hosts``.
    """
    named = {f"CAMSEARCH_{name.upper()}": value for name, value in settings.items()}
    others = {k: v for k, v in os.environ.items() if not k.upper().startswith("CAMSEARCH_")}
    code = "import sys; from camsearch.main import run; sys.exit(run())"
    command = [sys.executable, "-c", code, "serve", "--port", "0", "--precision", "float32"]
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, *options],
            cwd=ROOT,
            env=others | named,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
        )
    try:
        yield Served(_address(process, log), log, process)
        process.terminate()
        assert process.wait(HANG_S) in (0, -15), log.read_text()[-2000:]
    finally:
        process.kill()
        process.wait(HANG_S)


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    until = time.monotonic() + HANG_S
    while process.poll() is None and time.monotonic() < until:
        found = _STARTED.search(log.read_text())
        if found:
            return found[1]
        time.sleep(0.05)
    raise AssertionError(f"The proxy did not start: {log.read_text()[-2000:]}")
