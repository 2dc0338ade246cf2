"""From a search to its report: the pictures of the hits and their heat maps."""

from __future__ import annotations

from typing import TYPE_CHECKING

from camsearch.search_report import HitPicture, SearchReport
from descriptors.classes import class_names
from descriptors.errors import CamsearchError
from es_mappings.kept_maps import stack_kept

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from jaxtyping import Float
    from PIL import Image

    from camsearch.library import PictureLibrary
    from descriptors.arrays import QueryDescription
    from descriptors.images import Picture
    from es_mappings.documents import Document
    from reranker.ranking import Ranking, SearchPlan

__all__ = ["search_report"]

_CLASSES_NAMED = 6


def search_report(  # noqa: PLR0913 - one search is all of these
    library: PictureLibrary,
    title: str,
    picture: Picture,
    query: QueryDescription,
    plan: SearchPlan,
    ranking: Ranking,
    is_right: Callable[[Document], bool | None] = lambda _: None,
) -> SearchReport:
    """Gather what a report of this search shows.

    Args:
        library: that was searched.
        title: a line for people.
        picture: the query's.
        query: its description.
        plan: what was asked for.
        ranking: the answer.
        is_right: whether a hit shows the thing, where somebody knows.
    """
    documents = {h.document.id: h.document for h in (*ranking.hits, *ranking.first)}
    heat = _heat_maps(library, query, list(documents.values()))
    pictures = {
        i: HitPicture(_read(library, document), heat.get(i), is_right(document))
        for i, document in documents.items()
    }
    names = class_names()
    return SearchReport(
        title,
        picture,
        ranking,
        plan,
        library.gallery.count(),
        pictures,
        query.box,
        library.query_heat(picture, query),
        [
            names[n] if n < len(names) else f"class {n}"
            for n in query.classes[:_CLASSES_NAMED].tolist()
        ],
    )


def _read(library: PictureLibrary, document: Document) -> Image.Image | None:
    """The hit's picture, or nothing, for which the report has a placeholder."""
    try:
        return library.read(document.uri).image
    except CamsearchError:
        return None


def _heat_maps(
    library: PictureLibrary, query: QueryDescription, documents: Sequence[Document]
) -> dict[str, Float[np.ndarray, "H W"]]:
    """Where each hit looks like the query's best classes, 0..1."""
    heat = {}
    for image_id, kept in library.searcher.matcher.maps_of(documents).items():
        encoded = stack_kept([kept], library.method.encoder.device)
        heat[image_id] = library.heat_of(query, encoded)
    return heat
