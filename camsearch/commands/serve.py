"""`camsearch serve`: a proxy that adds image search to Elasticsearch."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from camsearch.commands import options
from camsearch.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterator
    from socket import socket

    from camsearch.serving import ServedMethod
    from camsearch.settings import CommandSettings
    from descriptors.machine import Machine

__all__ = ["EXAMPLE", "serve"]

_CHECK_TIMEOUT = 5.0

EXAMPLE = "Example: camsearch serve --elasticsearch http://localhost:9200 --index images"


def serve(
    gallery: Annotated[
        Path | None,
        typer.Option(
            "--gallery", "-g", help="Serve this folder as one index, without Elasticsearch."
        ),
    ] = None,
    elasticsearch: Annotated[
        str | None, typer.Option(help="URL of Elasticsearch (default: http://localhost:9200).")
    ] = None,
    index: Annotated[
        str | None, typer.Option(help="Name of the gallery in Elasticsearch (default: images).")
    ] = None,
    host: Annotated[
        str | None, typer.Option(help="Address to listen on (default: 127.0.0.1).")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port to listen on; 0 for a free one (default: 9280)."),
    ] = None,
    read_only: Annotated[
        bool, typer.Option("--read-only", help="Refuse requests that write.")
    ] = False,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Only check whether the server at --host and --port is ready: exit with 0 or 1.",
        ),
    ] = False,
    preset: Annotated[
        Literal["default", "paper"] | None,
        typer.Option(help="Describe queries with this preset (default: the index's method)."),
    ] = None,
    weights: options.Weights = None,
    whitening: options.Whitening = None,
    maps: Annotated[
        str | None,
        typer.Option(help="Where feature maps are stored (default: as in the index)."),
    ] = None,
    device: options.Device = None,
    precision: options.Precision = None,
) -> None:
    """Serve Elasticsearch requests, and searches that contain an image.

    Use it with any Elasticsearch client: requests that do not name camsearch are passed through.
    On Ctrl-C or SIGTERM it finishes the accepted requests.
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
    of_elasticsearch = {
        "--elasticsearch": elasticsearch,
        "--preset": preset,
        "--weights": weights,
        "--whitening": whitening,
        "--maps": maps,
    }
    if check:
        others = {
            "--gallery": gallery,
            **of_elasticsearch,
            "--index": index,
            "--read-only": read_only or None,
            "--device": device,
            "--precision": precision,
        }
        _refuse_beside("--check", "which checks a running server", others)
        raise typer.Exit(_check(settings.serve_host, settings.serve_port))
    if gallery is not None:
        _refuse_beside("--gallery", "which has its own", of_elasticsearch)
        _serve_folder(gallery, settings, options.machine(device, precision))
        return
    from camsearch.serving import ServedMethod
    from descriptors.settings import MethodSettings, RegionSettings

    machine = options.machine(device, precision)
    named = ServedMethod(
        None if preset is None else MethodSettings.preset(preset),
        None if preset is None else RegionSettings.preset(preset),
        whitening,
        options.weight_file(weights, MethodSettings().network),
        maps,
    )
    _serve_elasticsearch(settings, machine, named)


def _serve_folder(folder: Path, settings: CommandSettings, machine: Machine) -> None:
    from camsearch.serving import over_folder
    from reranker.app import make_app
    from reranker.proxy.server import server_of

    with (
        _listening(settings) as (listening, address),
        over_folder(folder, settings, machine) as service,
    ):
        server = server_of(make_app(service))
        typer.echo(f"camsearch answers at http://{address}", err=True)
        server.run(sockets=[listening])


def _serve_elasticsearch(settings: CommandSettings, machine: Machine, named: ServedMethod) -> None:
    from camsearch.serving import over_elasticsearch
    from reranker.proxy.server import server_of

    with (
        _listening(settings) as (listening, address),
        over_elasticsearch(settings, machine, named) as app,
    ):
        server = server_of(app)

        def begun() -> None:
            if app.failure is None:
                typer.echo(f"camsearch answers at http://{address}", err=True)
            else:
                server.should_exit = True

        app.on_begin = begun
        typer.echo(f"camsearch listens at {address}", err=True)
        server.run(sockets=[listening])
        if app.failure is not None:
            raise app.failure


@contextmanager
def _listening(settings: CommandSettings) -> Iterator[tuple[socket, str]]:
    """A listening socket and its address; also configures logs and signals."""
    from reranker.observability.logs import configure_logs
    from reranker.proxy.server import end_in_order, listen

    configure_logs()
    end_in_order()
    with listen(settings.serve_host, settings.serve_port) as listening:
        host, port = listening.getsockname()[:2]
        yield listening, f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _refuse_beside(option: str, why: str, given: Mapping[str, object]) -> None:
    """Raise `BadParameter` for options that have no effect together with another."""
    for name, value in given.items():
        if value is not None:
            raise typer.BadParameter(
                f"{name} cannot be used together with {option}, {why}: remove one of them."
            )


def _check(host: str, port: int) -> int:
    """Print the server's readiness; 0 if it is ready, else 1."""
    from urllib3 import HTTPConnectionPool
    from urllib3.exceptions import HTTPError

    # A server that listens on all addresses is reached at localhost.
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104
    try:
        answer = HTTPConnectionPool(near, port, timeout=_CHECK_TIMEOUT, retries=False).request(
            "GET", "/_camsearch/health/ready"
        )
    except HTTPError as error:
        typer.echo(f"Nothing answers at {near}:{port} ({type(error).__name__}).", err=True)
        return 1
    typer.echo(answer.data.decode("utf-8", "replace"))
    return int(answer.status != HTTPStatus.OK)
