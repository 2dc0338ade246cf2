"""What `camsearch evaluate` runs, and what it prints of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from camsearch.commands import options
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
from evaluation.significance import compare as compare_scores
from evaluation.significance import named_pair
from evaluation.tables import (
    ablation_table,
    comparison_words,
    paper_table,
    reasons,
    table_of,
)

if TYPE_CHECKING:
    from rich.console import RenderableType

    from descriptors.machine import Machine
    from descriptors.settings import MethodSettings
    from evaluation.ablation import Ablation
    from evaluation.datasets.photos import Queries
    from evaluation.runs import Evaluation
    from evaluation.significance import Comparison, NamedSystem
    from evaluation.trials import Progress, Trial

__all__ = ["Asked", "Content", "measure", "measure_ablation", "measure_paper"]

# What an ablation varies around: the first 100 re-ranked, then an expansion by 5.
_WINDOW, _EXPAND = 100, 5


@dataclass(frozen=True)
class Asked:
    """What is measured, and how.

    Attributes:
        dataset: a name of `DATASETS`, or paper.
        folder: of the dataset.
        machine: where is computed.
        cache: where feature maps are kept.
        queries, fit_on, distractors, stream: see `read_dataset`.
        preset, network, layers, max_side, classes: of the method; None as the preset has it.
        weights: files, or ``NETWORK=FILE``.
    """

    dataset: str
    folder: Path
    machine: Machine
    cache: Path
    queries: Queries | None = None
    fit_on: str | None = None
    distractors: Path | None = None
    stream: bool | None = None
    preset: str = "default"
    network: str | None = None
    weights: tuple[str, ...] = ()
    layers: str | None = None
    max_side: int | None = None
    classes: int | None = None

    @property
    def settings(self) -> MethodSettings:
        """Of the method.

        Convention:
            On the default network both presets have both layers, 8 classes and the same
            working size, so that their figures compare; another network has its own.
        """
        changed: dict[str, Any] = {"n_classes": self.classes, "n_pca": self.classes}
        if self.max_side is not None:
            changed |= {"side": self.max_side, "side_is": "longer", "side_multiple": 32}
        layers = self.layers
        if self.network is None:
            default = options.method_settings("default")
            layers = (
                layers
                if layers is not None
                else ",".join(f"{layer.name}:{layer.dims}" for layer in default.layers)
            )
            changed["side"] = default.side if self.max_side is None else self.max_side
            changed |= {"side_is": "longer", "side_multiple": default.side_multiple}
            if self.classes is None:
                changed |= {"n_classes": default.n_classes, "n_pca": default.n_pca}
        return options.method_settings(self.preset, self.network, layers, **changed)

    @property
    def regions(self) -> RegionSettings:
        """Of the re-ranking."""
        return RegionSettings.preset(self.preset)

    @property
    def about(self) -> About:
        """For people."""
        known = DATASETS.get(self.dataset)
        queries = self.queries or (known.queries if known else "full")
        return About(self.dataset, str(self.folder), queries, self.fit_on)

    def trials(self, show: Progress) -> tuple[Trial, ...]:
        """What is measured on."""
        return _trials(self, self.dataset, self.folder, self.fit_on, show)

    def encoder(self, settings: MethodSettings) -> Encoder:
        """The network with its weights.

        Raises:
            ArtifactError: where there are none.
        """
        weights = self._weights_of(settings.network)
        loaded = load_network(settings.network, options.weight_file(weights, settings.network))
        return Encoder(loaded, settings, self.machine.device, self.machine.precision)

    def _weights_of(self, network: str) -> Path | None:
        """The file that is named for a network; one without a name is for any."""
        plain, named = weight_files(self.weights)
        return named.get(network, plain)


@dataclass(frozen=True)
class Content:
    """What a run prints, and what it writes as JSON."""

    shown: tuple[RenderableType, ...]
    as_json: dict[str, Any]


def measure(  # noqa: PLR0913 - one keyword an option of the command line
    asked: Asked,
    systems: str | None,
    compare: str | None,
    report: Path | None,
    show: Progress,
    ablated: str | None = None,
    queries_of: int = 0,
) -> Content:
    """Every system at every stage; perhaps a report of it.

    Raises:
        RequestError: for what cannot be measured or drawn.
    """
    chosen = None if systems is None else [name.strip() for name in systems.split(",")]
    check_systems(chosen)
    if ablated is not None:
        chosen_knobs(ablated)
    if compare is not None:
        named_pair(compare, stages_measured(chosen))
    if report is not None:
        require_matplotlib()
        check_report(report)
    trials = asked.trials(show)
    if compare is not None:
        streamed = any(trial.streamed for trial in trials)
        named_pair(compare, stages_measured(chosen, streamed=streamed))
    evaluation = evaluate_trials(
        trials,
        asked.about,
        asked.encoder(asked.settings),
        asked.regions,
        asked.cache,
        show,
        preset_name=asked.preset,
        systems=chosen,
    )
    shown: list[RenderableType] = [table_of(evaluation)]
    shown += evaluation.left_out
    shown += dict.fromkeys(note for trial in trials for note in trial.notes)
    as_json = evaluation.as_dict()
    measured: dict[str, list[str]] = {}
    for row in evaluation.rows:
        measured.setdefault(row.system, []).append(row.stage)
    pair = None if compare is None else named_pair(compare, measured)
    if pair is not None:
        found = _compared(evaluation, *pair)
        shown.append(comparison_words((str(pair[0]), str(pair[1])), found, evaluation.trials))
        as_json["compared"] = {"one": str(pair[0]), "other": str(pair[1]), **asdict(found)}
    found_ablation = None
    if ablated is not None:
        found_ablation = _ablation(asked, trials, ablated, queries_of, show)
        more = _ablation_content(found_ablation)
        shown += more.shown
        as_json["ablation"] = more.as_json
    if report is not None:
        from evaluation.report import write_evaluation_report

        write_evaluation_report(report, evaluation, trials, pair, found_ablation)
    return Content(tuple(shown), as_json)


def _compared(evaluation: Evaluation, one: NamedSystem, other: NamedSystem) -> Comparison:
    scores = by_system(evaluation.scores)
    return compare_scores(scores[one.system, one.stage], scores[other.system, other.stage])[0]


def measure_ablation(asked: Asked, text: str, queries_of: int, show: Progress) -> Content:
    """One setting after the other, and what is recommended.

    Raises:
        RequestError: for a setting or value that cannot be.
    """
    chosen_knobs(text)  # refused before anything is read
    found = _ablation(asked, asked.trials(show), text, queries_of, show)
    return _ablation_content(found)


def _ablation(
    asked: Asked, trials: tuple[Trial, ...], text: str, queries_of: int, show: Progress
) -> Ablation:
    setup = Setup(asked.settings, asked.regions, stage_of(_WINDOW, _EXPAND))
    return ablate(
        sampled(trials, queries_of),
        asked.encoder(asked.settings),
        setup,
        chosen_knobs(text),
        asked.cache,
        show,
        preset_name=asked.preset,
    )


def _ablation_content(found: Ablation) -> Content:
    advice = recommendation(found)
    shown: list[RenderableType] = [ablation_table(found)]
    shown += [f"- {sentence}" for sentence in advice]
    return Content(tuple(shown), asdict(found) | {"recommendation": list(advice)})


def measure_paper(asked: Asked, table: str, show: Progress) -> Content:
    """The paper's tables on one dataset, or on all that they have.

    Raises:
        RequestError: for a table or dataset that does not exist.
    """
    tables = paper_tables(table)
    if asked.dataset == "paper" and asked.distractors is not None:
        raise RequestError("--distractors is of one dataset: leave it out with `evaluate paper`.")
    names = PAPER_DATASETS if asked.dataset == "paper" else (asked.dataset,)
    datasets = {name: _found(asked, name, show) for name in names}
    measured = measure_tables(
        tables,
        datasets,
        lambda settings: asked.encoder(at_size(settings, asked.max_side)),
        RegionSettings.preset("paper"),
        asked.cache,
        show,
        network=asked.network,
    )
    shown: list[RenderableType] = [paper_table(one) for one in measured]
    shown += [f"- {sentence}" for sentence in reasons(measured)]
    return Content(tuple(shown), {"tables": [asdict(one) for one in measured]})


def _found(asked: Asked, name: str, show: Progress) -> tuple[Trial, ...] | str:
    """A dataset's trials; of several that are asked for at once one may be missing."""
    if asked.dataset != "paper":
        return asked.trials(show)
    place = asked.folder / _folder_of(name)
    fit_on: str | None = asked.fit_on or f"{_OTHER[_folder_of(name)]}:"
    if fit_on is not None and fit_on.endswith(":"):
        fit_on += str(asked.folder / _OTHER[_folder_of(name)])
    try:
        return _trials(asked, name, place, fit_on, show)
    except CamsearchError as error:
        return error.reason


_OTHER: dict[str, Literal["oxford5k", "paris6k"]] = {"oxford5k": "paris6k", "paris6k": "oxford5k"}


def _folder_of(name: str) -> Literal["oxford5k", "paris6k"]:
    """The larger galleries lie in the folders of the smaller."""
    return "oxford5k" if name.startswith("oxford") else "paris6k"


def _trials(
    asked: Asked, name: str, folder: Path, fit_on: str | None, show: Progress
) -> tuple[Trial, ...]:
    if name == "paper":
        raise RequestError("The dataset paper is for the paper's tables: add --table paper.")
    if name not in DATASETS:
        known = ", ".join([*DATASETS, "paper (with --table)"])
        raise RequestError(f"There is no dataset {name!r}: the ones known are {known}.")
    return read_dataset(
        name,
        folder,
        queries=asked.queries,
        fit_on=None if fit_on is None else FitOn.parse(fit_on, name),
        distractors=asked.distractors,
        stream=asked.stream,
        cache=asked.cache,
        progress=show,
    )
