"""Run `camsearch evaluate`, and build its output."""

from __future__ import annotations

from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from camsearch.evaluation_options import at_size, check_report, trials_of
from descriptors.errors import CamsearchError, RequestError
from descriptors.settings import RegionSettings
from evaluation.ablation import ablate, sampled
from evaluation.knobs import Setup, chosen_knobs
from evaluation.networks import compare_networks
from evaluation.paper import PAPER_DATASETS, measure_tables, paper_tables
from evaluation.plots import require_matplotlib
from evaluation.recommending import recommendation
from evaluation.runs import check_systems, evaluate_trials, stages_measured
from evaluation.scores import by_system
from evaluation.searching import stage_of
from evaluation.significance import compare, named_pair
from evaluation.tables import (
    ablation_table,
    comparison_words,
    networks_table,
    paper_table,
    reasons,
    rows_table,
    table_of,
    where_tables,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import RenderableType

    from camsearch.evaluation_options import Asked
    from evaluation.ablation import Ablation
    from evaluation.trials import Progress, Trial

__all__ = ["Content", "measure"]

# The baseline of an ablation: re-rank 100 hits, expand by 5.
_WINDOW, _EXPAND = 100, 5


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
    if len(asked.options.network or ()) > 1:
        return _measure_networks(asked, show)
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
    encoder = asked.encoder(asked.settings)
    evaluation = evaluate_trials(
        trials,
        asked.about,
        encoder,
        asked.regions,
        asked.cache,
        show,
        preset_name=asked.options.preset,
        systems=systems,
        learned=asked.options.learned_count(encoder.loaded),
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


def _measure_networks(asked: Asked, show: Progress) -> Content:
    """Compare several networks, each with its own settings."""
    each = [replace(asked.options, network=[name]) for name in asked.options.network or ()]
    runs = [replace(asked, options=options) for options in each]
    encoders = [run.encoder(run.settings) for run in runs]
    found = compare_networks(
        encoders,
        asked.trials(show),
        asked.about,
        asked.regions,
        asked.cache,
        show,
        preset_name=asked.options.preset,
        learned=[asked.options.learned_count(encoder.loaded) for encoder in encoders],
    )
    as_json = {
        name: one.evaluation.as_dict() | {"cost": asdict(one.cost), "index_bytes": one.index_bytes}
        for name, one in found.items()
    }
    return Content([networks_table(found)], {"networks": as_json})


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
        network=asked.network,
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
        return trials_of(asked, name, asked.folder / city, fit_on, show)
    except CamsearchError as error:
        return error.reason
