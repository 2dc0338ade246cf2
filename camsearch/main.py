"""The command `camsearch`: errors are one sentence; the exit status is 0, 1, 2 or 130."""

from __future__ import annotations

import logging
import sys
import warnings

import typer
from rich.console import Console

from camsearch.commands import (
    convert_weights,
    demo,
    doctor,
    enqueue,
    evaluate,
    fit,
    gallery,
    index,
    info,
    options,
    search,
    serve,
    status,
    worker,
)
from descriptors.errors import CamsearchError

__all__ = ["app", "run"]

app = typer.Typer(
    name="camsearch",
    help=(
        "Visual instance search: given an image, optionally with a box around one object, find "
        "other images of the same object, and where in each it is."
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("index", epilog=index.EXAMPLE)(index.index)
app.command("search", epilog=search.EXAMPLE)(search.search)
app.command("fit", epilog=fit.EXAMPLE)(fit.fit)
app.command("info", epilog=info.INFO_EXAMPLE)(info.info)
app.command("delete", epilog=info.DELETE_EXAMPLE)(info.delete)
app.command("convert-weights", epilog=convert_weights.EXAMPLE)(convert_weights.convert_weights)
app.command("doctor", epilog=doctor.EXAMPLE)(doctor.doctor)
app.command("demo", epilog=demo.EXAMPLE)(demo.demo)
app.command("evaluate", epilog=evaluate.EXAMPLE)(evaluate.evaluate)
app.add_typer(gallery.app, name="gallery")
app.command("enqueue", epilog=enqueue.EXAMPLE)(enqueue.enqueue)
app.command("serve", epilog=serve.EXAMPLE)(serve.serve)
app.command("worker", epilog=worker.EXAMPLE)(worker.worker)
app.command("status", epilog=status.EXAMPLE)(status.status)
app.command("retry-rejects", epilog=enqueue.RETRY_EXAMPLE)(enqueue.retry_rejects)


@app.callback(invoke_without_command=True)
def _main(
    version: bool = typer.Option(False, "--version", help="Print the version and exit."),
) -> None:
    if version:
        from importlib.metadata import version as installed

        typer.echo(f"camsearch {installed('camsearch')}")
        raise typer.Exit


def run() -> None:
    """Run the command; a `CamsearchError` is printed on standard error, with exit status 1."""
    # Images that Pillow and tifffile warn about are indexed or rejected with a reason.
    warnings.filterwarnings("ignore", module="PIL")
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    errors = Console(stderr=True, soft_wrap=True, highlight=False)
    try:
        app()
    except CamsearchError as error:
        errors.print("[bold red]error:[/] ", end="")
        errors.print(error.reason, markup=False)
        sys.exit(1)
    except KeyboardInterrupt:
        errors.print("Stopped.")
        sys.exit(options.INTERRUPTED)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
