"""The paper's tables: what was published, and the settings that each of their rows stands for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from descriptors.backbones import network_settings
from descriptors.errors import RequestError
from evaluation.knobs import stage_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from descriptors.settings import MethodSettings
    from evaluation.stages import Stage

__all__ = ["PAPER_DATASETS", "PaperRow", "PaperTable", "paper_tables"]

# The datasets that the tables have a column of, each fitted on the other city.
PAPER_DATASETS = ("oxford5k", "paris6k", "oxford105k", "paris106k")

# Rows without CAMs whiten one vector a picture, whatever this says.
_NO_CLASSES = 1


@dataclass(frozen=True)
class PaperRow:
    """One row of a table.

    Attributes:
        label: as the paper calls it, nearly.
        system: name of ours, or of a compared one.
        network: whose maps.
        n_classes, n_pca: N_C and N_pca; None for a system without CAMs.
        dims: of the descriptor.
        window, expand: R and the hits of QE; 0 for none.
        published: mAP by dataset.
        seconds: what a picture cost there; None where it is not said.
    """

    label: str
    system: str
    network: str
    n_classes: int | None
    n_pca: int | None
    dims: int
    window: int
    expand: int
    published: Mapping[str, float] = field(hash=False)
    seconds: float | None = None

    @property
    def stage(self) -> Stage:
        """What is done with the descriptors."""
        return stage_of(self.window, self.expand)

    def settings(self, network: str | None = None) -> MethodSettings:
        """The preset ``paper`` with the row's numbers, perhaps on another network.

        Convention:
            No network gets more dimensions than its layer has channels.
        """
        settings = network_settings(network or self.network, "paper")
        dims = min(self.dims, settings.dims)
        (layer,) = settings.layers
        changed = {
            "n_classes": self.n_classes or _NO_CLASSES,
            "n_pca": self.n_pca or _NO_CLASSES,
            "layers": (layer.model_copy(update={"dims": dims}),),
        }
        return settings.model_copy(update=changed)


@dataclass(frozen=True)
class PaperTable:
    """One of the tables."""

    name: str
    title: str
    rows: tuple[PaperRow, ...]


def paper_tables(wanted: str = "paper") -> tuple[PaperTable, ...]:
    """The tables: all of them for ``paper``, or one by its name.

    Raises:
        RequestError: for another name.
    """
    text = files("evaluation.data").joinpath("paper.json").read_text(encoding="utf-8")
    tables = tuple(_table(said) for said in json.loads(text)["tables"])
    found = tuple(table for table in tables if wanted in ("paper", table.name))
    if not found:
        names = ", ".join(["paper", *(table.name for table in tables)])
        raise RequestError(f"There is no table {wanted!r}: choose among {names}.")
    return found


def _table(said: Mapping[str, Any]) -> PaperTable:
    rows: Sequence[Mapping[str, Any]] = said["rows"]
    return PaperTable(said["name"], said["title"], tuple(PaperRow(**row) for row in rows))
