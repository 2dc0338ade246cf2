"""`camsearch evaluate`: how good the answers are, on photos whose answers are known."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress

from camsearch.commands import options
from camsearch.settings import read_settings
from descriptors.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from descriptors.machine import Machine
    from descriptors.settings import MethodSettings

__all__ = ["EXAMPLE", "evaluate"]

Queries = Literal["full", "boxes"]

EXAMPLE = "Example: camsearch evaluate photos ../shared/photos --queries boxes --json boxes.json"


def evaluate(
    dataset: Annotated[
        str, typer.Argument(help="The kind of dataset: photos (a folder with photos.csv).")
    ],
    folder: Annotated[Path, typer.Argument(help="Folder of the dataset.")],
    queries: Annotated[Queries, typer.Option(help="Full pictures, or boxes.")] = "full",
    fit_on: Annotated[
        Path | None,
        typer.Option(
            help="Fit the whitening on this folder of the same form and search the whole of the "
            "other (default: half against half)."
        ),
    ] = None,
    max_side: Annotated[
        int | None, typer.Option(help="Working size: pixels of the longer side (default: 512).")
    ] = None,
    preset: options.Preset = "default",
    layers: Annotated[
        str | None,
        typer.Option(help="Feature layers and dimensions (default: mid:256,last:256)."),
    ] = None,
    classes: Annotated[
        int | None, typer.Option(help="N_C: best classes in a descriptor (default: 8).")
    ] = None,
    systems: Annotated[
        str | None,
        typer.Option(help="Compared systems by name, such as SPoC,R-MAC (default: all)."),
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
    from descriptors.settings import RegionSettings
    from evaluation.evaluate import evaluate_photos
    from evaluation.tables import table_of

    if dataset != "photos":
        raise RequestError(f"There is no dataset {dataset!r}: the one known is photos.")
    machine = options.machine(device, precision)
    with _progress() as show:
        if through is not None:
            _through(folder, through, index, queries, machine, show, as_json)
            return
        evaluation = evaluate_photos(
            folder,
            settings=_settings(preset, layers, max_side, classes),
            regions=RegionSettings.preset(preset),
            preset_name=preset,
            queries=queries,
            fit_on=fit_on,
            cache=read_settings().cache.expanduser() / "evaluate",
            device=machine.device,
            precision=machine.precision,
            systems=None if systems is None else [name for name in systems.split(",") if name],
            progress=show,
        )
    Console().print(table_of(evaluation))
    options.write_json(as_json, json.loads(evaluation.to_json()))


def _through(
    folder: Path,
    address: str,
    index: str | None,
    queries: Queries,
    machine: Machine,
    show: Callable[[str, int, int], None],
    as_json: Path | None,
) -> None:
    from dataclasses import asdict

    from camsearch.servers import elastic
    from evaluation.tables import rows_table
    from evaluation.through import evaluate_through

    settings = read_settings().model_copy(update={"elasticsearch": address})
    found = evaluate_through(
        folder, elastic(settings), index or settings.images, machine, queries=queries, progress=show
    )
    table = rows_table(found.rows)
    table.title = f"mAP, {found.asked} queries, at most {found.most_apart:.4f} apart"
    Console().print(table)
    options.write_json(as_json, asdict(found))


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, object] = {}

        def show(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
            bar.update(tasks[what], completed=done, total=of)  # type: ignore[arg-type]

        yield show


def _settings(
    preset: str, layers: str | None, max_side: int | None, classes: int | None
) -> MethodSettings:
    default = options.method_settings("default")
    return options.method_settings(
        preset,
        layers=layers or ",".join(f"{layer.name}:{layer.dims}" for layer in default.layers),
        side=max_side or default.side,
        side_is="longer",
        side_multiple=default.side_multiple,
        n_classes=classes or default.n_classes,
        n_pca=classes or default.n_pca,
    )
