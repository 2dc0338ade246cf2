"""`camsearch serve`: a proxy that adds image search to Elasticsearch."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from camsearch.commands import options
from camsearch.commands.grouped import grouped
from camsearch.commands.method_options import Weights, WhiteningFile, weight_file
from camsearch.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from socket import socket

    from camsearch.serving import ServedMethod
    from camsearch.settings import CommandSettings
    from descriptors.machine import Machine

__all__ = ["EXAMPLE", "serve"]

_CHECK_TIMEOUT = 5.0
_OF_ELASTICSEARCH = {"--elasticsearch", "--preset", "--weights", "--whitening", "--maps"}

EXAMPLE = "Example: camsearch serve --elasticsearch http://localhost:9200 --index images"


@dataclass(frozen=True)
class _Place:
    """Where the server finds Elasticsearch, and where it listens."""

    elasticsearch: Annotated[
        str | None, typer.Option(help="URL of Elasticsearch (default: http://localhost:9200).")
    ] = None
    index: Annotated[
        str | None, typer.Option(help="Name of the gallery in Elasticsearch (default: images).")
    ] = None
    host: Annotated[str | None, typer.Option(help="Address to listen on (default: 127.0.0.1).")] = (
        None
    )
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Port to listen on; 0 for a free one (default: 9280)."),
    ] = None
    read_only: Annotated[bool, typer.Option("--read-only", help="Refuse requests that write.")] = (
        False
    )

    def settings(self) -> CommandSettings:
        """The settings of the environment; what is given overrides them."""
        given = {
            "elasticsearch": self.elasticsearch,
            "images": self.index,
            "serve_host": self.host,
            "serve_port": self.port,
            "serve_read_only": self.read_only or None,
        }
        update = {name: value for name, value in given.items() if value is not None}
        return read_settings().model_copy(update=update)


@dataclass(frozen=True)
class _Queries:
    """How queries are described; None for the index's method."""

    preset: Annotated[
        Literal["default", "paper"] | None,
        typer.Option(help="Describe queries with this preset (default: the index's method)."),
    ] = None
    weights: Weights = None
    whitening: WhiteningFile = None
    maps: Annotated[
        str | None,
        typer.Option(help="Where feature maps are stored (default: as in the index)."),
    ] = None

    def method(self) -> ServedMethod:
        """The method, as the server loads it."""
        from camsearch.serving import ServedMethod
        from descriptors.settings import MethodSettings, RegionSettings

        return ServedMethod(
            None if self.preset is None else MethodSettings.preset(self.preset),
            None if self.preset is None else RegionSettings.preset(self.preset),
            self.whitening,
            weight_file(self.weights, MethodSettings().network),
            self.maps,
        )


@grouped
def serve(
    ctx: typer.Context,
    gallery: Annotated[
        Path | None,
        typer.Option(
            "--gallery", "-g", help="Serve this folder as one index, without Elasticsearch."
        ),
    ] = None,
    *,
    place: _Place,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Only check whether the server at --host and --port is ready: exit with 0 or 1.",
        ),
    ] = False,
    queries: _Queries,
    device: options.Device = None,
    precision: options.PrecisionOption = None,
) -> None:
    """Serve Elasticsearch requests, and searches that contain an image.

    Use it with any Elasticsearch client: requests that do not name camsearch are passed through.
    On Ctrl-C or SIGTERM it finishes the accepted requests.
    """
    settings, given = place.settings(), options.given_names(ctx)
    if check:
        others = given - {"--check", "--host", "--port"}
        _refuse_beside("--check", "which checks a running server", others)
        raise typer.Exit(_check(settings.serve_host, settings.serve_port))
    machine = options.machine(device, precision)
    if gallery is not None:
        _refuse_beside("--gallery", "which has its own", given & _OF_ELASTICSEARCH)
        _serve_folder(gallery, settings, machine)
    else:
        _serve_elasticsearch(settings, machine, queries.method())


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


def _refuse_beside(option: str, why: str, given: Collection[str]) -> None:
    """Raise `BadParameter` for options that have no effect together with another."""
    for name in sorted(given):
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
