"""`camsearch enqueue` and `camsearch retry-rejects`: send images to the workers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from camsearch.commands import options
from camsearch.commands.indexing_bar import indexing_bar, plain_console
from camsearch.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from camsearch.settings import CommandSettings
    from es_mappings.elastic import ElasticGallery
    from indexer.ledger import RunState
    from indexer.sources import Source

__all__ = ["EXAMPLE", "RETRY_EXAMPLE", "enqueue", "retry_rejects", "send_and_follow"]

EXAMPLE = "Example: camsearch enqueue photos/   or   camsearch enqueue manifest.csv --detach"
_NOTHING_SENT = "Stopped: nothing was sent. Run the same command to start again."
RETRY_EXAMPLE = "Example: camsearch retry-rejects --kind source_unreadable"


GalleryName = Annotated[
    str | None,
    typer.Option("--gallery", "-g", help="Name of the gallery in Elasticsearch (default: images)."),
]
Detach = Annotated[
    bool, typer.Option("--detach", help="Exit when all images are sent; see `camsearch status`.")
]


@options.stopped(lambda: _NOTHING_SENT)
def enqueue(
    paths: Annotated[
        list[Path], typer.Argument(help="Folders, images, or one manifest (.csv, .tsv, .jsonl).")
    ],
    gallery: GalleryName = None,
    exclude: options.Exclude = None,
    again: Annotated[bool, typer.Option("--again", help="Also index unchanged images.")] = False,
    detach: Detach = False,
) -> None:
    """Send images to the workers, throttled to their pace.

    The workers must see the same paths: share the folder, or name s3://… in a manifest.
    """
    from camsearch import servers
    from indexer.manifests import sources_in
    from indexer.sources import Skipped

    settings = read_settings()
    name, skipped = gallery or settings.images, Skipped()
    with servers.elastic_gallery(settings, name) as opened:
        mapping = opened.meta_properties
    sources = sources_in(
        paths, options.warn, exclude=exclude or (), skipped=skipped, mapping=mapping
    )
    try:
        send_and_follow(settings, sources, name, again=again, detach=detach)
    finally:
        for sentence in skipped.sentences():
            typer.echo(sentence, err=True)


@options.stopped(lambda: _NOTHING_SENT)
def retry_rejects(
    gallery: GalleryName = None,
    kind: Annotated[
        str | None,
        typer.Option(help="Only rejects of this kind; see `camsearch status --rejects`."),
    ] = None,
    detach: Detach = False,
) -> None:
    """Send rejected and failed images to the workers again."""
    from camsearch import servers

    settings = read_settings()
    with servers.elastic_gallery(settings, gallery or settings.images) as opened:
        sources = list(_rejected(opened, kind))
    if not sources:
        Console(stderr=True).print("No image was rejected.")
        return
    send_and_follow(settings, sources, gallery or settings.images, retry=True, detach=detach)


def _rejected(opened: ElasticGallery, kind: str | None) -> Iterator[Source]:
    from indexer.sources import Source

    for reject in opened.rejects():
        # Invalid rows are fixed in the manifest, and sent by `enqueue`.
        if reject.kind == (kind or reject.kind) and reject.kind != "malformed_row":
            yield Source(reject.id, reject.uri, reject.meta)


def send_and_follow(
    settings: CommandSettings,
    sources: Iterable[Source],
    gallery: str,
    *,
    again: bool = False,
    retry: bool = False,
    detach: bool = False,
    rest: str = "the same command",
) -> None:
    """Enqueue with a progress bar, and wait for the workers.

    Args:
        gallery: an existing gallery.
        again, retry: see `Enqueuer.enqueue`.
        detach: do not wait.
        rest: the command that sends the rest of an interrupted run.
    """
    from camsearch import servers
    from indexer.enqueueing import new_run

    console, run = plain_console(), new_run()
    see = f"See: camsearch status --run {run}"
    with servers.broker_answers(settings), indexing_bar(console) as bar:
        sender = servers.enqueuer(settings)

        def show(state: RunState) -> None:
            refused = state.counts["rejected"] + state.counts["failed"]
            bar(state.finished, state.asked, state.finished, refused)

        with options.stopped(lambda: _sent_before(sender.ledger.state(run), rest, see)):
            sent = sender.enqueue(sources, gallery, run, show, again=again, retry_rejects=retry)
        with options.stopped(lambda: f"Stopped waiting: all {sent} images were sent. {see}"):
            state = None if detach else sender.follow(run, show)
    if state is None:
        console.print(f"{sent} images sent as run {run}. {see}")
        return
    _tell(console, state)


def _sent_before(state: RunState | None, rest: str, see: str) -> str:
    if state is None or not state.asked:
        return f"Stopped: nothing was sent. Run {rest} to start again."
    return (
        f"Stopped: {state.asked} images were sent, and the workers index them. Run {rest} to "
        f"send the rest. {see}"
    )


def _tell(console: Console, state: RunState) -> None:
    counts = state.counts
    console.print(
        f"{counts['indexed']} indexed, {counts['unchanged']} unchanged, {counts['updated']} with "
        f"new metadata, {counts['rejected']} rejected, {counts['failed']} failed, "
        f"{counts['out_of_reach']} unreachable; run {state.id}."
    )
    if counts["rejected"] or counts["failed"]:
        console.print(f"See why: camsearch status --rejects --gallery {state.gallery}")
    if state.asked and counts["rejected"] + counts["failed"] == state.asked:
        raise typer.Exit(1)
