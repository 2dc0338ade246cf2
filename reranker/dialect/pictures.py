"""A picture in a search: `image` and `box`."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from descriptors.arrays import Box
from reranker.dialect.limits import DialectLimits
from reranker.dialect.searches import ImageSource, PictureQuery
from reranker.dialect.values import a_number, a_text, an_object, refusal
from reranker.errors import DialectError

__all__ = ["PICTURE_KEYS", "read_picture"]

PICTURE_KEYS = ("image", "box")

_SOURCES = ("data", "id", "url")
_COORDINATES = 4
_MOST_ID = 512  # Elasticsearch's, in bytes
_MOST_URL = 8191


def read_picture(value: Mapping[str, Any], path: str, limits: DialectLimits) -> PictureQuery:
    """The picture of an object that has `image` and perhaps `box`.

    Raises:
        DialectError: a key has a value that cannot be understood.

    Convention:
        null is like a key that is absent, as typed clients write it.
    """
    box = value.get("box")
    image = _read_image(value.get("image"), f"{path}.image", limits)
    return PictureQuery(image, None if box is None else _read_box(box, f"{path}.box"))


def _read_image(value: Any, path: str, limits: DialectLimits) -> ImageSource:
    given = {k: v for k, v in an_object(value, path, _SOURCES).items() if v is not None}
    if len(given) != 1:
        raise DialectError(
            f"[{path}] must have exactly one of [data], [id] and [url], not {len(given)}."
        )
    [(source, text)] = given.items()
    path = f"{path}.{source}"
    if source == "data":
        return ImageSource(data=_read_base64(text, path, limits.picture_bytes))
    if source == "id":
        return ImageSource(id=a_text(text, path, _MOST_ID))
    return ImageSource(url=a_text(text, path, _MOST_URL))


def _read_base64(value: Any, path: str, most: int) -> bytes:
    """The bytes of a base64 text, which may be a data URL as browsers make them, or have lines."""
    if not isinstance(value, str) or not value:
        raise refusal(path, "the base64 of a picture's file", value)
    text = value.partition(",")[2] if value.startswith("data:") else value
    if "\n" in text:
        text = text.replace("\r", "").replace("\n", "")
    if len(text) * 3 // 4 - 2 > most:
        raise DialectError(
            f"[{path}] holds more than the {most:,} bytes allowed: send a smaller picture, "
            "or raise CAMSEARCH_SERVE_MOST_PICTURE."
        )
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise refusal(path, "the base64 of a picture's file", value) from error
    if not data:
        raise refusal(path, "the base64 of a picture's file", value)
    return data


def _read_box(value: Any, path: str) -> Box:
    if isinstance(value, list) and len(value) != _COORDINATES:
        raise DialectError(
            f"[{path}] has {len(value)} numbers: give four, [x0, y0, x1, y1], pixels of the upright "
            "picture."
        )
    if not isinstance(value, list):
        raise refusal(path, "[x0, y0, x1, y1], pixels of the upright picture", value)
    x0, y0, x1, y1 = (a_number(v, f"{path}.{i}", 0) for i, v in enumerate(value))
    if x1 <= x0 or y1 <= y0:
        raise DialectError(f"[{path}] is empty: give [x0, y0, x1, y1] with x0 < x1 and y0 < y1.")
    return Box(x0, y0, x1, y1)
