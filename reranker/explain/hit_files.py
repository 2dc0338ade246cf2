"""The files of hits, read for people to look at: their addresses stand in the documents."""

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
from reranker.errors import DialectError, ImageNotFound
from reranker.explain.drawing import draw_box, heat_layer, thumbnail, with_heat
from reranker.http.exchange import encoded_index
from reranker.search.rerank import IMAGE_FIELDS, image_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from galleries.documents import IndexedImage
    from reranker.http.exchange import Request
    from reranker.search.admission import Gate
    from reranker.search.indices import Indices

__all__ = ["HitFiles", "heat_png"]

# Longer side of a heat map as an image.
_MAX_SIDE = 1024


class HitFiles:
    """Looks documents up with the rights of who asks, and reads their images."""

    def __init__(
        self,
        indices: Indices,
        read: Callable[[str], bytes] | None,
        limits: ImageLimits,
        gate: Gate,
    ) -> None:
        """Args: read the bytes behind an address of a document; None if none may be read."""
        self._indices, self._read, self._limits, self._gate = indices, read, limits, gate

    async def find(self, request: Request, index: str, image_id: str) -> IndexedImage:
        """What the index says of an image.

        Raises:
            ImageNotFound: nothing, to this caller.
            UpstreamRefused: Elasticsearch refuses.
        """
        image = image_of(
            await self._indices.document(request, encoded_index(index), image_id, IMAGE_FIELDS)
        )
        if image is None:
            raise ImageNotFound(
                f"[{image_id}] is no image of [{index}]: name the _id of a hit of a search there."
            )
        return image

    async def small(self, image: IndexedImage, side: int) -> bytes:
        """An image as a JPEG, no side of it longer than this.

        Raises:
            DialectError: this server reads no images.
            ImageError: it cannot be decoded.
            ImageNotFound: it cannot be read, or is another than was indexed.
        """
        async with self._gate.passed():
            return await asyncio.to_thread(self._small, image, side)

    async def large(self, image: IndexedImage) -> Image.Image | None:
        """An image, reduced if it is large; None if it cannot be read."""
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
            raise DialectError("This server reads no images: it was started without.")
        # Which address it is and why stays here: it may tell more than the document does.
        gone = ImageNotFound(
            f"The image of [{image.id}] cannot be read now: see whether its file is still "
            "where it was indexed, and the same."
        )
        try:
            data = self._read(image.uri)
        except ImageError:
            raise
        except CamsearchError as error:
            raise gone from error
        # Else who writes a document could have any image shown that this machine can read.
        if hashlib.sha256(data).hexdigest() != image.digest:
            raise gone
        return read_image(data, self._limits, reduce_to=side)


def heat_png(
    heat: Float[np.ndarray, "H W"], size: Size, image: Image.Image | None, box: Box | None
) -> bytes:
    """A heat map as a PNG of at most 1,024 pixels a side, with the best region's box.

    Args:
        heat: 0..1.
        size: of the hit's image.
        image: that image, to lie beneath; without it the heat map stands alone, transparent.
        box: of the best region, if there is one.
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
