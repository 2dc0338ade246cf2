"""Read query images from the request, a document, or a URL of an allowed host; describe them."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import torch

from descriptors.arrays import Size
from descriptors.errors import CamsearchError, FeaturelessImage, ImageError
from descriptors.expansion import combined_query
from descriptors.images import read_image
from galleries.documents import IndexedImage
from reranker.dialect.searches import IMAGE_FIELDS
from reranker.errors import DialectError, ImageNotFound
from reranker.search.rerank import image_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from descriptors.arrays import Box, Encoded, QueryDescription
    from descriptors.images import ImageLimits, RgbImage
    from descriptors.settings import RegionSettings
    from reranker.dialect.searches import Example, ImageQuery, ImageSource
    from reranker.http.exchange import Request
    from reranker.matching import Matcher
    from reranker.search.description import Describer
    from reranker.search.indices import Indices

__all__ = ["QueryImages"]


class QueryImages:
    """Reads and describes query images."""

    def __init__(
        self,
        indices: Indices,
        describer: Describer,
        matcher: Matcher,
        limits: ImageLimits,
        fetch: Callable[[str], bytes] | None = None,
    ) -> None:
        """Args: fetch safely downloads the bytes behind a URL; None if not allowed."""
        self._indices, self._describer, self._matcher = indices, describer, matcher
        self._limits, self._fetch = limits, fetch

    async def describe(
        self, request: Request, index: str, query: ImageQuery, regions: RegionSettings
    ) -> QueryDescription:
        """Describe a query for both searches.

        Args:
            request: whose credentials are used.
            index: of its path, percent-encoded.
            query: the images and their boxes.
            regions: settings that hits will be matched with.

        Raises:
            ImageError: the image cannot be read, or has nothing to describe.
            ImageNotFound: there is no document with this id.
            DialectError: URLs are not allowed, or camsearch did not write the document.
            Overloaded: the queue is full.
        """
        described = await asyncio.gather(
            *(self._describe(request, index, one, regions) for one in query.examples)
        )
        views = len(query.images)
        return combined_query(described[:views], described[views:])

    async def _describe(
        self, request: Request, index: str, example: Example, regions: RegionSettings
    ) -> QueryDescription:
        source = await self.source(request, index, example.image)
        return await self.describe_source(source, example.box, regions)

    async def source(
        self, request: Request, index: str, image: ImageSource
    ) -> bytes | IndexedImage:
        """The bytes of a query's image, or its document."""
        if image.id is not None:
            return await self._document(request, index, image.id)
        return image.data if image.data is not None else await self._fetched(image.url or "")

    async def describe_source(
        self, source: bytes | IndexedImage, box: Box | None, regions: RegionSettings
    ) -> QueryDescription:
        """As `describe`, for a result of `source`."""
        if isinstance(source, IndexedImage):
            described = await asyncio.to_thread(self._of_kept_maps, source, box, regions)
        else:
            image = await asyncio.to_thread(self._read, source, box)
            described = await self._describer.describe(image, regions, box)
        if not described.descriptor.any():
            raise FeaturelessImage(
                "The query image holds nothing to describe: it is of one colour, or the box is. "
                "Choose another image or a larger box."
            )
        return described

    def maps(self, source: bytes | IndexedImage, box: Box | None) -> Encoded:
        """The feature maps of a query, as a batch of one.

        Raises:
            ImageError: none are kept, and the image cannot be read.
        """
        if not isinstance(source, IndexedImage):
            return self._matcher.method.encode(self._read(source, box))
        encoded = self._matcher.encoded_of(source)
        if encoded is None:
            raise ImageError(
                f"No feature maps are kept for [{source.id}], and its image cannot be read: "
                "index it again, or send the image as [image.data]."
            )
        return encoded

    def _read(self, data: bytes, box: Box | None) -> RgbImage:
        side = None if box else self._matcher.method.settings.side
        return read_image(data, self._limits, reduce_to=side)

    async def _fetched(self, url: str) -> bytes:
        """Download an image.

        Raises:
            DialectError: URLs are not allowed, or the download fails.
            ImageError: the file is larger than allowed.
        """
        if self._fetch is None:
            raise DialectError(
                "[image.url] is not allowed by this server: send the image as [image.data], or "
                "start the server with its host in CAMSEARCH_WEB_HOSTS."
            )
        try:
            return await asyncio.to_thread(self._fetch, url)
        except ImageError:
            raise
        except CamsearchError as error:
            raise DialectError(f"[image.url] cannot be fetched. {error.reason}") from error

    async def _document(self, request: Request, index: str, image_id: str) -> IndexedImage:
        """The image of a document that the caller may see."""
        hit = await self._indices.document(request, index, image_id, IMAGE_FIELDS)
        if hit is None:
            raise ImageNotFound(
                f"[image.id] names [{image_id}], which is not a document of [{index or '_all'}]: "
                "use the id of one, or send the image as [image.data]."
            )
        image = image_of(hit)
        if image is None:
            raise DialectError(
                f"The document [{image_id}] was not written by camsearch: it lacks "
                f"{', '.join(IMAGE_FIELDS)}. Use another, or send the image as [image.data]."
            )
        return image

    def _of_kept_maps(
        self, image: IndexedImage, box: Box | None, regions: RegionSettings
    ) -> QueryDescription:
        encoded = self.maps(image, box)
        with torch.inference_mode():
            return self._matcher.method.describe_kept_query(
                encoded, Size(image.width, image.height), regions, box
            )
