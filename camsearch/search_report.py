"""What a report tells of a search: its images and heat maps gathered, and its words."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from descriptors.classes import class_names
from descriptors.errors import CamsearchError
from galleries.kept_maps import stack_kept

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from PIL import Image

    from camsearch.library import ImageLibrary
    from descriptors.arrays import Box, QueryDescription
    from descriptors.images import RgbImage
    from galleries.documents import Document
    from reranker.ranking import Hit, Ranking, SearchPlan

__all__ = [
    "HitImage",
    "Move",
    "SearchReport",
    "Stage",
    "after_words",
    "move_after",
    "move_before",
    "name_of",
    "plan_words",
    "right_words",
    "search_report",
    "stages",
    "was_reordered",
]

_CLASSES_NAMED = 6
_STAGES = {
    "first_search": "first search",
    "rerank": "re-ranking",
    "expand": "expansion and second search",
    "documents": "reading the documents",
}


@dataclass(frozen=True)
class HitImage:
    """What is known of a hit besides its document.

    Attributes:
        image: the upright image, at any size; None where it cannot be read.
        heat: where it looks like the query's classes: 0..1 on any grid over the whole image.
        right: whether it shows what was looked for; None where nobody knows.
    """

    image: Image.Image | None = None
    heat: Float[np.ndarray, "H W"] | None = None
    right: bool | None = None


@dataclass(frozen=True)
class SearchReport:
    """One search, ready to be shown.

    Attributes:
        title: a line for people.
        query: the image that was searched with.
        ranking: the answer.
        plan: what was asked for.
        gallery_size: images searched.
        images: by document id, of the hits before and after; one that is missing is
            shown like one that cannot be read.
        box: of the query, in its pixels; None for the whole image.
        query_heat: the query's heat map.
        classes: names of the query's classes that were used, best first.
    """

    title: str
    query: RgbImage
    ranking: Ranking
    plan: SearchPlan
    gallery_size: int
    images: Mapping[str, HitImage] = field(default_factory=dict)
    box: Box | None = None
    query_heat: Float[np.ndarray, "H W"] | None = None
    classes: Sequence[str] = ()

    def image_of(self, hit: Hit) -> HitImage:
        """What is known of a hit's image; nothing, if it was not given."""
        return self.images.get(hit.document.id, HitImage())


@dataclass(frozen=True)
class Move:
    """How a hit's place changed.

    Attributes:
        kind: the direction.
        before, after: places from 1; None where it was not in the list.
        words: for those who hear the page.
    """

    kind: Literal["up", "down", "same", "new", "out"]
    before: int | None
    after: int | None
    words: str


@dataclass(frozen=True)
class Stage:
    """What one stage of the search took; `share` is its part of the whole, 0..1."""

    name: str
    milliseconds: float
    share: float


def name_of(document: Document) -> str:
    """Name an image shortly: its id, or the end of one that is a path."""
    return document.id.rstrip("/").rpartition("/")[2] or document.id


def was_reordered(report: SearchReport) -> bool:
    """Whether anything came after the first search."""
    return bool(report.plan.window or report.plan.expand)


def move_after(hit: Hit) -> Move:
    """Where a hit of the final order comes from."""
    if hit.first_rank is None:
        return Move("new", None, hit.rank, f"new at place {hit.rank}, found by the second search")
    return _move(hit.first_rank, hit.rank)


def move_before(hit: Hit, ranking: Ranking) -> Move:
    """Where a hit of the first order goes."""
    place = {h.document.id: h.rank for h in ranking.hits}.get(hit.document.id)
    if place is None:
        return Move("out", hit.rank, None, f"left the first {len(ranking.hits)}")
    return _move(hit.rank, place)


def _move(before: int, after: int) -> Move:
    if before == after:
        return Move("same", before, after, f"stays at place {after}")
    kind: Literal["up", "down"] = "up" if after < before else "down"
    return Move(kind, before, after, f"moves {kind} from place {before} to {after}")


def after_words(plan: SearchPlan) -> str:
    """Name what came after the first search."""
    steps = ["re-ranking"] * bool(plan.window) + ["expansion"] * bool(plan.expand)
    return "After " + " and ".join(steps)


def plan_words(plan: SearchPlan) -> str:
    """Say in one sentence how was searched."""
    found = plan.max_hits
    steps = [f"First search for {found} hits"]
    if plan.matching is not None:
        steps[0] += " that match the filter"
    if plan.window:
        by = "by their best regions" if plan.regions else "as whole images"
        which = "all" if plan.window == found else f"the first {plan.window}"
        steps.append(f"{which} re-ranked {by} (R = {plan.window})")
    if plan.expand:
        alpha = f", \N{GREEK SMALL LETTER ALPHA} = {plan.alpha:g}" if plan.alpha else ""
        best = "the best hit" if plan.expand == 1 else f"the best {plan.expand} hits"
        steps.append(
            f"then searched again with the query expanded from {best} (n = {plan.expand}{alpha})"
        )
    return ", ".join(steps) + "."


def right_words(report: SearchReport) -> str:
    """Count the right hits before and after; "" where nobody knows of one whether it is right."""
    before, after = (
        [report.image_of(hit).right for hit in hits]
        for hits in (report.ranking.first, report.ranking.hits)
    )
    if None in (*before, *after) or not after:
        return ""
    if not was_reordered(report):
        return f"{sum(map(bool, after))} right among the first {len(after)}"
    right, was = sum(map(bool, after)), sum(map(bool, before))
    return f"{right} right among the first {len(after)} (before: {was})"


def stages(ranking: Ranking) -> list[Stage]:
    """List what each stage took, in order."""
    whole = sum(ranking.milliseconds.values()) or 1
    return [
        Stage(_STAGES.get(name, name.replace("_", " ")), took, took / whole)
        for name, took in ranking.milliseconds.items()
    ]


def search_report(  # noqa: PLR0913 - one search is all of these
    library: ImageLibrary,
    title: str,
    image: RgbImage,
    query: QueryDescription,
    plan: SearchPlan,
    ranking: Ranking,
    is_right: Callable[[Document], bool | None] = lambda _: None,
) -> SearchReport:
    """Gather what a report of this search shows.

    Args:
        library: that was searched.
        title: a line for people.
        image: the query's.
        query: its description.
        plan: what was asked for.
        ranking: the answer.
        is_right: whether a hit shows the thing, where somebody knows.
    """
    documents = {h.document.id: h.document for h in (*ranking.hits, *ranking.first)}
    heat = _heat_maps(library, query, list(documents.values()))
    images = {
        i: HitImage(_read(library, document), heat.get(i), is_right(document))
        for i, document in documents.items()
    }
    names = class_names()
    return SearchReport(
        title,
        image,
        ranking,
        plan,
        library.gallery.count(),
        images,
        query.box,
        library.query_heat(image, query),
        [
            names[n] if n < len(names) else f"class {n}"
            for n in query.classes[:_CLASSES_NAMED].tolist()
        ],
    )


def _read(library: ImageLibrary, document: Document) -> Image.Image | None:
    """The hit's image, or nothing, for which the report has a placeholder."""
    try:
        return library.read(document.uri).image
    except CamsearchError:
        return None


def _heat_maps(
    library: ImageLibrary, query: QueryDescription, documents: Sequence[Document]
) -> dict[str, Float[np.ndarray, "H W"]]:
    """Where each hit looks like the query's best classes, 0..1."""
    heat = {}
    for image_id, kept in library.searcher.matcher.maps_of(documents).items():
        encoded = stack_kept([kept], library.method.encoder.device)
        heat[image_id] = library.heat_of(query, encoded)
    return heat
