"""The paper's tables: published figures with the settings of each row, and the same measured."""

from __future__ import annotations

import json
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.resources import files
from typing import TYPE_CHECKING

from descriptors.backbones import network_settings
from descriptors.errors import CamsearchError, RequestError
from evaluation.ablation import measure_cost
from evaluation.encoding import encode_images
from evaluation.ours import OURS
from evaluation.runs import check_systems, score_systems
from evaluation.scores import LeftOut, by_system, mean_precision
from evaluation.searching import stage_of
from evaluation.trials import all_images

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from descriptors.encoder import Encoder
    from descriptors.settings import MethodSettings, RegionSettings
    from evaluation.ablation import Cost
    from evaluation.encoding import EncodedImages
    from evaluation.scores import Score
    from evaluation.searching import Stage
    from evaluation.trials import Progress, Trial

    # Makes an encoder with these settings; raises without weights.
    Load = Callable[[MethodSettings], Encoder]
    # The trials of a dataset, or why there are none.
    Found = tuple[Trial, ...] | str

__all__ = [
    "PAPER_DATASETS",
    "Cell",
    "MeasuredRow",
    "MeasuredTable",
    "PaperRow",
    "PaperTable",
    "measure_tables",
    "paper_tables",
]

# The datasets that the tables have a column of, each fitted on the other city.
PAPER_DATASETS = ("oxford5k", "paris6k", "oxford105k", "paris106k")

# Rows without CAMs whiten one vector an image, whatever this says.
_NO_CLASSES = 1


@dataclass(frozen=True)
class PaperRow:
    """One row of a table.

    Attributes:
        label: as in the paper, nearly.
        system: name of ours, or of a baseline.
        network: whose maps.
        n_classes, n_pca: N_C and N_pca; None for a system without CAMs.
        dims: of the descriptor.
        window, expand: R and the hits of QE; 0 for none.
        published: mAP by dataset.
        seconds: published cost of an image; None if unknown.
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
    text = files("evaluation").joinpath("paper.json").read_text(encoding="utf-8")
    tables = tuple(
        PaperTable(table["name"], table["title"], tuple(PaperRow(**row) for row in table["rows"]))
        for table in json.loads(text)["tables"]
    )
    found = tuple(table for table in tables if wanted in ("paper", table.name))
    if not found:
        names = ", ".join(["paper", *(table.name for table in tables)])
        raise RequestError(f"There is no table {wanted!r}: choose among {names}.")
    return found


@dataclass(frozen=True)
class Cell:
    """One row on one dataset.

    Attributes:
        ours: our mAP; None if it could not be measured.
        published: the paper's; None if it has none.
        missing: why there is none of ours; "" if there is.
    """

    ours: float | None
    published: float | None
    missing: str = ""


@dataclass(frozen=True)
class MeasuredRow:
    """One row of a table, measured.

    Attributes:
        row: the row of the paper.
        network: on which it was measured.
        cells: by dataset.
        cost: of an image by our own systems; None if it could not be measured.
    """

    row: PaperRow
    network: str
    cells: Mapping[str, Cell]
    cost: Cost | None

    def difference(self, dataset: str) -> float | None:
        """Ours less the published figure; None unless both are of the same network."""
        cell = self.cells[dataset]
        if cell.ours is None or cell.published is None or self.network != self.row.network:
            return None
        return cell.ours - cell.published


@dataclass(frozen=True)
class MeasuredTable:
    """One of the tables, measured."""

    name: str
    title: str
    rows: tuple[MeasuredRow, ...]


@dataclass(frozen=True)
class _Run:
    """What all groups of rows are measured with; see `measure_tables`."""

    load: Load
    regions: RegionSettings
    cache: Path
    progress: Progress

    def means(
        self, group: Sequence[PaperRow], settings: MethodSettings, trials: Found
    ) -> tuple[dict[PaperRow, float | str], Cost | None]:
        """The mAP of each row on one dataset, or why there is none; and the cost, if any."""
        if isinstance(trials, str):
            return dict.fromkeys(group, trials), None
        left_out = LeftOut()
        try:
            encoder = self.load(settings)
            encoded = encode_images(all_images(trials), encoder, self.cache, self.progress)
            scores = self._scores(group, trials, encoded, left_out)
        except CamsearchError as error:
            return dict.fromkeys(group, error.reason), None
        means = {key: mean_precision(of_key) for key, of_key in by_system(scores).items()}
        cost = None
        with suppress(RequestError):  # too few images to fit on; baselines may need none
            cost = measure_cost(encoded, trials[0])
        return {
            row: means.get((row.system, row.stage.name), _not_measured(row, left_out))
            for row in group
        }, cost

    def _scores(
        self,
        group: Sequence[PaperRow],
        trials: Sequence[Trial],
        encoded: EncodedImages,
        left_out: LeftOut,
    ) -> list[list[Score]]:
        names = [n for n in dict.fromkeys(row.system for row in group) if not _refused(n)]
        stages = {
            name: list(dict.fromkeys(row.stage for row in group if row.system == name))
            for name in names
            if name in OURS
        }
        return score_systems(
            trials,
            encoded,
            self.regions,
            self.cache,
            self.progress,
            ours=stages,
            systems=names,
            left_out=left_out,
        )


def measure_tables(  # noqa: PLR0913 - all that a run is of
    tables: Sequence[PaperTable],
    datasets: Mapping[str, Found],
    load: Load,
    regions: RegionSettings,
    cache: Path,
    progress: Progress,
    *,
    network: str | None = None,
) -> tuple[MeasuredTable, ...]:
    """Measure every row that can be; the others say why not.

    Args:
        datasets: the trials of each, by name, or why there are none.
        load: makes an encoder from settings.
        network: replaces the paper's main one.
        tables, regions, cache, progress: see `evaluation.runs.evaluate_trials`.
    """
    rows = [row for table in tables for row in table.rows]
    main = next((row.network for row in rows), "")
    on = {row: network if network and row.network == main else row.network for row in rows}
    groups: dict[MethodSettings, list[PaperRow]] = defaultdict(list)
    for row in rows:
        groups[row.settings(on[row])].append(row)
    run = _Run(load, regions, cache, progress)
    cells: dict[PaperRow, dict[str, Cell]] = {row: {} for row in rows}
    costs: dict[PaperRow, Cost] = {}
    for settings, group in groups.items():
        for name, trials in datasets.items():
            found, cost = run.means(group, settings, trials)
            costs |= dict.fromkeys(group, cost) if cost else {}
            for row, ours in found.items():
                missing, mean = (ours, None) if isinstance(ours, str) else ("", ours)
                cells[row][name] = Cell(mean, row.published.get(name), missing)
    return tuple(
        MeasuredTable(
            table.name,
            table.title,
            tuple(MeasuredRow(r, on[r], cells[r], costs.get(r)) for r in table.rows),
        )
        for table in tables
    )


def _refused(system: str) -> str:
    """Why a system cannot be measured here, such as BoW without OpenCV; "" if it can."""
    try:
        check_systems([system])
    except RequestError as error:
        return error.reason
    return ""


def _not_measured(row: PaperRow, left_out: LeftOut) -> str:
    if row.system in left_out.reasons:
        return left_out.reasons[row.system]
    return _refused(row.system) or f"{row.system} has no stage {row.stage.name}."
