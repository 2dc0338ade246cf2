"""Compare a gallery with another one, and with the images that it should hold."""

from __future__ import annotations

from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from indexer.reading import tag_of, would_be_refused
from indexer.sources import Source, in_pages

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from descriptors.images import ImageLimits
    from es_mappings.elastic import ElasticGallery

__all__ = ["check_whole", "different", "missing"]

_PAGE = 500


def missing(live: ElasticGallery, target: ElasticGallery) -> Iterator[Source]:
    """Images of the live index that the target has neither indexed nor rejected."""
    for page in in_pages(live.documents(), _PAGE):
        known, refused = target.known([document.id for document in page])
        for document in page:
            there = known.get(document.id)
            newer = there is not None and there.revision >= document.revision
            if not newer and document.id not in refused:
                yield Source(document.id, document.uri, document.meta, revision=document.revision)


def different(
    sources: Iterable[Source], gallery: ElasticGallery, limits: ImageLimits
) -> Iterator[Source]:
    """Sources that are missing from the gallery or have changed since."""
    for page in in_pages(sources, _PAGE):
        known, refused = gallery.known([source.id for source in page])
        for source in page:
            there, tag = known.get(source.id), tag_of(source)
            same = there is not None and (there.source_tag, there.meta) == (tag, source.meta)
            if source.id in refused:
                made_of = refused[source.id]
                same = would_be_refused(source, tag, made_of, limits, gallery.meta_mapping)
            if not (same and tag):
                yield source


def check_whole(sources: Sequence[Source]) -> None:
    """Refuse to delete by a list that may be incomplete, such as that of an unmounted disk.

    Raises:
        RequestError: the list is empty, or a source could not be read.
    """
    problems = [source.problem for source in sources if source.problem is not None]
    if not sources or problems:
        what = problems[0].reason if problems else "There is no image at these paths."
        raise RequestError(
            f"Nothing is deleted, since the list of images may be incomplete. {what}"
        )
