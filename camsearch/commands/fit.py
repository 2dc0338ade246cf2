"""`camsearch fit`: fit the whitening, and learn classes, on your own images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from camsearch.commands import options
from camsearch.commands.grouped import grouped
from camsearch.commands.indexing_bar import plain_console
from camsearch.commands.method_options import ClassOptions, NetworkOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from descriptors.encoder import Encoder
    from descriptors.machine import Machine
    from descriptors.whitening import WhiteningFit
    from indexer.encoding import Follow
    from indexer.sources import Source

__all__ = ["EXAMPLE", "fit"]

EXAMPLE = """Example: camsearch fit photos/ --out my.safetensors; then camsearch index photos/
--whitening my.safetensors

camsearch fit photos/ --out my.safetensors --learned 64; then, to name the classes,
camsearch fit --out my.safetensors --class-names names.txt"""

# Images that classes are learned from.
_MOST_LEARNED = 2000


@grouped
def fit(
    *,
    paths: Annotated[
        list[Path] | None, typer.Argument(help="Folders and images to fit on.")
    ] = None,
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write, ending in .safetensors.")
    ],
    chosen: NetworkOptions,
    classes: ClassOptions,
    class_names: Annotated[
        Path | None,
        typer.Option(
            help="Text file with the name of each learned class, one per line. Without images, "
            "the classes of the existing file --out are named."
        ),
    ] = None,
    most: Annotated[
        int, typer.Option(min=1, help="Fit on at most this many images, evenly spaced.")
    ] = 5000,
    device: options.Device = None,
    precision: options.PrecisionOption = None,
) -> None:
    """Fit the whitening on your own images: similar to those searched, but not the same ones.

    About a thousand images are enough for 256 dimensions per layer. Classes can be learned from
    the same images: for a network without class labels, or of things that ImageNet does not have.
    """
    from safetensors import SafetensorError

    from descriptors.backbones import load_network
    from descriptors.encoder import Encoder
    from descriptors.errors import RequestError, written
    from descriptors.whitening import Whitening
    from indexer.encoding import check_enough
    from indexer.sources import find_images

    if out.suffix != ".safetensors":
        raise RequestError(f"--out {out} must end in .safetensors (a .json is written beside it).")
    options.check_writable(out, "--out")
    names = None if class_names is None else _lines(class_names)
    if paths:
        machine = options.machine(device, precision)
        settings = chosen.settings()
        loaded = load_network(settings.network, chosen.weight_file())
        encoder = Encoder(loaded, settings, machine.device, machine.precision)
        count = classes.learned_count(loaded)
        some = _spread(list(find_images(paths)), most)
        collected = _collect(encoder, some, machine, count)
        check_enough(collected.images, settings)
        fitted_on = ", ".join(str(path) for path in paths)
        whitening = collected.fit(f"{collected.images} images of {fitted_on}")
        said = (
            f"Whitening {f'and {count} classes ' if count else ''}of {collected.images} images "
            f"written to {out} ({len(some) - collected.images} could not be read)."
        )
    elif names is None:
        raise RequestError("No images are given: name folders or images to fit on.")
    else:
        whitening, said = Whitening.load(out), f"The classes of {out} are named."
    if names is not None:
        whitening = whitening.with_class_names(names)
    with written(f"--out {out}", SafetensorError):
        whitening.save(out)
    plain_console().print(said)


def _spread(sources: Sequence[Source], most: int) -> list[Source]:
    """At most this many, evenly spaced."""
    count = min(most, len(sources))
    return [sources[i * len(sources) // count] for i in range(count)]


def _collect(
    encoder: Encoder, sources: list[Source], machine: Machine, learned: int
) -> WhiteningFit:
    """Collect class vectors with a progress bar, of learned classes if their number is not 0."""
    from indexer.encoding import collect_vectors, learn_classes
    from indexer.reading import IndexingPlan

    def bar(what: str, of: int) -> Follow:
        console = Console(stderr=True)
        return lambda read: track(read, what, total=of, console=console, transient=True)

    plan, classes = IndexingPlan.on(machine), None
    if learned:
        few = _spread(sources, _MOST_LEARNED)
        classes = learn_classes(encoder, few, plan, learned, bar("learning", len(few)))
    return collect_vectors(encoder, sources, plan, bar("reading", len(sources)), classes)


def _lines(path: Path) -> list[str]:
    """The lines of a text file.

    Raises:
        RequestError: it cannot be read.
    """
    from descriptors.errors import RequestError

    try:
        return [line.strip() for line in path.read_text("utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"--class-names {path} cannot be read ({error}).") from error
