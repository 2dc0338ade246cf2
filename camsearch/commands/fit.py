"""`camsearch fit`: fit the whitening on your own images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from camsearch.commands import options
from camsearch.commands.grouped import grouped
from camsearch.commands.indexing_bar import plain_console
from camsearch.commands.method_options import NetworkOptions

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from descriptors.encoder import Encoder
    from descriptors.machine import Machine
    from descriptors.whitening import WhiteningFit
    from indexer.reading import Prepared, Refused
    from indexer.sources import Source

__all__ = ["EXAMPLE", "fit"]

EXAMPLE = (
    "Example: camsearch fit photos/ --out my.safetensors; "
    "then camsearch index photos/ --whitening my.safetensors"
)


@grouped
def fit(
    paths: Annotated[list[Path], typer.Argument(help="Folders and images to fit on.")],
    out: Annotated[
        Path, typer.Option("--out", "-o", help="File to write, ending in .safetensors.")
    ],
    *,
    chosen: NetworkOptions,
    most: Annotated[
        int, typer.Option(min=1, help="Fit on at most this many images, evenly spaced.")
    ] = 5000,
    device: options.Device = None,
    precision: options.PrecisionOption = None,
) -> None:
    """Fit the whitening on your own images: similar to those searched, but not the same ones.

    About a thousand images are enough for 256 dimensions per layer.
    """
    from safetensors import SafetensorError

    from descriptors.backbones import load_network
    from descriptors.encoder import Encoder
    from descriptors.errors import RequestError, written
    from indexer.encoding import check_enough
    from indexer.sources import find_images

    if out.suffix != ".safetensors":
        raise RequestError(f"--out {out} must end in .safetensors (a .json is written beside it).")
    options.check_writable(out, "--out")
    machine = options.machine(device, precision)
    settings = chosen.settings()
    loaded = load_network(settings.network, chosen.weight_file())
    encoder = Encoder(loaded, settings, machine.device, machine.precision)
    sources = list(find_images(paths))
    count = min(most, len(sources))
    some = [sources[i * len(sources) // count] for i in range(count)]
    collected = _collect(encoder, some, machine)
    check_enough(collected.images, settings)
    names = ", ".join(str(path) for path in paths)
    whitening = collected.fit(f"{collected.images} images of {names}")
    with written(f"--out {out}", SafetensorError):
        whitening.save(out)
    console = plain_console()
    console.print(
        f"Whitening of {collected.images} images written to {out} "
        f"({len(some) - collected.images} could not be read)."
    )


def _collect(encoder: Encoder, sources: list[Source], machine: Machine) -> WhiteningFit:
    """Collect class vectors with a progress bar."""
    from indexer.encoding import collect_vectors
    from indexer.reading import IndexingPlan

    def follow(outcomes: Iterator[Prepared | Refused]) -> Iterable[Prepared | Refused]:
        bar = Console(stderr=True)
        return track(outcomes, "reading", total=len(sources), console=bar, transient=True)

    return collect_vectors(encoder, sources, IndexingPlan.on(machine), follow)
