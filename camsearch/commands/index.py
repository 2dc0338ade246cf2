"""`camsearch index`: index images into a gallery."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from camsearch.commands import options
from camsearch.commands.grouped import grouped
from camsearch.commands.indexing_bar import indexing_bar, plain_console
from camsearch.commands.method_options import MethodOptions
from descriptors.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from camsearch.library import ImageLibrary
    from indexer.progress import Progress as Counts
    from indexer.sources import Source

__all__ = ["EXAMPLE", "index", "index_with_bar"]

EXAMPLE = "Example: camsearch index photos/ --gallery my-gallery"


@dataclass(frozen=True)
class _Images:
    """Which images to index."""

    paths: Annotated[
        list[Path] | None, typer.Argument(help="Folders (recursively) and image files.")
    ] = None
    manifest: Annotated[
        Path | None,
        typer.Option(
            "--manifest",
            "-m",
            help="CSV or JSONL with path (or uri), optionally id; other columns become metadata.",
        ),
    ] = None
    meta_mapping: options.MetaMapping = None
    exclude: options.Exclude = None

    def sources(self) -> list[Source]:
        """The images of the folders, files and manifest; prints which files are skipped.

        Raises:
            RequestError: there are none.
        """
        from indexer.manifests import read_manifest
        from indexer.sources import Skipped, find_images

        named = [*(self.paths or []), *([self.manifest] if self.manifest else [])]
        if not named:
            raise RequestError("Nothing to index: name folders or files, or a --manifest.")
        skipped = Skipped()
        sources = list(find_images(self.paths or [], self.exclude or (), skipped))
        for sentence in skipped.sentences():
            typer.echo(sentence, err=True)
        if self.manifest:
            mapping = options.read_meta_mapping(self.meta_mapping)
            sources += read_manifest(self.manifest, options.warn, mapping)
        if not sources:
            places = ", ".join(map(str, named))
            raise RequestError(f"There is no image in {places}: name folders with images.")
        return sources


@options.stopped(lambda: "Stopped: nothing was indexed. Run the same command to start again.")
@grouped
def index(
    ctx: typer.Context,
    *,
    images: _Images,
    gallery: options.GalleryFolder = None,
    chosen: MethodOptions,
    theme: Annotated[
        str | None, typer.Option(help="Fixed classes by name or number, separated by commas.")
    ] = None,
    maps: Annotated[
        str,
        typer.Option(
            help="Where to store feature maps, for re-ranking with --by maps: a folder in the "
            "gallery's, or an fsspec address; with 'off' they are encoded again when needed. An "
            "existing gallery keeps its own setting."
        ),
    ] = "off",
    again: Annotated[bool, typer.Option("--again", help="Also index unchanged images.")] = False,
    retry_rejects: Annotated[
        bool, typer.Option("--retry-rejects", help="Also retry unchanged rejects.")
    ] = False,
    device: options.Device = None,
    precision: options.PrecisionOption = None,
) -> None:
    """Index images. Unchanged images are skipped; an existing gallery keeps its windows."""
    from camsearch.library import ImageLibrary
    from descriptors.settings import RegionSettings
    from galleries.about import with_own_windows

    sources, folder = images.sources(), options.gallery_folder(gallery)
    settings = chosen.settings(theme=theme)
    if chosen.windows is None:
        settings = with_own_windows(folder, settings)
    library = ImageLibrary.create(
        folder,
        settings,
        RegionSettings.preset(chosen.preset),
        whitening=chosen.whitening,
        weights=chosen.weight_file(),
        maps=None if maps == "off" else maps,
        machine=options.machine(device, precision),
    )
    with library:
        given = options.given_names(ctx)
        for sentence in _ignored(library, folder, given, maps, chosen.preset):
            options.warn(sentence)
        _index_and_tell(library, sources, folder, again=again, retry_rejects=retry_rejects)


def _ignored(
    library: ImageLibrary, folder: Path, given: set[str], maps: str, preset: str
) -> Iterator[str]:
    """Warnings about options that an existing gallery ignores."""
    from descriptors.settings import RegionSettings

    own = library.gallery.settings["maps"] or "off"
    if "--maps" in given and maps != own:
        yield (
            f"--maps {maps} has no effect: the gallery {folder} was made with --maps {own}. "
            "Index into another folder to change it."
        )
    asked = RegionSettings.preset(preset).model_dump()
    others = [name for name, value in library.regions.model_dump().items() if value != asked[name]]
    if "--preset" in given and others:
        yield (
            f"--preset {preset} does not change how the gallery {folder} re-ranks and expands: it "
            f"was made with another {', '.join(others)}. Index into another folder for these."
        )


def _index_and_tell(
    library: ImageLibrary,
    sources: list[Source],
    folder: Path,
    *,
    again: bool,
    retry_rejects: bool,
) -> None:
    console = plain_console()
    before = library.gallery.count()
    with options.stopped(
        lambda: (
            f"Stopped: {library.gallery.count() - before} new images are kept. Run the same "
            "command to continue."
        )
    ):
        counts = index_with_bar(library, sources, console, again=again, retry_rejects=retry_rejects)
    console.print(
        f"{counts.indexed} indexed, {counts.unchanged} unchanged, {counts.updated} with new "
        f"metadata, {counts.rejected} rejected; {library.gallery.count()} images in {folder}."
    )
    if counts.out_of_reach:
        console.print(
            f"warning: {counts.out_of_reach} images of the gallery cannot be read now; they are "
            "kept. Is their disk mounted? If they no longer exist: camsearch delete."
        )
    if counts.rejected:
        console.print(f"See why: camsearch info --rejects --gallery {folder}")
    if counts.asked and counts.rejected == counts.asked:
        raise typer.Exit(1)


def index_with_bar(
    library: ImageLibrary,
    sources: list[Source],
    console: Console,
    *,
    again: bool = False,
    retry_rejects: bool = False,
) -> Counts:
    """Index with a progress bar."""
    with indexing_bar(console) as bar:

        def show(counts: Counts) -> None:
            bar(counts.finished, len(sources), counts.indexed, counts.rejected)

        return library.index(sources, again=again, retry_rejects=retry_rejects, on_progress=show)
