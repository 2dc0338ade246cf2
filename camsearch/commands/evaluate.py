"""`camsearch evaluate`: how good the answers are, on photos whose answers are known."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress

from camsearch.commands import options
from camsearch.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from descriptors.machine import Machine

__all__ = ["EXAMPLE", "evaluate"]

Queries = Literal["full", "boxes"]

# Queries of each part that an ablation asks, so that it takes minutes.
_QUERIES_OF = 150

EXAMPLE = """Example: camsearch evaluate photos ../shared/photos --queries boxes --json boxes.json

camsearch evaluate photos ../shared/photos --systems OfA,R-MAC --report out.html

camsearch evaluate photos ../shared/photos --ablate n_classes=4,8,16,dims,window

camsearch evaluate oxford5k ~/oxford5k --fit-on ~/paris6k --preset paper --network vgg16_cam
--weights vgg16cam.safetensors

camsearch evaluate paper ~/datasets --table paper --weights vgg16_cam=vgg16cam.safetensors"""


def evaluate(
    dataset: Annotated[
        str,
        typer.Argument(
            help="photos (a folder with photos.csv), folder (a subfolder a thing), oxford5k, "
            "paris6k, oxford105k, paris106k, roxford5k, rparis6k, roxford5k+1m, rparis6k+1m, "
            "holidays; with --table also paper: all four that the paper has. docs/evaluation.md "
            "says what each needs."
        ),
    ],
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of the dataset (or --root).")
    ] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the dataset.")] = None,
    queries: Annotated[
        Queries | None,
        typer.Option(help="Full pictures, or boxes (default: as the dataset's protocol has it)."),
    ] = None,
    fit_on: Annotated[
        str | None,
        typer.Option(
            help="Fit the whitening on this folder, perhaps of another kind (KIND:DIR), and "
            "search the whole of the other (default: half against half, where there are halves)."
        ),
    ] = None,
    distractors: Annotated[
        Path | None, typer.Option(help="A folder of pictures that are added to the gallery.")
    ] = None,
    stream: Annotated[
        bool | None,
        typer.Option(
            help="Keep only the vectors of distractors, not their maps; then OfA alone is "
            "measured (default: for a million of them)."
        ),
    ] = None,
    max_side: Annotated[
        int | None, typer.Option(help="Working size: pixels of the longer side (default: 512).")
    ] = None,
    preset: options.Preset = "default",
    network: options.Network = None,
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Local weight file, or NETWORK=FILE (again for another network); 'download' as "
            "the file gets torchvision's."
        ),
    ] = None,
    layers: Annotated[
        str | None,
        typer.Option(help="Feature layers and dimensions (default: mid:256,last:256)."),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="N_C: best classes in a descriptor (default: 8).")
    ] = None,
    systems: Annotated[
        str | None, typer.Option(help="Only these systems, such as OfA,R-MAC (default: all).")
    ] = None,
    table: Annotated[
        str | None,
        typer.Option(
            help="Measure the paper's tables instead: paper for all, or features, systems, "
            "reranking, networks, cost; --network stands in for the paper's VGG-16."
        ),
    ] = None,
    ablate: Annotated[
        str | None,
        typer.Option(
            help="Vary these settings one at a time, such as n_classes=4,8,16,dims,window, and "
            "recommend; all for every one that encodes nothing anew."
        ),
    ] = None,
    queries_of: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="With --ablate: queries of each part, evenly spread; 0 for all (default: 150).",
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="Write plots, best and worst queries and a comparison to this .html."),
    ] = None,
    compare: Annotated[
        str | None,
        typer.Option(
            help="Compare two systems query by query, such as OfA:R100+QE5,R-MAC:first+QE5 "
            "(default: the best of ours and the best of the others)."
        ),
    ] = None,
    through: Annotated[
        str | None,
        typer.Option(
            help="Ask the server at this address (`camsearch serve`), whose index holds the "
            "folder's photos, and compare its answers with those of Python."
        ),
    ] = None,
    index: Annotated[
        str | None, typer.Option(help="With --through: the server's index (default: images).")
    ] = None,
    as_json: options.JsonFile = None,
    device: options.Device = None,
    precision: options.Precision = None,
) -> None:
    """Measure mean average precision: our systems at every stage, and the compared ones.

    Both presets run on both layers, with 8 classes, at the same working size, so that their
    figures compare. --layers last:512 --classes 64 is the published setting of one layer.
    With --through only a server's answers are measured, against the same in this process.
    """
    from camsearch.evaluating import (
        Asked,
        measure,
        measure_ablation,
        measure_paper,
    )
    from camsearch.evaluation_options import check_json, check_together, the_folder

    given = {
        "--fit-on": fit_on,
        "--distractors": distractors,
        "--stream": stream,
        "--max-side": max_side,
        "--preset": None if preset == "default" else preset,
        "--network": network,
        "--weights": weights,
        "--layers": layers,
        "--classes": classes,
        "--systems": systems,
        "--table": table,
        "--ablate": ablate,
        "--queries-of": queries_of,
        "--report": report,
        "--compare": compare,
        "--through": through,
        "--index": index,
    }
    check_together(dataset, given)
    check_json(as_json)
    place = the_folder(folder, root)
    machine = options.machine(device, precision)
    cache = read_settings().cache.expanduser() / "evaluate"
    if through is not None:
        nothing = "Stopped: nothing is kept. Run the same command to measure again."
        with options.stopped(lambda: nothing):
            _through(place, through, index, queries or "full", machine, as_json)
        return
    asked = Asked(
        dataset,
        place,
        machine,
        cache,
        queries=queries,
        fit_on=fit_on,
        distractors=distractors,
        stream=stream,
        preset=preset,
        network=network,
        weights=tuple(weights or ()),
        layers=layers,
        max_side=max_side,
        classes=classes,
    )
    most = _QUERIES_OF if queries_of is None else queries_of
    kept = (
        f"Stopped: the feature maps and vectors made so far are kept in {cache}, figures are not. "
        "Run the same command to go on from there."
    )
    with options.stopped(lambda: kept), _progress() as show:
        if table is not None:
            content = measure_paper(asked, table, show)
        elif ablate is not None and report is None:
            content = measure_ablation(asked, ablate, most, show)
        else:
            content = measure(asked, systems, compare, report, show, ablate, most)
    console = _console(as_json)
    for part in content.shown:
        console.print(part)
    options.write_json(as_json, content.as_json)


def _through(
    folder: Path,
    address: str,
    index: str | None,
    queries: Queries,
    machine: Machine,
    as_json: Path | None,
) -> None:
    from dataclasses import asdict

    from camsearch.servers import elastic
    from evaluation.tables import rows_table
    from evaluation.through import evaluate_through

    settings = read_settings().model_copy(update={"elasticsearch": address})
    with _progress() as show:
        found = evaluate_through(
            folder,
            elastic(settings),
            index or settings.images,
            machine,
            queries=queries,
            progress=show,
        )
    table = rows_table(found.rows)
    table.title = f"mAP, {found.asked} queries, at most {found.most_apart:.4f} apart"
    _console(as_json).print(table)
    options.write_json(as_json, asdict(found))


def _console(as_json: Path | None) -> Console:
    """For people: what is printed as JSON is for a program, which reads nothing else there."""
    return Console(stderr=str(as_json) == "-")


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, object] = {}

        def show(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
            bar.update(tasks[what], completed=done, total=of)  # type: ignore[arg-type]

        yield show
