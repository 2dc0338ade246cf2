"""Hits of an Elasticsearch re-ranked by the maps of their images."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

from galleries.documents import IndexedImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from descriptors.arrays import QueryDescription
    from descriptors.settings import RegionSettings
    from reranker.dialect.answers import FoundHit
    from reranker.dialect.searches import Rerank
    from reranker.matching import Match, Matcher

__all__ = ["IMAGE_FIELDS", "NotReranked", "image_of", "match_by_maps", "settings_of"]

_log = logging.getLogger(__name__)

# What tells where a document's maps and its image are.
IMAGE_FIELDS = ("digest", "uri", "width", "height")


class NotReranked(Exception):
    """The re-ranking failed; says so to the caller. Never leaves the search."""


def image_of(hit: FoundHit | None) -> IndexedImage | None:
    """The image of a hit; None if there is none, or the document does not tell enough."""
    if hit is None or hit.digest is None or hit.width is None or hit.height is None:
        return None
    if min(hit.width, hit.height) < 1:  # somebody else's document may say anything
        return None
    return IndexedImage(hit.id, hit.uri or "", hit.digest, hit.width, hit.height)


def settings_of(rerank: Rerank | None, own: RegionSettings) -> RegionSettings:
    """How hits are matched, and the query is described for it.

    Args:
        rerank: what the search asks for; None for no re-ranking.
        own: the matcher's.
    """
    if rerank is None:
        return own
    settings = own if rerank.regions else own.of_whole_images()
    if rerank.classes is not None:
        settings = settings.model_copy(update={"n_classes": rerank.classes})
    return settings


async def match_by_maps(
    matcher: Matcher, query: QueryDescription, hits: Sequence[FoundHit], settings: RegionSettings
) -> dict[tuple[str, str], Match | None]:
    """The best region of each hit, by index and id, as `Matcher.match`.

    Raises:
        NotReranked: it failed; why stands in the log.

    Convention:
        Cancelled, it ends at once, and its thread after the portion that it is at.
    """
    images = {(h.index, h.id): image for h in hits if (image := image_of(h)) is not None}
    late = threading.Event()

    def match() -> Mapping[IndexedImage, Match | None]:
        return _match_each(matcher, query, images.values(), settings, late.is_set)

    try:
        matches = await asyncio.to_thread(match)
    except Exception as error:
        _log.exception("The re-ranking of a search failed.")
        raise NotReranked(
            "The re-ranking failed: these hits are in the order of the first search. The log of "
            "camsearch says why."
        ) from error
    finally:
        late.set()
    return {key: matches[image] for key, image in images.items() if image in matches}


def _match_each(
    matcher: Matcher,
    query: QueryDescription,
    images: Iterable[IndexedImage],
    settings: RegionSettings,
    stop: Callable[[], bool],
) -> dict[IndexedImage, Match | None]:
    """The best regions; images of one id, from several indices, each by itself."""
    rounds: list[dict[str, IndexedImage]] = []
    for image in dict.fromkeys(images):
        free = next((one for one in rounds if image.id not in one), None)
        if free is None:
            rounds.append(free := {})
        free[image.id] = image
    return {
        by_id[image_id]: match
        for by_id in rounds
        for image_id, match in matcher.match(query, list(by_id.values()), settings, stop).items()
    }
