"""`camsearch serve`: an Elasticsearch that understands pictures."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from camsearch.commands import options
from camsearch.settings import read_settings

__all__ = ["EXAMPLE", "serve"]

EXAMPLE = "Example: camsearch serve --elasticsearch http://localhost:9200 --index images"


def serve(
    gallery: Annotated[
        Path | None,
        typer.Option(
            "--gallery", "-g", help="Serve this folder, without Elasticsearch, as one index."
        ),
    ] = None,
    elasticsearch: Annotated[
        str | None, typer.Option(help="Address of Elasticsearch (default: http://localhost:9200).")
    ] = None,
    index: Annotated[
        str | None, typer.Option(help="Name of the gallery in Elasticsearch (default: images).")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen at (default: 127.0.0.1).")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen at (default: 9280).")] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Let only reading requests through.")
    ] = False,
    preset: Annotated[
        Literal["default", "paper"] | None,
        typer.Option(help="Describe queries with this preset (default: as the index says)."),
    ] = None,
    weights: options.Weights = None,
    whitening: options.Whitening = None,
    maps: Annotated[
        str | None,
        typer.Option(help="Where feature maps are kept (default: where the index says)."),
    ] = None,
    device: options.Device = None,
    precision: options.Precision = None,
) -> None:
    """Answer as Elasticsearch does, and searches that carry a picture besides.

    Point any Elasticsearch client at it: what does not name camsearch is passed through.
    Ctrl-C or SIGTERM lets it finish what it has taken.
    """
    from camsearch import serving
    from descriptors.settings import MethodSettings, RegionSettings
    from reranker.app import make_app
    from reranker.serving import ServingSettings, listen, server_of

    given = {
        "elasticsearch": elasticsearch,
        "images": index,
        "serve_host": host,
        "serve_port": port,
        "serve_read_only": read_only or None,
    }
    settings = read_settings().model_copy(
        update={name: value for name, value in given.items() if value is not None}
    )
    machine = options.machine(device, precision)
    with ExitStack() as stack:
        at = ServingSettings(settings.serve_host, settings.serve_port)
        if gallery is not None:
            service = stack.enter_context(serving.over_folder(gallery, settings, machine))
        else:
            named = serving.ServedMethod(
                None if preset is None else MethodSettings.preset(preset),
                None if preset is None else RegionSettings.preset(preset),
                whitening,
                weights,
                maps,
            )
            service = stack.enter_context(serving.over_elasticsearch(settings, machine, named))
        listening = stack.enter_context(listen(at.host, at.port))
        address, bound = listening.getsockname()[:2]
        typer.echo(f"camsearch answers at http://{address}:{bound}", err=True)
        server_of(make_app(service), at).run(sockets=[listening])
