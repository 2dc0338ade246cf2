"""`camsearch evaluate`: measure retrieval quality on datasets with ground truth."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.console import Console
from rich.progress import Progress

from camsearch.commands import options
from camsearch.commands.grouped import grouped
from camsearch.commands.method_options import ClassOptions, Preset, WindowCount
from camsearch.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["EXAMPLE", "EvaluateOptions", "evaluate"]

_Queries = Literal["full", "boxes"]

# Default number of queries per part in an ablation, which then takes minutes.
_QUERIES_OF = 150

EXAMPLE = """Example: camsearch evaluate photos ../shared/photos --queries boxes --json boxes.json

camsearch evaluate photos ../shared/photos --systems OfA,R-MAC --report out.html

camsearch evaluate photos ../shared/photos --ablate n_classes=4,8,16,dims,window

camsearch evaluate oxford5k ~/oxford5k --fit-on ~/paris6k --preset paper --network vgg16_cam
--weights vgg16cam.safetensors

camsearch evaluate paper ~/datasets --table paper --weights vgg16_cam=vgg16cam.safetensors"""


@dataclass(frozen=True)
class EvaluateOptions(ClassOptions):
    """The options of `camsearch evaluate`; None for the default of the dataset or preset."""

    root: Annotated[Path | None, typer.Option(help="Folder of the dataset.")] = None
    queries: Annotated[
        _Queries | None,
        typer.Option(help="Full images, or boxes (default: the dataset's protocol)."),
    ] = None
    fit_on: Annotated[
        str | None,
        typer.Option(
            help="Fit the whitening on this folder (DIR, or KIND:DIR for another dataset), or take "
            "the packaged one (packaged), and search the whole dataset (default: half against "
            "half, if it has halves)."
        ),
    ] = None
    distractors: Annotated[
        Path | None, typer.Option(help="Folder of images to add to the gallery.")
    ] = None
    stream: Annotated[
        bool | None,
        typer.Option(
            help="Keep only the vectors of distractors, not their maps, and measure only OfA "
            "(default: for a million distractors)."
        ),
    ] = None
    max_side: Annotated[
        int | None, typer.Option(help="Working size: pixels of the longer side (default: 512).")
    ] = None
    preset: Preset = "default"
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="Another network: see docs/networks.md, or timm:NAME for a timm network. Several "
            "are compared: mAP of OfA, ms and bytes of an image."
        ),
    ] = None
    weights: Annotated[
        list[str] | None,
        typer.Option(
            help="Local weight file, or NETWORK=FILE; may be repeated. The file 'download' stands "
            "for torchvision's weights."
        ),
    ] = None
    layers: Annotated[
        str | None,
        typer.Option(help="Feature layers and dimensions (default: mid:256,last:256)."),
    ] = None
    classes: Annotated[
        int | None, typer.Option(help="N_C: best classes in a descriptor (default: 8).")
    ] = None
    windows: WindowCount = None
    systems: Annotated[
        str | None, typer.Option(help="Only these systems, such as OfA,R-MAC (default: all).")
    ] = None
    table: Annotated[
        str | None,
        typer.Option(
            help="Measure the paper's tables instead: paper for all, or features, systems, "
            "reranking, networks, cost; --network replaces the paper's VGG-16."
        ),
    ] = None
    ablate: Annotated[
        str | None,
        typer.Option(
            help="Vary these settings one at a time, such as n_classes=4,8,16,dims,window, and "
            "recommend values; 'all' for those that need no new encoding."
        ),
    ] = None
    queries_of: Annotated[
        int,
        typer.Option(
            min=0,
            show_default=False,
            help="With --ablate: queries per part, evenly spaced; 0 for all (default: 150).",
        ),
    ] = _QUERIES_OF
    report: Annotated[
        Path | None,
        typer.Option(help="Write plots, best and worst queries and a comparison to this .html."),
    ] = None
    compare: Annotated[
        str | None,
        typer.Option(
            help="Compare two systems query by query, such as OfA:R100+QE5,R-MAC:first+QE5 "
            "(default: the best of ours and the best of the others)."
        ),
    ] = None
    through: Annotated[
        str | None,
        typer.Option(
            help="URL of a `camsearch serve` whose index holds the folder's images: compare its "
            "results with those of the Python library."
        ),
    ] = None
    index: Annotated[
        str | None, typer.Option(help="With --through: the server's index (default: images).")
    ] = None


@grouped
def evaluate(
    ctx: typer.Context,
    dataset: Annotated[
        str,
        typer.Argument(
            help="photos (a folder with photos.csv), folder (a subfolder per object), oxford5k, "
            "paris6k, oxford105k, paris106k, roxford5k, rparis6k, roxford5k+1m, rparis6k+1m, "
            "holidays; with --table also paper: the paper's four. See docs/evaluation.md for "
            "their files."
        ),
    ],
    folder: Annotated[
        Path | None, typer.Argument(help="Folder of the dataset (or --root).")
    ] = None,
    *,
    given: EvaluateOptions,
    as_json: options.JsonFile = None,
    device: options.Device = None,
    precision: options.PrecisionOption = None,
) -> None:
    """Measure mean average precision of our systems at every stage, and of the baselines.

    Both presets use the same layers, number of classes (8) and working size, so that their
    results are comparable. --layers last:512 --classes 64 is the published single-layer setting.
    With --through only a server's results are measured and compared with this process's.
    """
    from camsearch.evaluating import measure
    from camsearch.evaluation_options import (
        Asked,
        check_json_path,
        check_networks,
        check_together,
        the_folder,
    )

    check_together(dataset, options.given_names(ctx))
    check_networks(given.network or (), options.given_names(ctx))
    check_json_path(as_json)
    asked = Asked(
        dataset,
        the_folder(folder, given.root),
        options.machine(device, precision),
        read_settings().cache.expanduser() / "evaluate",
        given,
    )
    kept = (
        f"Stopped: feature maps and vectors are kept in {asked.cache}, results are not. Run the "
        "same command to continue."
    )
    if given.through is not None:
        kept = "Stopped: nothing is kept. Run the same command to measure again."
    with options.stopped(lambda: kept), _progress() as show:
        content = measure(asked, show)
    console = Console(stderr=str(as_json) == "-")  # standard output is for the JSON
    for part in content.shown:
        console.print(part)
    options.write_json(as_json, content.as_json)


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    with Progress(console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, object] = {}

        def show(what: str, done: int, of: int) -> None:
            if what not in tasks:
                tasks[what] = bar.add_task(what)
            bar.update(tasks[what], completed=done, total=of)  # type: ignore[arg-type]

        yield show
