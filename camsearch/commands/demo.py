"""`camsearch demo`: index, search and report on packaged photos."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from camsearch.commands import options
from descriptors.errors import RequestError

if TYPE_CHECKING:
    from camsearch.library import ImageLibrary
    from camsearch.search_report import SearchReport
    from descriptors.arrays import Box
    from reranker.ranking import Hit

__all__ = ["EXAMPLE", "demo"]

EXAMPLE = "Example: camsearch demo   or   camsearch demo ~/Pictures"

_QUERIES = 6  # searches in a folder of the user's own
_HITS = 6


@dataclass(frozen=True)
class _Query:
    """A search of the demo; `scene` is known only for the packaged photos."""

    path: Path
    box: Box | None = None
    scene: str = ""


def demo(
    photos: Annotated[
        Path | None,
        typer.Argument(help="Folder of photos (default: images made from packaged photos)."),
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder for the gallery and the report.")] = Path(
        "camsearch-demo"
    ),
    device: options.Device = None,
    precision: options.PrecisionOption = None,
) -> None:
    """Index, search, re-rank and report, without a server or downloads."""
    from camsearch.demo_sources import credits_note
    from camsearch.library import ImageLibrary
    from camsearch.report import write_report

    console = Console(soft_wrap=True)
    queries, folder = _made(out, console) if photos is None else ([], photos)
    with ImageLibrary.create(
        out / "gallery", machine=options.machine(device, precision)
    ) as library:
        _index(library, folder, console)
        reports = [_search(library, query) for query in queries or _own(library, folder)]
    console.print(_table(reports))
    page = out / "report.html"
    write_report(page, reports, note=credits_note() if photos is None else "")
    console.print(f"Report: {page.absolute()}", highlight=False, markup=False)


def _made(out: Path, console: Console) -> tuple[list[_Query], Path]:
    from camsearch.demo_images import make_demo_images

    folder = out / "images"
    console.print("Making views of photos from scikit-image and scikit-learn ...")
    views = make_demo_images(folder)
    asked = [view for view in views if view.query_box is not None]
    return [_Query(view.path, view.query_box, view.scene) for view in asked], folder


def _own(library: ImageLibrary, photos: Path) -> list[_Query]:
    """Evenly spaced queries from the folder's indexed images."""
    from indexer.sources import find_images

    known, _ = library.gallery.known([source.id for source in find_images([photos])])
    indexed = list(known)
    if not indexed:
        raise RequestError(f"No image in {photos} could be read: name a folder with photos.")
    step = max(1, len(indexed) // _QUERIES)
    chosen = library.gallery.get(indexed[::step][:_QUERIES])
    return [_Query(Path(document.uri)) for document in chosen.values()]


def _index(library: ImageLibrary, folder: Path, console: Console) -> None:
    from camsearch.commands.index import index_with_bar
    from indexer.manifests import read_manifest
    from indexer.sources import find_images

    manifest = folder / "manifest.csv"
    sources = list(read_manifest(manifest) if manifest.exists() else find_images([folder]))
    counts = index_with_bar(library, sources, console)
    console.print(
        f"{counts.indexed} images indexed, {counts.unchanged} unchanged, "
        f"{counts.rejected} rejected."
    )


def _search(library: ImageLibrary, query: _Query) -> SearchReport:
    """Search with re-ranking, leaving out the query image itself."""
    from camsearch.search_report import search_report
    from reranker.ranking import RERANKED, SearchPlan

    image = library.read(query.path)
    description = library.method.describe_query(image, library.regions, query.box)
    own = next(
        (d.id for d in library.gallery.documents() if d.uri == str(query.path.absolute())), None
    )
    by = library.searcher.compared(None)
    plan = SearchPlan(k=_HITS, window=RERANKED[by], by=by, refine=by == "windows", leave_out=own)
    ranking = library.searcher.search(description, plan)
    title = query.scene or query.path.name
    return search_report(
        library,
        title,
        image,
        description,
        plan,
        ranking,
        lambda d: d.meta.get("scene") == query.scene if query.scene else None,
    )


def _table(reports: list[SearchReport]) -> Table:
    table = Table(title="Searches: first search, then re-ranked", title_justify="left")
    for name in ("query", "best hits (score, rank in the first search)"):
        table.add_column(name, overflow="fold")
    table.add_column("right before", justify="right")
    table.add_column("right after", justify="right")
    table.add_column("ms", justify="right")
    for report in reports:
        best = "\n".join(
            f"{escape(Path(hit.document.uri).name)}  {hit.score:.3f}  ({hit.first_rank or 'new'})"
            for hit in report.ranking.hits[:4]
        )
        took = sum(report.ranking.milliseconds.values())
        before, after = (
            _right(report, hits) for hits in (report.ranking.first, report.ranking.hits)
        )
        table.add_row(escape(report.title), best, before, after, f"{took:.0f}")
    return table


def _right(report: SearchReport, hits: tuple[Hit, ...]) -> str:
    flags = [report.image_of(hit).right for hit in hits]
    return "-" if None in flags else f"{sum(map(bool, flags))} of {len(flags)}"
