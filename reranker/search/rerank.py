"""Match Elasticsearch's hits by their feature maps."""

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
    from reranker.search.running import HitKey

__all__ = ["NotReranked", "image_of", "match_by_maps", "settings_of"]

_log = logging.getLogger(__name__)


class NotReranked(Exception):
    """Re-ranking failed, with a sentence for the caller of a search."""


def image_of(hit: FoundHit | None) -> IndexedImage | None:
    """The image of a hit; None if the hit is None or lacks fields."""
    if hit is None or hit.digest is None or hit.width is None or hit.height is None:
        return None
    if min(hit.width, hit.height) < 1:
        return None
    return IndexedImage(hit.id, hit.uri or "", hit.digest, hit.width, hit.height)


def settings_of(rerank: Rerank | None, own: RegionSettings) -> RegionSettings:
    """The matcher's `own` settings, changed by what the search asks for."""
    if rerank is None:
        return own
    settings = own.of_whole_images() if rerank.by == "images" else own
    if rerank.classes is not None:
        settings = settings.model_copy(update={"n_classes": rerank.classes})
    return settings


async def match_by_maps(
    matcher: Matcher, query: QueryDescription, hits: Sequence[FoundHit], settings: RegionSettings
) -> dict[HitKey, Match | None]:
    """As `Matcher.match`, on a thread, by index and id.

    Raises:
        NotReranked: it failed; the log has the traceback.

    Convention:
        When cancelled, its thread ends after the current batch.
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
            "The re-ranking failed: these hits are in the order of the first search. See the log "
            "of camsearch."
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
    """Match images, of which several may have the same id in different indices."""
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
