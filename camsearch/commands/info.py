"""`camsearch info` and `camsearch delete`: show contents and rejects; delete images."""

from __future__ import annotations

import json
import os
from collections import Counter
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from camsearch.commands import options
from descriptors.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    """Show a gallery's contents and rejects."""
    from galleries.about import settings_about
    from galleries.local import LocalGallery

    folder = options.gallery_folder(gallery)
    with LocalGallery.open(folder) as opened:
        refused = list(opened.rejects())
        about: dict[str, Any] = {
            "gallery": str(folder),
            "images": opened.count(),
            "rejects": Counter(reject.kind for reject in refused),
            "metadata": opened.meta_names(),
            "dims": opened.dims,
            "fingerprint": opened.fingerprint,
            "windows": settings_about(opened.settings).windows,
            "maps": opened.settings.get("maps"),
            "settings": opened.settings,
        }
    listed = [
        {"id": r.id, "uri": r.uri, "kind": r.kind, "reason": r.reason, "at": r.rejected_at}
        for r in refused
    ]
    if as_json:
        typer.echo(json.dumps(about | ({"rejected": listed} if rejects else {}), indent=2))
        return
    lines = [f"{one['id']}  [{one['kind']}]  {one['reason']}" for one in listed]
    lines = lines or ["No image was rejected."]
    for line in lines if rejects else _about_lines(about):
        Console(soft_wrap=True, highlight=False).print(line, markup=False)


def _about_lines(about: dict[str, Any]) -> Iterator[str]:
    kinds = about["rejects"]
    why = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    yield f"gallery      {about['gallery']}"
    yield f"images       {about['images']}"
    yield f"rejects      {sum(kinds.values())}" + (f" ({why})" if why else "")
    yield f"metadata     {options.listed(about['metadata'])}"
    yield f"dimensions   {about['dims']}"
    yield f"windows      {about['windows'] or 'none'}"
    yield f"maps         {about['maps'] or 'off'}"
    yield f"fingerprint  {about['fingerprint'][:16]}"
    yield f"settings     {json.dumps(about['settings']['method'])}"


def delete(
    ids: Annotated[list[str], typer.Argument(help="Ids, or paths as they were indexed.")],
    gallery: options.GalleryFolder = None,
) -> None:
    """Delete images from a gallery; their files are kept."""
    from galleries.about import about_folder, features_of
    from galleries.local import LocalGallery

    folder = options.gallery_folder(gallery)
    with LocalGallery.open(folder) as opened:
        present = {id_ for found in opened.known(ids) for id_ in found}
        # An unknown id may be a relative path, as given to `index`.
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
