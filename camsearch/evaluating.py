"""Run `camsearch evaluate`, and build its output."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from camsearch.commands.method_options import method_settings, weight_file, window_count
from camsearch.evaluation_options import at_size, check_report, weight_files
from descriptors.backbones import load_network
from descriptors.encoder import Encoder
from descriptors.errors import CamsearchError, RequestError
from descriptors.settings import RegionSettings
from evaluation.ablation import ablate, sampled
from evaluation.datasets.catalogue import DATASETS, FitOn, read_dataset
from evaluation.knobs import Setup, chosen_knobs
from evaluation.paper import PAPER_DATASETS, measure_tables, paper_tables
from evaluation.plots import require_matplotlib
from evaluation.recommending import recommendation
from evaluation.runs import About, check_systems, evaluate_trials, stages_measured
from evaluation.scores import by_system
from evaluation.searching import stage_of
from evaluation.significance import compare, named_pair
from evaluation.tables import (
    ablation_table,
    comparison_words,
    paper_table,
    reasons,
    rows_table,
    table_of,
    where_tables,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from camsearch.commands.evaluate import EvaluateOptions
    from descriptors.machine import Machine
    from descriptors.settings import MethodSettings
    from evaluation.ablation import Ablation
    from evaluation.trials import Progress, Trial

__all__ = ["Asked", "Content", "measure"]

# The baseline of an ablation: re-rank 100 hits, expand by 5.
_WINDOW, _EXPAND = 100, 5


@dataclass(frozen=True)
class Asked:
    """What `camsearch evaluate` is asked for.

    Attributes:
        dataset: a name in `DATASETS`, or paper.
        cache: folder of feature maps.
        options: of the command line.
    """

    dataset: str
    folder: Path
    machine: Machine
    cache: Path
    options: EvaluateOptions

    @property
    def settings(self) -> MethodSettings:
        """Settings of the method.

        Convention:
            On the default network both presets use both layers, 8 classes and the same working
            size, so that results are comparable; other networks use their own.
        """
        given = self.options
        changed: dict[str, Any] = {"n_classes": given.classes, "n_pca": given.classes}
        changed["windows"] = window_count(given.windows)
        layers, side = given.layers, given.max_side
        if given.network is None:
            default = method_settings("default")
            if layers is None:
                layers = ",".join(f"{layer.name}:{layer.dims}" for layer in default.layers)
            if given.classes is None:
                changed |= {"n_classes": default.n_classes, "n_pca": default.n_pca}
            side = default.side if side is None else side
        if side is not None:
            changed |= {"side": side, "side_is": "longer", "side_multiple": 32}
        return method_settings(given.preset, given.network, layers, **changed)

    @property
    def regions(self) -> RegionSettings:
        """Settings of re-ranking."""
        return RegionSettings.preset(self.options.preset)

    def trials(self, show: Progress) -> tuple[Trial, ...]:
        """The trials of the dataset."""
        return _trials(self, self.dataset, self.folder, self.options.fit_on, show)

    def encoder(self, settings: MethodSettings) -> Encoder:
        """The network with its weights.

        Raises:
            ArtifactError: if the weights are missing.
        """
        plain, named = weight_files(self.options.weights or ())
        weights = weight_file(named.get(settings.network, plain), settings.network)
        loaded = load_network(settings.network, weights)
        return Encoder(loaded, settings, self.machine.device, self.machine.precision)


class Content(NamedTuple):
    """What is printed, and written as JSON."""

    shown: Sequence[RenderableType]
    as_json: dict[str, Any]


def measure(asked: Asked, show: Progress) -> Content:
    """Measure systems, a server's results, the paper's tables, or an ablation.

    Raises:
        RequestError: for options that are not valid.
    """
    if asked.options.through is not None:
        return _measure_through(asked, asked.options.through, show)
    if asked.options.table is not None:
        return _measure_paper(asked, asked.options.table, show)
    if asked.options.ablate is not None and asked.options.report is None:
        chosen_knobs(asked.options.ablate)  # validate before images are read
        return _ablation_content(_ablation(asked, asked.trials(show), asked.options.ablate, show))
    return _measure_systems(asked, show)


def _measure_systems(asked: Asked, show: Progress) -> Content:
    """Measure every system at every stage, with an optional ablation and report."""
    systems = (
        None
        if asked.options.systems is None
        else [n.strip() for n in asked.options.systems.split(",")]
    )
    _check_systems(asked, systems)
    trials = asked.trials(show)
    if asked.options.compare is not None:
        streamed = any(trial.streamed for trial in trials)
        named_pair(asked.options.compare, stages_measured(systems, streamed=streamed))
    queries = asked.options.queries or DATASETS[asked.dataset].queries
    evaluation = evaluate_trials(
        trials,
        About(asked.dataset, str(asked.folder), queries, asked.options.fit_on),
        asked.encoder(asked.settings),
        asked.regions,
        asked.cache,
        show,
        preset_name=asked.options.preset,
        systems=systems,
    )
    shown: list[RenderableType] = [table_of(evaluation), *where_tables(evaluation.rows)]
    shown += evaluation.left_out
    shown += dict.fromkeys(note for trial in trials for note in trial.notes)
    as_json = evaluation.as_dict()
    pair, scores = None, by_system(evaluation.scores)
    if asked.options.compare is not None:
        names = dict.fromkeys(system for system, _ in scores)
        pair = named_pair(
            asked.options.compare, {n: [st for s, st in scores if s == n] for n in names}
        )
        found, _ = compare(*(scores[one] for one in pair))
        shown.append(comparison_words((str(pair[0]), str(pair[1])), found, evaluation.trials))
        as_json["compared"] = {"one": str(pair[0]), "other": str(pair[1]), **asdict(found)}
    ablation = None
    if asked.options.ablate is not None:
        ablation = _ablation(asked, trials, asked.options.ablate, show)
        more = _ablation_content(ablation)
        shown += more.shown
        as_json["ablation"] = more.as_json
    if asked.options.report is not None:
        from evaluation.report import write_evaluation_report

        write_evaluation_report(asked.options.report, evaluation, trials, pair, ablation)
    return Content(shown, as_json)


def _check_systems(asked: Asked, systems: list[str] | None) -> None:
    """Validate options before images are read."""
    check_systems(systems)
    if asked.options.ablate is not None:
        chosen_knobs(asked.options.ablate)
    if asked.options.compare is not None:
        named_pair(asked.options.compare, stages_measured(systems))
    if asked.options.report is not None:
        require_matplotlib()
        check_report(asked.options.report)


def _ablation(asked: Asked, trials: tuple[Trial, ...], settings: str, show: Progress) -> Ablation:
    return ablate(
        sampled(trials, asked.options.queries_of),
        asked.encoder(asked.settings),
        Setup(asked.settings, asked.regions, stage_of(_WINDOW, _EXPAND)),
        chosen_knobs(settings),
        asked.cache,
        show,
        preset_name=asked.options.preset,
    )


def _ablation_content(found: Ablation) -> Content:
    advice = recommendation(found)
    shown: list[RenderableType] = [ablation_table(found), *(f"- {line}" for line in advice)]
    return Content(shown, asdict(found) | {"recommendation": list(advice)})


def _measure_through(asked: Asked, address: str, show: Progress) -> Content:
    """Compare a server's results with those of the Python library."""
    from camsearch.servers import elastic
    from camsearch.settings import read_settings
    from evaluation.through import evaluate_through

    settings = read_settings().model_copy(update={"elasticsearch": address})
    found = evaluate_through(
        asked.folder,
        elastic(settings),
        asked.options.index or settings.images,
        asked.machine,
        queries=asked.options.queries or "full",
        progress=show,
    )
    table = rows_table(found.rows)
    table.title = f"mAP, {found.asked} queries, at most {found.max_difference:.4f} apart"
    return Content([table], asdict(found))


