"""Read query images, and the boxes in them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from descriptors.arrays import Box
from reranker.dialect.searches import DialectLimits, ImageQuery, ImageSource
from reranker.dialect.values import a_number, a_text, an_object, invalid_value
from reranker.errors import DialectError

__all__ = ["IMAGE_KEYS", "read_query_image"]

IMAGE_KEYS = ("image", "box")

_SOURCES = ("data", "id", "url")
_COORDINATES = 4
_MAX_ID = 512  # Elasticsearch's, in bytes
_MAX_URL = 8191


def read_query_image(value: Mapping[str, Any], path: str, limits: DialectLimits) -> ImageQuery:
    """Read `image` and the optional `box` of an object.

    Raises:
        DialectError: a value is not valid. Null is the same as an absent key.
    """
    box = value.get("box")
    image = _read_image(value.get("image"), f"{path}.image", limits)
    return ImageQuery(image, None if box is None else _read_box(box, f"{path}.box"))


def _read_image(value: Any, path: str, limits: DialectLimits) -> ImageSource:
    given = {k: v for k, v in an_object(value, path, _SOURCES).items() if v is not None}
    if len(given) != 1:
        raise DialectError(
            f"[{path}] must have exactly one of [data], [id] and [url], not {len(given)}."
        )
    [(source, text)] = given.items()
    path = f"{path}.{source}"
    if source == "data":
        return ImageSource(data=_read_base64(text, path, limits.image_bytes))
    if source == "id":
        return ImageSource(id=a_text(text, path, _MAX_ID))
    return ImageSource(url=a_text(text, path, _MAX_URL))


def _read_base64(value: Any, path: str, most: int) -> bytes:
    """Decode base64, with line breaks or as a data URL."""
    text = value if isinstance(value, str) else ""
    text = text.partition(",")[2] if text.startswith("data:") else text
    if "\n" in text:
        text = text.replace("\r", "").replace("\n", "")
    if len(text) * 3 // 4 - 2 > most:
        raise DialectError(
            f"[{path}] has more than the {most:,} bytes allowed: send a smaller image, "
            "or raise CAMSEARCH_SERVE_MAX_IMAGE."
        )
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise invalid_value(path, "the base64 of an image's file", value) from error
    if not data:
        raise invalid_value(path, "the base64 of an image's file", value)
    return data


def _read_box(value: Any, path: str) -> Box:
    if not isinstance(value, list):
        raise invalid_value(path, "[x0, y0, x1, y1], pixels of the upright image", value)
    if len(value) != _COORDINATES:
        raise DialectError(
            f"[{path}] has {len(value)} numbers: give four, [x0, y0, x1, y1], pixels of the "
            "upright image."
        )
    x0, y0, x1, y1 = (a_number(v, f"{path}.{i}", 0) for i, v in enumerate(value))
    if x1 <= x0 or y1 <= y0:
        raise DialectError(f"[{path}] is empty: give [x0, y0, x1, y1] with x0 < x1 and y0 < y1.")
    return Box(x0, y0, x1, y1)
