"""The content of a search report: images, heat maps and texts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float

from descriptors.class_patches import contact_sheet
from descriptors.errors import CamsearchError
from galleries.kept_maps import stack_kept
from reranker.explain.drawing import data_url

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from PIL import Image

    from camsearch.library import ImageLibrary
    from descriptors.arrays import Box, QueryDescription
    from descriptors.images import RgbImage
    from descriptors.method import Method
    from galleries.documents import Document
    from reranker.ranking import Hit, Ranking, RerankBy, SearchPlan

__all__ = [
    "HitImage",
    "SearchReport",
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
    "refine": "fitting the boxes",
}
_COMPARED: dict[RerankBy, str] = {
    "windows": "by their most similar windows",
    "maps": "by their best regions",
    "images": "as whole images",
}


@dataclass(frozen=True)
class HitImage:
    """The image of a hit.

    Attributes:
        image: the upright image, at any size; None if it cannot be read.
        heat: heat map for the query's classes, 0..1, on any grid over the whole image.
        right: whether it shows the object searched for; None if unknown.
    """

    image: Image.Image | None = None
    heat: Float[np.ndarray, "H W"] | None = None
    right: bool | None = None


@dataclass(frozen=True)
class SearchReport:
    """A search to be shown.

    Attributes:
        query: the query image.
        gallery_size: number of images searched.
        images: by document id, of the hits before and after re-ranking; missing ones are shown
            as unreadable.
        box: of the query, in its pixels; None for the whole image.
        classes: names of the query's classes, best first.
        patches: data URLs of images that show learned classes, by name.
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
    patches: Mapping[str, str] = field(default_factory=dict)

    def image_of(self, hit: Hit) -> HitImage:
        """The hit's image; an empty one if unknown."""
        return self.images.get(hit.document.id, HitImage())


@dataclass(frozen=True)
class Move:
    """How a hit's rank changed.

    Attributes:
        before, after: ranks from 1; None if it is not in the list.
        words: for screen readers.
    """

    kind: Literal["up", "down", "same", "new", "out"]
    before: int | None
    after: int | None
    words: str


@dataclass(frozen=True)
class StageTime:
    """The time of a stage of the search; `share` is its part of the total, 0..1."""

    name: str
    milliseconds: float
    share: float


def name_of(document: Document) -> str:
    """A short name: the id, or its last part if it is a path."""
    return document.id.rstrip("/").rpartition("/")[2] or document.id


def was_reordered(report: SearchReport) -> bool:
    """Whether the search was re-ranked or expanded."""
    return bool(report.plan.window or report.plan.expand)


def move_after(hit: Hit) -> Move:
    """How a hit of the final order got to its rank."""
    if hit.first_rank is None:
        return Move("new", None, hit.rank, f"new at place {hit.rank}, found by the second search")
    return _move(hit.first_rank, hit.rank)


def move_before(hit: Hit, ranking: Ranking) -> Move:
    """Where a hit of the first search ended up."""
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
    """The title of the final order."""
    steps = ["re-ranking"] * bool(plan.window) + ["expansion"] * bool(plan.expand)
    return "After " + " and ".join(steps)


def plan_words(plan: SearchPlan) -> str:
    """A sentence that describes the search."""
    found = plan.max_hits
    steps = [f"First search for {found} hits"]
    if plan.matching is not None:
        steps[0] += " that match the filter"
    if plan.window:
        which = "all" if plan.window == found else f"the first {plan.window}"
        by = f" {_COMPARED[plan.by]}" if plan.by else ""
        steps.append(f"{which} re-ranked{by} (R = {plan.window})")
    if plan.expand:
        alpha = f", \N{GREEK SMALL LETTER ALPHA} = {plan.alpha:g}" if plan.alpha else ""
        best = "the best hit" if plan.expand == 1 else f"the best {plan.expand} hits"
        steps.append(
            f"then searched again with the query expanded from {best} (n = {plan.expand}{alpha})"
        )
    return ", ".join(steps) + "."


def right_words(report: SearchReport) -> str:
    """The number of right hits before and after; "" if unknown for any hit."""
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


def stages(ranking: Ranking) -> list[StageTime]:
    """The time of each stage, in order."""
    whole = sum(ranking.milliseconds.values()) or 1
    return [
        StageTime(_STAGES.get(name, name.replace("_", " ")), took, took / whole)
        for name, took in ranking.milliseconds.items()
    ]


def search_report(  # noqa: PLR0913 - the parts of a search
    library: ImageLibrary,
    title: str,
    image: RgbImage,
    query: QueryDescription,
    plan: SearchPlan,
    ranking: Ranking,
    is_right: Callable[[Document], bool | None] = lambda _: None,
) -> SearchReport:
    """Collect the images and heat maps of a search; `is_right` judges hits if it can."""
    documents = {h.document.id: h.document for h in (*ranking.hits, *ranking.first)}
    heat = _heat_maps(library, query, list(documents.values()))
    images = {
        i: HitImage(_read(library, document), heat.get(i), is_right(document))
        for i, document in documents.items()
    }
    classes = _named_classes(library.method, query)
    return SearchReport(
        title,
        image,
        ranking,
        replace(plan, by=library.searcher.compared(plan.by)),
        library.gallery.count(),
        images,
        query.box,
        library.query_heat(image, query),
        list(classes),
        {name: data_url(sheet) for name, sheet in classes.items() if sheet is not None},
    )


def _named_classes(method: Method, query: QueryDescription) -> dict[str, Image.Image | None]:
    """The query's best classes by name, with patches of learned ones."""
    names = method.class_names
    return {
        names[n] if n < len(names) else f"class {n}": contact_sheet(method.whitening, n)
        for n in query.classes[:_CLASSES_NAMED].tolist()
    }


def _read(library: ImageLibrary, document: Document) -> Image.Image | None:
    """The hit's image; None shows a placeholder."""
    try:
        return library.read(document.uri).image
    except CamsearchError:
        return None


def _heat_maps(
    library: ImageLibrary, query: QueryDescription, documents: Sequence[Document]
) -> dict[str, Float[np.ndarray, "H W"]]:
    """Heat maps of the hits for the query's top classes, by id."""
    heat = {}
    for image_id, kept in library.searcher.matcher.maps_of(documents).items():
        encoded = stack_kept([kept], library.method.encoder.device)
        heat[image_id] = library.heat_of(query, encoded)
    return heat
