"""Read the image files of hits, for thumbnails and heat maps."""

from __future__ import annotations

import asyncio
import hashlib
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from PIL import Image

from descriptors.arrays import Box, Size
from descriptors.errors import CamsearchError, ImageError
from descriptors.images import ImageLimits, RgbImage, read_image
from reranker.dialect.searches import IMAGE_FIELDS
from reranker.errors import DialectError, ImageNotFound
from reranker.explain.drawing import draw_box, heat_layer, thumbnail, with_heat
from reranker.http.exchange import encoded_index
from reranker.search.rerank import image_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from galleries.documents import IndexedImage
    from reranker.http.exchange import Request
    from reranker.search.admission import Gate
    from reranker.search.indices import Indices

__all__ = ["HitFiles", "heat_png"]

# Longer side of a heat map in pixels.
_MAX_SIDE = 1024


class HitFiles:
    """Looks up documents with the caller's credentials, and reads their images."""

    def __init__(
        self,
        indices: Indices,
        read: Callable[[str], bytes] | None,
        limits: ImageLimits,
        gate: Gate,
    ) -> None:
        """Args: read returns the bytes behind a document's `uri`; None if not allowed."""
        self._indices, self._read, self._limits, self._gate = indices, read, limits, gate

    async def find(self, request: Request, index: str, image_id: str) -> IndexedImage:
        """Look up the image of a document.

        Raises:
            ImageNotFound: it does not exist for this caller.
            UpstreamRefused: Elasticsearch refuses.
        """
        image = image_of(
            await self._indices.document(request, encoded_index(index), image_id, IMAGE_FIELDS)
        )
        if image is None:
            raise ImageNotFound(f"[{image_id}] is not an image of [{index}]: use the _id of a hit.")
        return image

    async def small(self, image: IndexedImage, side: int) -> bytes:
        """An image as a JPEG with sides of at most `side` pixels.

        Raises:
            DialectError: this server does not read images.
            ImageError: it cannot be decoded.
            ImageNotFound: it cannot be read, or has changed since it was indexed.
        """
        async with self._gate.passed():
            return await asyncio.to_thread(self._small, image, side)

    async def large(self, image: IndexedImage) -> Image.Image | None:
        """An image of at most 1,024 pixels a side; None if it cannot be read."""
        async with self._gate.passed():
            try:
                found = await asyncio.to_thread(self._read_hit, image, _MAX_SIDE)
            except CamsearchError:
                return None
        return thumbnail(found.image, _MAX_SIDE)

    def _small(self, image: IndexedImage, side: int) -> bytes:
        small = self._read_hit(image, side).image
        small.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3)
        file = BytesIO()
        small.save(file, "JPEG", quality=82)
        return file.getvalue()

    def _read_hit(self, image: IndexedImage, side: int) -> RgbImage:
        if self._read is None:
            raise DialectError(
                "This server cannot read images: it was started without access to them."
            )
        # The sentence has neither address nor cause, which the caller may not be allowed to see.
        gone = ImageNotFound(
            f"The image of [{image.id}] cannot be read: check that its file still exists and has "
            "not changed since it was indexed."
        )
        try:
            data = self._read(image.uri)
        except ImageError:
            raise
        except CamsearchError as error:
            raise gone from error
        # Otherwise a document's writer could read any image that this machine can.
        if hashlib.sha256(data).hexdigest() != image.digest:
            raise gone
        return read_image(data, self._limits, reduce_to=side)


def heat_png(
    heat: Float[np.ndarray, "H W"], size: Size, image: Image.Image | None, box: Box | None
) -> bytes:
    """Draw a heat map as a PNG of at most 1,024 pixels a side, with the best region's box.

    Args:
        heat: 0..1.
        size: of the hit's image at full size.
        image: drawn below the map; None for a transparent heat map alone.
        box: the best region, in pixels of the full size.
    """
    shown = _bare(heat, size) if image is None else with_heat(image, heat)
    if box is not None:
        draw_box(shown, box, size)
    file = BytesIO()
    shown.save(file, "PNG", compress_level=3)
    return file.getvalue()


def _bare(heat: Float[np.ndarray, "H W"], size: Size) -> Image.Image:
    scale = min(1.0, _MAX_SIDE / max(size))
    shown = Size(max(1, round(size.width * scale)), max(1, round(size.height * scale)))
    return heat_layer(heat).resize(shown, Image.Resampling.BICUBIC)
