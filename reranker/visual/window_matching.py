"""The hits of a window matched with the query, in a thread that ends when nobody waits for it."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from descriptors.arrays import QueryDescription
    from descriptors.settings import RegionSettings
    from reranker.dialect.searches import Rerank
    from reranker.matching import Match, Matcher
    from reranker.visual.query_pictures import HitPicture

__all__ = ["NotReranked", "match_window", "region_settings"]

_log = logging.getLogger(__name__)


class NotReranked(Exception):
    """The re-ranking failed; says so to the caller. Never leaves the search."""


def region_settings(rerank: Rerank | None, own: RegionSettings) -> RegionSettings:
    """How hits are matched, and the query is described for it.

    Args:
        rerank: what the search asks for; None for no re-ranking.
        own: the matcher's.
    """
    if rerank is None:
        return own
    settings = own if rerank.regions else own.of_whole_pictures()
    if rerank.classes is not None:
        settings = settings.model_copy(update={"n_classes": rerank.classes})
    return settings


async def match_window(
    matcher: Matcher,
    query: QueryDescription,
    pictures: Sequence[HitPicture],
    settings: RegionSettings,
) -> dict[HitPicture, Match | None]:
    """The best region of each picture, as `Matcher.match`.

    Raises:
        NotReranked: it failed; why stands in the log.

    Convention:
        Cancelled, it ends at once, and its thread after the portion that it is at.
    """
    late = threading.Event()
    try:
        return await asyncio.to_thread(_match_each, matcher, query, pictures, settings, late.is_set)
    except Exception as error:
        _log.exception("The re-ranking of a search failed.")
        raise NotReranked(
            "The re-ranking failed: these hits are in the order of the first search. The log of "
            "camsearch says why."
        ) from error
    finally:
        late.set()


def _match_each(
    matcher: Matcher,
    query: QueryDescription,
    pictures: Sequence[HitPicture],
    settings: RegionSettings,
    stop: Callable[[], bool],
) -> dict[HitPicture, Match | None]:
    """The best regions; pictures of one id, from several indices, each by itself."""
    rounds: list[dict[str, HitPicture]] = []
    for picture in dict.fromkeys(pictures):
        free = next((one for one in rounds if picture.id not in one), None)
        if free is None:
            rounds.append(free := {})
        free[picture.id] = picture
    return {
        by_id[image_id]: match
        for by_id in rounds
        for image_id, match in matcher.match(query, list(by_id.values()), settings, stop).items()
    }
