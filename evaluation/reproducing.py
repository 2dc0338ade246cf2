"""The paper's tables measured: our figure beside the published one, or why there is none."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

from descriptors.errors import CamsearchError, RequestError
from evaluation.encoding import encode_photos
from evaluation.evaluate import check_systems, score_systems
from evaluation.left_out import LeftOut
from evaluation.ours import OURS
from evaluation.scores import by_system
from evaluation.setups import measure_cost

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from descriptors.encoder import Encoder
    from descriptors.settings import MethodSettings, RegionSettings
    from evaluation.encoding import EncodedPhotos, Progress
    from evaluation.paper_tables import PaperRow, PaperTable
    from evaluation.setups import Cost
    from evaluation.trials import Trial

    # Encodes with these settings; refuses where there are no weights.
    Load = Callable[[MethodSettings], Encoder]
    # The trials of a dataset, or why they cannot be had.
    Found = tuple[Trial, ...] | str

__all__ = ["Cell", "MeasuredRow", "MeasuredTable", "measure_tables"]


@dataclass(frozen=True)
class Cell:
    """One row on one dataset.

    Attributes:
        ours: our mAP; None where it could not be measured.
        published: the paper's; None where it has none.
        missing: why there is none of ours; "" where there is.
    """

    ours: float | None
    published: float | None
    missing: str = ""


@dataclass(frozen=True)
class MeasuredRow:
    """One row of a table, measured.

    Attributes:
        row: what was asked for.
        network: on which it was measured.
        cells: by dataset.
        cost: of a picture by our own systems; None where it could not be measured.
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


def measure_tables(  # noqa: PLR0913 - all that a run is of
    tables: Sequence[PaperTable],
    datasets: Mapping[str, Found],
    load: Load,
    regions: RegionSettings,
    cache: Path,
    *,
    network: str | None = None,
    progress: Progress,
) -> tuple[MeasuredTable, ...]:
    """Measure every row that can be.

    Args:
        tables: of `paper_tables`.
        datasets: the trials of each, by name, or why there are none.
        load: makes an encoder of settings.
        regions: of the re-ranking.
        cache: where feature maps are kept.
        network: stands in for the paper's main one; None for that.
        progress: told what is done.

    Returns:
        The same tables; what could not be measured says why.
    """
    rows = [row for table in tables for row in table.rows]
    main = next((row.network for row in rows), "")
    on = {row: network if network and row.network == main else row.network for row in rows}
    groups: dict[MethodSettings, list[PaperRow]] = defaultdict(list)
    for row in rows:
        groups[row.settings(on[row])].append(row)
    cells: dict[tuple[PaperRow, str], Cell] = {}
    costs: dict[PaperRow, Cost] = {}
    for settings, group in groups.items():
        for name, trials in datasets.items():
            found, why, cost = _measure(group, settings, trials, load, regions, cache, progress)
            costs |= dict.fromkeys(group, cost) if cost else {}
            for row in group:
                ours = (
                    found
                    if isinstance(found, str)
                    else found.get(_key(row), _not_measured(row, why))
                )
                cells[row, name] = _cell(ours, row.published.get(name))
    return tuple(
        MeasuredTable(
            table.name,
            table.title,
            tuple(
                MeasuredRow(
                    row, on[row], {name: cells[row, name] for name in datasets}, costs.get(row)
                )
                for row in table.rows
            ),
        )
        for table in tables
    )


def _measure(  # noqa: PLR0913 - one group of rows on one dataset is of all these
    group: Sequence[PaperRow],
    settings: MethodSettings,
    trials: Found,
    load: Load,
    regions: RegionSettings,
    cache: Path,
    progress: Progress,
) -> tuple[dict[tuple[str, str], float] | str, Mapping[str, str], Cost | None]:
    """The mAP of each system and stage of a group, or why there is none.

    Returns:
        That; why some systems of the group could not be measured; and the cost, if it could.
    """
    if isinstance(trials, str):
        return trials, {}, None
    try:
        encoder = load(settings)
        photos = list(dict.fromkeys(photo for trial in trials for photo in trial.photos))
        encoded = encode_photos(photos, encoder, cache, progress)
        left_out = LeftOut()
        means = _means(group, trials, encoded, regions, cache, progress, left_out)
    except CamsearchError as error:
        return error.reason, {}, None
    try:
        return means, left_out.reasons, measure_cost(encoded, trials[0])
    except RequestError:  # too few photos to fit on: what was measured without stands
        return means, left_out.reasons, None


def _means(  # noqa: PLR0913 - one group of rows on one dataset is of all these
    group: Sequence[PaperRow],
    trials: Sequence[Trial],
    encoded: EncodedPhotos,
    regions: RegionSettings,
    cache: Path,
    progress: Progress,
    left_out: LeftOut,
) -> dict[tuple[str, str], float]:
    names = [name for name in dict.fromkeys(row.system for row in group) if not _refused(name)]
    stages = {
        name: list({row.stage.name: row.stage for row in group if row.system == name}.values())
        for name in names
        if name in OURS
    }
    scores = score_systems(
        trials, encoded, regions, cache, progress, ours=stages, systems=names, left_out=left_out
    )
    return {
        key: fmean(fmean(s.average_precision for s in of_trial) for of_trial in of_key)
        for key, of_key in by_system(scores).items()
    }


def _key(row: PaperRow) -> tuple[str, str]:
    return row.system, row.stage.name


def _refused(system: str) -> str:
    """Why a system cannot be measured here, such as BoW without OpenCV; "" if it can."""
    try:
        check_systems([system])
    except RequestError as error:
        return error.reason
    return ""


def _not_measured(row: PaperRow, why: Mapping[str, str]) -> str:
    if row.system in why:
        return why[row.system]
    return _refused(row.system) or f"{row.system} has no stage {row.stage.name}."


def _cell(ours: float | str, published: float | None) -> Cell:
    if isinstance(ours, str):
        return Cell(None, published, ours)
    return Cell(ours, published)