def _measure_paper(asked: Asked, table: str, show: Progress) -> Content:
    """Measure the paper's tables on one dataset, or on all of theirs."""
    tables = paper_tables(table)
    if asked.dataset == "paper" and asked.options.distractors is not None:
        raise RequestError("--distractors is for one dataset: remove it for `evaluate paper`.")
    names = PAPER_DATASETS if asked.dataset == "paper" else (asked.dataset,)
    measured = measure_tables(
        tables,
        {name: _found(asked, name, show) for name in names},
        lambda settings: asked.encoder(at_size(settings, asked.options.max_side)),
        RegionSettings.preset("paper"),
        asked.cache,
        show,
        network=asked.options.network,
    )
    shown: list[RenderableType] = [paper_table(one) for one in measured]
    shown += [f"- {line}" for line in reasons(measured)]
    return Content(shown, {"tables": [asdict(one) for one in measured]})


def _found(asked: Asked, name: str, show: Progress) -> tuple[Trial, ...] | str:
    """A dataset's trials; with `paper`, the reason if the dataset cannot be read."""
    if asked.dataset != "paper":
        return asked.trials(show)
    # Datasets with distractors are in the same folder; each city is fitted on the other.
    cities = ("oxford5k", "paris6k")
    city, other = cities if name.startswith("oxford") else cities[::-1]
    fit_on = asked.options.fit_on or f"{other}:"
    if fit_on.endswith(":"):
        fit_on += str(asked.folder / other)
    try:
        return _trials(asked, name, asked.folder / city, fit_on, show)
    except CamsearchError as error:
        return error.reason


def _trials(
    asked: Asked, name: str, folder: Path, fit_on: str | None, show: Progress
) -> tuple[Trial, ...]:
    if name == "paper":
        raise RequestError("The dataset paper is for the paper's tables: add --table paper.")
    return read_dataset(
        name,
        folder,
        queries=asked.options.queries,
        fit_on=None if fit_on is None else FitOn.parse(fit_on, name),
        distractors=asked.options.distractors,
        stream=asked.options.stream,
        cache=asked.cache,
        progress=show,
    )
