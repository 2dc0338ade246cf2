"""`camsearch gallery reconcile`: compare a gallery with the images that it should hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from camsearch.commands import options
from camsearch.commands.enqueue import Detach, GalleryName, send_and_follow
from camsearch.settings import read_settings

__all__ = ["EXAMPLE", "reconcile"]

EXAMPLE = "Example: camsearch gallery reconcile manifest.csv"


def reconcile(
    paths: Annotated[
        list[Path],
        typer.Argument(help="Expected content: folders, images, a manifest."),
    ],
    gallery: GalleryName = None,
    delete_others: Annotated[
        bool,
        typer.Option("--delete-others", help="Delete the gallery's images that are not listed."),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask before deleting.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only report differences.")] = False,
    detach: Detach = False,
) -> None:
    """Compare the gallery with its expected content, and send the difference to the workers."""
    from camsearch import servers
    from galleries.about import features_of
    from indexer.differences import check_whole, different
    from indexer.manifests import sources_in

    settings = read_settings()
    name = gallery or settings.images
    opened = servers.elastic_gallery(settings, name)
    broken = list(opened.without_descriptor())
    if broken and not dry_run:
        # No search finds them, and their images would count as indexed.
        opened.delete(broken)
    sources = list(sources_in(paths, options.warn, mapping=opened.meta_properties))
    wanted = {source.id for source in sources}
    changed = list(different(sources, opened, options.machine().limits))
    others = [document.id for document in opened.documents() if document.id not in wanted]
    if broken:
        typer.echo(f"{len(broken)} documents have no descriptor, so no search finds them.")
    typer.echo(
        f"{len(wanted)} images wanted; {len(changed)} are new or have changed, "
        f"{len(others)} others are in the gallery."
    )
    if dry_run:
        return
    features = features_of(opened.settings)
    if features is not None and (left := features.sweep()):
        typer.echo(f"{left} incomplete map files were removed.")
    if delete_others and others:
        check_whole(sources)
        if not yes:
            typer.confirm(f"Delete {len(others)} of the gallery's images?", abort=True)
        opened.delete(others)
        if features is not None:
            features.delete(others)
        typer.echo(f"{len(others)} deleted.")
    if features is not None:
        features.close()
    if changed:
        send_and_follow(settings, changed, name, detach=detach)
