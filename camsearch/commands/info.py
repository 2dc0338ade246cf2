"""`camsearch info` and `camsearch delete`: show contents and rejects; delete images."""

from __future__ import annotations

import json
import os
from typing import Annotated, Any

import typer
from rich.console import Console

from camsearch.commands import options
from descriptors.errors import RequestError

__all__ = ["DELETE_EXAMPLE", "INFO_EXAMPLE", "delete", "info"]

INFO_EXAMPLE = "Example: camsearch info --gallery my-gallery --rejects"
DELETE_EXAMPLE = "Example: camsearch delete /photos/old.jpg --gallery my-gallery"


def info(
    gallery: options.GalleryFolder = None,
    rejects: Annotated[
        bool, typer.Option("--rejects", help="List rejected images with reasons.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Show contents and rejects of a gallery."""
    from galleries.local import LocalGallery

    folder = options.gallery_folder(gallery)
    with LocalGallery.open(folder) as opened:
        refused = list(opened.rejects())
        kinds: dict[str, int] = {}
        for reject in refused:
            kinds[reject.kind] = kinds.get(reject.kind, 0) + 1
        about: dict[str, Any] = {
            "gallery": str(folder),
            "images": opened.count(),
            "rejects": kinds,
            "metadata": opened.meta_names(),
            "dims": opened.dims,
            "fingerprint": opened.fingerprint,
            "settings": opened.settings,
        }
    listed = [
        {"id": r.id, "uri": r.uri, "kind": r.kind, "reason": r.reason, "at": r.rejected_at}
        for r in refused
    ]
    if as_json:
        typer.echo(json.dumps(about | ({"rejected": listed} if rejects else {}), indent=2))
        return
    console = Console(soft_wrap=True, highlight=False)
    if rejects:
        for line in listed:
            console.print(f"{line['id']}  [{line['kind']}]  {line['reason']}", markup=False)
        if not listed:
            console.print("No image was rejected.")
        return
    total = sum(kinds.values())
    why = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    console.print(f"gallery      {folder}", markup=False)
    console.print(f"images       {about['images']}")
    console.print(f"rejects      {total}" + (f" ({why})" if why else ""))
    console.print(f"metadata     {options.listed(about['metadata'])}", markup=False)
    console.print(f"dimensions   {about['dims']}")
    console.print(f"fingerprint  {opened.fingerprint[:16]}")
    console.print(f"settings     {json.dumps(opened.settings['method'])}", markup=False)


def delete(
    ids: Annotated[list[str], typer.Argument(help="Ids, or paths as they were indexed.")],
    gallery: options.GalleryFolder = None,
) -> None:
    """Delete images from a gallery (their files stay)."""
    from galleries.about import about_folder, features_of
    from galleries.local import LocalGallery

    folder = options.gallery_folder(gallery)
    with LocalGallery.open(folder) as opened:
        present = {id_ for found in opened.known(ids) for id_ in found}
        # What is not an id may be a path as it was written on the command line of `index`.
        names = [i if i in present else os.path.abspath(i) for i in ids]
        gone = opened.delete(names)
        features = features_of(about_folder(opened), folder)
        if features is not None:
            features.delete(gone)
    typer.echo(f"{len(gone)} deleted.")
    unknown = len(set(names)) - len(gone)
    if unknown:
        raise RequestError(
            f"{unknown} of the ids are not in {folder}: list the ids with `camsearch search --json`."
        )
