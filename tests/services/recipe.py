"""How one server is run, ended and forgotten: what its keeper is told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

_FILE = "recipe.json"


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
