"""`camsearch serve`: a proxy that adds image search to Elasticsearch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from camsearch.commands import options
from camsearch.settings import read_settings

__all__ = ["EXAMPLE", "serve"]

_OK = 200
_PATIENCE_S = 5.0

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
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port to listen at; 0: a free one (default: 9280)."),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Pass through only requests that read.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Serve nothing; check that the server at --host and --port is ready: exit with 0 or 1.",
        ),
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
    """Answer Elasticsearch requests, and searches that contain an image.

    Point any Elasticsearch client at it: requests that do not name camsearch are passed through.
    On Ctrl-C or SIGTERM it finishes the requests it has accepted.
    """
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
    if check:
        others = {
            "--gallery": gallery,
            "--elasticsearch": elasticsearch,
            "--index": index,
            "--read-only": read_only or None,
            "--preset": preset,
            "--weights": weights,
            "--whitening": whitening,
            "--maps": maps,
            "--device": device,
            "--precision": precision,
        }
        _refuse_beside("--check", "which asks a running server", others)
        raise typer.Exit(_check(settings.serve_host, settings.serve_port))
    from camsearch import serving
    from descriptors.settings import MethodSettings, RegionSettings
    from reranker.app import make_app
    from reranker.operations.logs import configure_logs
    from reranker.passing.not_yet import answer_until
    from reranker.passing.serving import ServingSettings, end_in_order, listen, server_of

    if gallery is not None:
        others = {
            "--elasticsearch": elasticsearch,
            "--preset": preset,
            "--weights": weights,
            "--whitening": whitening,
            "--maps": maps,
        }
        _refuse_beside("--gallery", "which has its own", others)
    machine = options.machine(device, precision)
    configure_logs()
    end_in_order()
    with ExitStack() as stack:
        at = ServingSettings(settings.serve_host, settings.serve_port)
        listening = stack.enter_context(listen(at.host, at.port))
        address, bound = listening.getsockname()[:2]
        address = f"[{address}]" if ":" in address else address
        if gallery is not None:
            app = make_app(stack.enter_context(serving.over_folder(gallery, settings, machine)))
        else:
            named = serving.ServedMethod(
                None if preset is None else MethodSettings.preset(preset),
                None if preset is None else RegionSettings.preset(preset),
                whitening,
                options.weight_file(weights, MethodSettings().network),
                maps,
            )
            typer.echo(f"camsearch listens at {address}:{bound}", err=True)
            wait = partial(answer_until, listening=listening, settings=at)
            app = stack.enter_context(serving.over_elasticsearch(settings, machine, named, wait))
        typer.echo(f"camsearch answers at http://{address}:{bound}", err=True)
        server_of(app, at).run(sockets=[listening])


def _refuse_beside(option: str, why: str, given: Mapping[str, object]) -> None:
    """Refuse options that have no effect beside another.

    Raises:
        BadParameter: naming the first that is given.
    """
    for name, value in given.items():
        if value is not None:
            raise typer.BadParameter(
                f"{name} cannot be used together with {option}, {why}: leave out one of them."
            )


def _check(host: str, port: int) -> int:
    """0 if the server there is ready, else 1; its answer is printed."""
    from urllib3 import HTTPConnectionPool
    from urllib3.exceptions import HTTPError

    # Who listens at all addresses does so at this one.
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    try:
        answer = HTTPConnectionPool(near, port, timeout=_PATIENCE_S, retries=False).request(
            "GET", "/_camsearch/health/ready"
        )
    except HTTPError as error:
        typer.echo(f"Nothing answers at {near}:{port} ({type(error).__name__}).", err=True)
        return 1
    typer.echo(answer.data.decode("utf-8", "replace"))
    return int(answer.status != _OK)
