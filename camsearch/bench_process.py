"""Our own commands in processes of their own, to be measured."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["resident_mb", "running"]

_CODE = "from camsearch.main import run; run()"
_END_SECONDS = 60


@contextmanager
def running(
    *arguments: str, variables: Mapping[str, str] | None = None, stderr: int = subprocess.DEVNULL
) -> Iterator[subprocess.Popen[str]]:
    """A command of ours, ended afterwards.

    Args:
        arguments: of the command line, the command first.
        variables: of the environment, beside this process's own.
        stderr: where it goes, as `subprocess` has it.
    """
    process = subprocess.Popen(  # noqa: S603 - our own command
        [sys.executable, "-c", _CODE, *arguments],
        env={**os.environ, **(variables or {})},
        stderr=stderr,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(_END_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()


def resident_mb(pid: int) -> float:
    """Memory of a process that lies in the machine's."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20
