"""Match Elasticsearch's hits by their feature maps."""

from __future__ import annotations

import asyncio
import logging
import threading
from typing import TYPE_CHECKING, TypeAlias, TypeVar

from galleries.documents import IndexedImage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from descriptors.arrays import Box, QueryDescription
    from descriptors.settings import RegionSettings
    from reranker.dialect.answers import FoundHit
    from reranker.dialect.searches import Rerank
    from reranker.matching import Match, Matcher
    from reranker.search.running import HitKey

__all__ = ["NotReranked", "image_of", "match_by_maps", "refine_by_maps"]
__all__ += ["settings_of"]

_log = logging.getLogger(__name__)
_T = TypeVar("_T")
_Stop: TypeAlias = "Callable[[], bool]"


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

    def match(some: Sequence[IndexedImage], stop: _Stop) -> Mapping[str, Match | None]:
        return matcher.match(query, some, settings, stop)

    failed = "The re-ranking failed: these hits are in the order of the first search."
    matches = await _on_thread(match, images.values(), failed)
    return {key: matches[image] for key, image in images.items() if image in matches}


async def refine_by_maps(
    matcher: Matcher, query: QueryDescription, hits: Sequence[tuple[FoundHit, Box]]
) -> dict[tuple[str, str], Box]:
    """As `Matcher.refined`, on a thread, by index and id; see `match_by_maps`."""
    found = [(h, image, box) for h, box in hits if (image := image_of(h)) is not None]
    boxes = {image: box for _, image, box in found}

    def refine(some: Sequence[IndexedImage], stop: _Stop) -> Mapping[str, Box]:
        return matcher.refined(query, [(image, boxes[image]) for image in some], stop)

    fitted = await _on_thread(refine, boxes, "The boxes of hits could not be fitted.")
    return {(h.index, h.id): fitted[image] for h, image, _ in found if image in fitted}


async def _on_thread(
    work: Callable[[Sequence[IndexedImage], _Stop], Mapping[str, _T]],
    images: Iterable[IndexedImage],
    failed: str,
) -> dict[IndexedImage, _T]:
    """The results of work on images, of which several may have one id in different indices.

    Args:
        work: takes images of different ids, and what says whether to stop; results are by id.
        images: any number.
        failed: sentence for the error.

    Raises:
        NotReranked: the work failed; the log has the traceback.
    """
    rounds: list[dict[str, IndexedImage]] = []
    for image in dict.fromkeys(images):
        free = next((one for one in rounds if image.id not in one), None)
        if free is None:
            rounds.append(free := {})
        free[image.id] = image
    late = threading.Event()

    def run() -> dict[IndexedImage, _T]:
        return {
            by_id[image_id]: result
            for by_id in rounds
            for image_id, result in work(list(by_id.values()), late.is_set).items()
        }

    try:
        return await asyncio.to_thread(run)
    except Exception as error:
        _log.exception("The re-ranking of a search failed.")
        raise NotReranked(f"{failed} See the log of camsearch.") from error
    finally:
        late.set()
