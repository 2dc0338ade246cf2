"""How one server is run, ended and forgotten: what its keeper is told; its port and its data."""

from __future__ import annotations

import json
import os
import random
import shutil
import socket
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

_FILE = "recipe.json"
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of a chance name is made in it
_ROOM = 2 * 2**30

# Below the range from which kernels lend ports to outgoing connections (32768 on Linux, 49152
# elsewhere): one of those could take a server's port between its kill and its restart.
_PORTS = range(20_000, 32_000)


def free_port() -> int:
    """Drawn by chance, so that two processes that look at once hardly get the same."""
    chance = random.SystemRandom()
    while True:
        port = chance.choice(_PORTS)
        with socket.socket() as trial:
            try:
                trial.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def data_folder(folder: Path) -> Path:
    """Where a server writes its data: in memory where that has room, else in its folder.

    Either outlives the server's kill; but each write to a disk waits for it, and one that others
    use too takes most of the tests' time.
    """
    writable = _MEMORY.is_dir() and os.access(_MEMORY, os.W_OK)
    if writable and shutil.disk_usage(_MEMORY).free > _ROOM:
        return Path(tempfile.mkdtemp(prefix="camsearch-tests-", dir=_MEMORY))
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    return data


@dataclass(frozen=True)
class Recipe:
    """Commands, as lists of words; an empty `kill` says that a signal does it."""

    start: tuple[str, ...]
    kill: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()  # run once it is needed no more: removes its data

    def write(self, folder: Path) -> None:
        (folder / _FILE).write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, folder: Path) -> Recipe:
        said = json.loads((folder / _FILE).read_text())
        return cls(**{name: tuple(words) for name, words in said.items()})
