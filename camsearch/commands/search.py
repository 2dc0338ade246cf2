"""`camsearch search`: find images of the same object."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from camsearch.commands import options
from camsearch.commands.grouped import grouped
from camsearch.commands.indexing_bar import plain_console
from descriptors.errors import RequestError

if TYPE_CHECKING:
    from reranker.pipeline import Searcher
    from reranker.ranking import Hit, Ranking, SearchPlan

__all__ = ["EXAMPLE", "search"]

# Wide enough for every id: programs read one hit per line.
_PIPE_WIDTH = 4096

EXAMPLE = """Example: camsearch search query.jpg --box 40,12,300,280 --report out.html

camsearch search front.jpg side.jpg --without another.jpg"""


@dataclass(frozen=True)
class _Query:
    """What to look for."""

    images: Annotated[
        list[Path],
        typer.Argument(metavar="IMAGE...", help="The query image, or several views of one thing."),
    ]
    box: Annotated[
        list[str] | None,
        typer.Option(
            help="x0,y0,x1,y1 in pixels of the upright image, around one object. For several "
            "images one for each, in their order; full for a whole image."
        ),
    ] = None
    without: Annotated[
        list[Path] | None,
        typer.Option(help="Image of what it is not, such as a wrong hit; may be repeated."),
    ] = None
    without_box: Annotated[
        list[str] | None, typer.Option(help="As --box, for the images of --without.")
    ] = None

    def views(self) -> list[tuple[Path, options.Corners | None]]:
        """The images of the thing, and their boxes."""
        return options.with_boxes(self.images, self.box)

    def negative(self) -> list[tuple[Path, options.Corners | None]]:
        """The images of what it is not, and their boxes."""
        return options.with_boxes(self.without or [], self.without_box)

    @property
    def title(self) -> str:
        """The names of the images."""
        names, others = (
            ", ".join(path.name for path in paths) for paths in (self.images, self.without or ())
        )
        return f"{names} without {others}" if others else names


@dataclass(frozen=True)
class _Search:
    """How to search."""

    k: Annotated[int, typer.Option("-k", min=1, help="Number of hits.")] = 10
    rerank: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="R: re-rank this many first hits; 0 for none (default: 1000 by windows, else 100).",
        ),
    ] = None
    by: Annotated[
        Literal["windows", "maps", "images"] | None,
        typer.Option(
            help="Re-rank by the windows in the index, by regions that the query's class maps "
            "propose, or by whole images (default: windows if the gallery has them, else maps)."
        ),
    ] = None
    expand: Annotated[
        int, typer.Option(min=0, help="Expand the query with this many hits; 0 for none.")
    ] = 0
    alpha: Annotated[float, typer.Option(min=0, help="Alpha-QE exponent; 0: equal weights.")] = 0.0
    refine: Annotated[
        bool,
        typer.Option(
            "--refine",
            help="Fit the box of each hit to the object: tighter than a window, but encodes each "
            "hit whose maps are not kept.",
        ),
    ] = False
    filters: Annotated[
        list[str] | None,
        typer.Option("--filter", help="field=value (meta.city=Paris), or Elasticsearch's JSON."),
    ] = None

    def plan(self) -> SearchPlan:
        """The plan, without what only the gallery decides.

        Raises:
            RequestError: options that are not valid.
        """
        from reranker.ranking import SearchPlan

        if self.by is not None and self.rerank == 0:
            raise RequestError("--by has no effect with --rerank 0: remove one of them.")
        matching = options.parse_filters(self.filters or [])
        return SearchPlan(
            self.k,
            by=self.by,
            expand=self.expand,
            alpha=self.alpha,
            matching=matching,
            refine=self.refine,
        )

    def completed(self, plan: SearchPlan, searcher: Searcher) -> SearchPlan:
        """The plan for a gallery: what re-ranking compares, and of how many hits."""
        from reranker.ranking import RERANKED

        by = searcher.compared(plan.by)
        return replace(plan, by=by, window=RERANKED[by] if self.rerank is None else self.rerank)


@grouped
def search(
    asked: _Query,
    *,
    wanted: _Search,
    gallery: options.GalleryFolder = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write an HTML report: out.html.")] = None,
    device: options.Device = None,
    precision: options.PrecisionOption = None,
) -> None:
    """Find images of the same object, and its location in each.

    Several images are one query: views of one thing. --refine and the report's heat maps use the
    first of them.
    """
    from camsearch.library import ImageLibrary

    plan, views, negative = wanted.plan(), asked.views(), asked.negative()
    with ImageLibrary.open(
        options.gallery_folder(gallery), options.machine(device, precision)
    ) as library:
        query = library.describe_examples(views, negative)
        plan = wanted.completed(plan, library.searcher)
        ranking = library.searcher.search(query, plan)
        told = plain_console()
        for warning in ranking.warnings:
            told.print(f"warning: {warning}")
        if as_json:
            typer.echo(json.dumps(_search_json(plan, ranking), indent=2))
        else:
            _print_hits(ranking.hits)
        if report:
            from camsearch.report import write_report
            from camsearch.search_report import search_report

            found = search_report(
                library, asked.title, library.read(asked.images[0]), query, plan, ranking
            )
            write_report(report, [found])
            told.print(f"Report: {report.absolute()}")


def _print_hits(hits: tuple[Hit, ...]) -> None:
    """Print a table with one hit per line."""
    table = Table(box=None, pad_edge=False)
    for name, right in (("rank", True), ("score", True), ("first", True), ("box", False)):
        table.add_column(name, justify="right" if right else "left")
    table.add_column("image", overflow="fold")
    for hit in hits:
        first = str(hit.first_rank) if hit.first_rank else "-"
        box = ",".join(f"{v:.0f}" for v in hit.box.as_list()) if hit.box else "-"
        # Text, since rich reads [brackets] as markup.
        table.add_row(str(hit.rank), f"{hit.score:.3f}", first, box, Text(hit.document.id))
    console = Console()
    if not console.is_terminal:
        console.width = _PIPE_WIDTH
    if not hits:
        console.print("No image matches.")
    else:
        console.print(table)


def _hit_json(hit: Hit) -> dict[str, Any]:
    """A hit as JSON."""
    return {
        "rank": hit.rank,
        "id": hit.document.id,
        "uri": hit.document.uri,
        "score": hit.score,
        "box": hit.box.as_list() if hit.box else None,
        "first_rank": hit.first_rank,
        "first_score": hit.first_score,
        "meta": dict(hit.document.meta),
    }


def _search_json(plan: SearchPlan, ranking: Ranking) -> dict[str, Any]:
    return {
        "reranked": {"hits": plan.window, "by": plan.by} if plan.window else None,
        "hits": [_hit_json(hit) for hit in ranking.hits],
        "first": [_hit_json(hit) for hit in ranking.first],
        "milliseconds": {k: round(v, 3) for k, v in ranking.milliseconds.items()},
        "warnings": list(ranking.warnings),
    }
