"""Runs one server and ends it as soon as nobody needs it: `python -m tests.services.keeper FOLDER`.

A process of its own, so that the server lives as long as any pytest worker holds its lease, and
no longer, even where pytest was ended by kill -9. In FOLDER:

    recipe.json  what to run                  log    what the server says
    lease        held shared by all users     pid    the server's process
    alive        held by us while it runs
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

from tests.services.locks import alone
from tests.services.recipe import Recipe

_PR_SET_PDEATHSIG = 1
_END_S = 30.0


def _end_with_the_keeper() -> None:
    """Between fork and exec of the server: Linux kills it should we be killed ourselves."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def _run(words: tuple[str, ...]) -> None:
    if words:
        subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)


def _start(folder: Path, recipe: Recipe) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        server = subprocess.Popen(
            recipe.start,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=_end_with_the_keeper,  # noqa: PLW1509  we have no other thread yet
        )
    (folder / "pid").write_text(str(server.pid))
    return server


def _keep(folder: Path, recipe: Recipe, server: subprocess.Popen[bytes]) -> None:
    """Returns when the server has ended, by itself or because the last lease has."""
    unneeded = threading.Event()

    def leave_with_the_server() -> None:
        server.wait()
        if not unneeded.is_set():
            os._exit(0)  # the main thread waits for the lease and cannot be told otherwise

    watch = threading.Thread(target=leave_with_the_server)
    watch.start()
    with alone(folder / "lease"):
        unneeded.set()
        if recipe.kill:
            _run(recipe.kill)
            watch.join(_END_S)
        server.kill()
        watch.join()
        # Within the lock: who takes a lease from here on finds neither server nor data.
        _run(recipe.forget)


def _detach() -> None:
    """Lets go of pytest's terminal and of the pipe through which it waits for our word."""
    os.setsid()
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nothing, stream)


def main(folder: Path) -> int:
    """Returns in the calling process once the server's process is there or cannot be."""
    hears, tells = os.pipe()
    if os.fork():
        os.close(tells)
        with os.fdopen(hears) as word:
            trouble = word.read()
        sys.stderr.write(trouble)
        return bool(trouble)
    os.close(hears)
    with alone(folder / "alive"):
        recipe = Recipe.read(folder)
        try:
            server = _start(folder, recipe)
        except OSError as error:
            os.write(tells, str(error).encode())
            return 1
        _detach()
        os.close(tells)
        _keep(folder, recipe, server)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
