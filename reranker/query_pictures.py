"""Where a query's picture comes from: the request, a document of the index, or an allowed host."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import orjson
import torch

from descriptors.arrays import Size
from descriptors.errors import CamsearchError, FeaturelessImage, ImageError
from descriptors.images import read_image
from es_mappings.features import stack_kept
from reranker.dialect.answers import read_hits
from reranker.errors import DialectError, PictureNotFound, UpstreamRefused

if TYPE_CHECKING:
    from collections.abc import Callable

    from descriptors.arrays import QueryDescription
    from descriptors.images import ImageLimits
    from reranker.description import Describer
    from reranker.dialect.answers import FoundHit
    from reranker.dialect.searches import PictureQuery
    from reranker.exchange import Request, Upstream
    from reranker.matching import Matcher

__all__ = ["PICTURE_FIELDS", "HitPicture", "QueryPictures", "picture_of"]

# What tells where a document's maps and its picture are.
PICTURE_FIELDS = ("digest", "uri", "width", "height")
_JSON = ((b"content-type", b"application/json"), (b"accept", b"application/json"))
_MEDIA = frozenset({b"content-type", b"accept"})
_OK = 200


@dataclass(frozen=True)
class HitPicture:
    """A hit's picture, without its vector; see `es_mappings.documents.IndexedPicture`."""

    id: str
    uri: str
    digest: str
    width: int
    height: int


def picture_of(hit: FoundHit) -> HitPicture | None:
    """The picture of a hit; None if the document does not tell enough."""
    if hit.digest is None or hit.width is None or hit.height is None:
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

    async def describe(self, request: Request, index: str, query: PictureQuery) -> QueryDescription:
        """A query, ready for both searches.

        Args:
            request: whose rights are used.
            index: of its path, percent-encoded.
            query: the picture, and what to look for in it.

        Raises:
            ImageError: the picture cannot be read, or has nothing to describe.
            PictureNotFound: there is no document of this id.
            DialectError: urls are not allowed, or nothing is kept of the document.
            Overloaded: too many queries wait.
        """
        image = query.image
        if image.id is not None:
            described = await self._of_document(request, index, query, image.id)
        else:
            data = image.data if image.data is not None else await self._fetched(image.url or "")
            picture = await asyncio.to_thread(
                read_image,
                data,
                self._limits,
                reduce_to=None if query.box else self._matcher.method.settings.side,
            )
            described = await self._describer.describe(picture, query.box)
        if not described.descriptor.any():
            raise FeaturelessImage(
                "The query picture holds nothing to describe: it is of one colour, or the box is. "
                "Choose another picture or a larger box."
            )
        return described

    async def _fetched(self, url: str) -> bytes:
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

    async def _of_document(
        self, request: Request, index: str, query: PictureQuery, image_id: str
    ) -> QueryDescription:
        hit = await self._document(request, index, image_id)
        picture = picture_of(hit)
        if picture is None:
            raise DialectError(
                f"The document [{image_id}] has none of {', '.join(PICTURE_FIELDS)}: it was not "
                "written by camsearch. Name another, or send the picture as [image.data]."
            )
        return await asyncio.to_thread(self._of_kept_maps, picture, query)

    async def _document(self, request: Request, index: str, image_id: str) -> FoundHit:
        """A document of the index, as the caller may see it."""
        body = {
            "query": {"ids": {"values": [image_id]}},
            "size": 1,
            "_source": False,
            "fields": list(PICTURE_FIELDS),
        }
        headers = (*(pair for pair in request.headers if pair[0] not in _MEDIA), *_JSON)
        asked = replace(request, method="POST", query="", headers=headers, body=orjson.dumps(body))
        asked = replace(asked, path=f"/{index}/_search" if index else "/_search")
        answer = await self._upstream.ask(asked)
        if answer.status != _OK:
            raise UpstreamRefused(f"Elasticsearch refuses to look for [{image_id}].", answer)
        hits = read_hits(orjson.loads(answer.body))
        if not hits:
            raise PictureNotFound(
                f"[image.id] names [{image_id}], which is no document of [{index or '_all'}]: "
                "name one that is, or send the picture as [image.data]."
            )
        return hits[0]

    def _of_kept_maps(self, picture: HitPicture, query: PictureQuery) -> QueryDescription:
        kept = self._matcher.maps_of([picture]).get(picture.id)
        if kept is None:
            raise ImageError(
                f"No feature maps are kept of [{picture.id}] and its picture cannot be read: "
                "index it again, or send the picture as [image.data]."
            )
        method = self._matcher.method
        encoded = stack_kept([kept], method.encoder.device, method.encoder.kept_dtype)
        size = Size(picture.width, picture.height)
        with torch.inference_mode():
            return method.describe_kept_query(encoded, size, self._matcher.regions, query.box)
