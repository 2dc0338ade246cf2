"""How one server is run, ended and forgotten: what its keeper is told."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

_FILE = "recipe.json"
_MEMORY = Path("/dev/shm")  # noqa: S108 - a folder of a chance name is made in it
_ROOM = 2 * 2**30


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
    """Commands, as lists of words; an empty one says that a signal does it."""

    start: tuple[str, ...]
    stop: tuple[str, ...] = ()
    kill: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()  # run once it is needed no more: removes its data

    def write(self, folder: Path) -> None:
        (folder / _FILE).write_text(json.dumps(asdict(self), indent=1))

    @classmethod
    def read(cls, folder: Path) -> Recipe:
        said = json.loads((folder / _FILE).read_text())
        return cls(**{name: tuple(words) for name, words in said.items()})
