"""Where a query's picture comes from: the request, a document of the index, or an allowed host."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import torch

from descriptors.arrays import Size
from descriptors.errors import CamsearchError, FeaturelessImage, ImageError
from descriptors.images import read_image
from es_mappings.documents import IndexedPicture
from reranker.errors import DialectError, PictureNotFound
from reranker.visual.hit_documents import find_document

if TYPE_CHECKING:
    from collections.abc import Callable

    from descriptors.arrays import QueryDescription
    from descriptors.images import ImageLimits
    from descriptors.settings import RegionSettings
    from reranker.dialect.answers import FoundHit
    from reranker.dialect.searches import PictureQuery
    from reranker.exchange import Request, Upstream
    from reranker.matching import Matcher
    from reranker.visual.description import Describer

__all__ = ["PICTURE_FIELDS", "HitPicture", "QueryPictures", "picture_of"]

# What tells where a document's maps and its picture are.
PICTURE_FIELDS = ("digest", "uri", "width", "height")


class HitPicture(IndexedPicture):
    """A hit's picture, without its vector."""


def picture_of(hit: FoundHit) -> HitPicture | None:
    """The picture of a hit; None if the document does not tell enough."""
    if hit.digest is None or hit.width is None or hit.height is None:
        return None
    if min(hit.width, hit.height) < 1:  # somebody else's document may say anything
        return None
    return HitPicture(hit.id, hit.uri or "", hit.digest, hit.width, hit.height)


class QueryPictures:
    """Describes the pictures that searches name."""

    def __init__(
        self,
        upstream: Upstream,
        describer: Describer,
        matcher: Matcher,
        limits: ImageLimits,
        fetch: Callable[[str], bytes] | None = None,
    ) -> None:
        """Put the parts together.

        Args:
            upstream: asked for documents that are named by id.
            describer: owns the network.
            matcher: has the kept maps.
            limits: of pictures in requests.
            fetch: the bytes behind a url, with all the care that needs; None if none may be.
        """
        self._upstream, self._describer, self._matcher = upstream, describer, matcher
        self._limits, self._fetch = limits, fetch

    async def describe(
        self,
        request: Request,
        index: str,
        query: PictureQuery,
        regions: RegionSettings | None = None,
    ) -> QueryDescription:
        """A query, ready for both searches.

        Args:
            request: whose rights are used.
            index: of its path, percent-encoded.
            query: the picture, and what to look for in it.
            regions: that hits will be matched with; None for the matcher's own.

        Raises:
            ImageError: the picture cannot be read, or has nothing to describe.
            PictureNotFound: there is no document of this id.
            DialectError: urls are not allowed, or nothing is kept of the document.
            Overloaded: too many queries wait.
        """
        image, settings = query.image, regions or self._matcher.regions
        if image.id is not None:
            picture = await self._document(request, index, image.id)
            described = await asyncio.to_thread(self._of_kept_maps, picture, query, settings)
        else:
            data = image.data if image.data is not None else await self.fetched(image.url or "")
            read = await asyncio.to_thread(
                read_image,
                data,
                self._limits,
                reduce_to=None if query.box else self._matcher.method.settings.side,
            )
            described = await self._describer.describe(read, settings, query.box)
        if not described.descriptor.any():
            raise FeaturelessImage(
                "The query picture holds nothing to describe: it is of one colour, or the box is. "
                "Choose another picture or a larger box."
            )
        return described

    async def fetched(self, url: str) -> bytes:
        """The file behind a url.

        Raises:
            DialectError: urls are not allowed, or this one gives no file.
            ImageError: the file is larger than allowed.
        """
        if self._fetch is None:
            raise DialectError(
                "[image.url] is not allowed by this server: send the picture as [image.data], or "
                "start the server with its host in CAMSEARCH_WEB_HOSTS."
            )
        try:
            return await asyncio.to_thread(self._fetch, url)
        except ImageError:
            raise
        except CamsearchError as error:
            raise DialectError(f"[image.url] cannot be fetched. {error.reason}") from error

    async def _document(self, request: Request, index: str, image_id: str) -> HitPicture:
        """The picture of a document of the index, as the caller may see it."""
        hit = await find_document(self._upstream, request, index, image_id, PICTURE_FIELDS)
        if hit is None:
            raise PictureNotFound(
                f"[image.id] names [{image_id}], which is no document of [{index or '_all'}]: "
                "name one that is, or send the picture as [image.data]."
            )
        picture = picture_of(hit)
        if picture is None:
            raise DialectError(
                f"The document [{image_id}] does not tell {', '.join(PICTURE_FIELDS)}: it was not "
                "written by camsearch. Name another, or send the picture as [image.data]."
            )
        return picture

    def _of_kept_maps(
        self, picture: HitPicture, query: PictureQuery, regions: RegionSettings
    ) -> QueryDescription:
        encoded = self._matcher.encoded_of(picture)
        if encoded is None:
            raise ImageError(
                f"No feature maps are kept of [{picture.id}] and its picture cannot be read: "
                "index it again, or send the picture as [image.data]."
            )
        method = self._matcher.method
        size = Size(picture.width, picture.height)
        with torch.inference_mode():
            return method.describe_kept_query(encoded, size, regions, query.box)
