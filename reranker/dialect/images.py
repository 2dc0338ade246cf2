"""Read query images, and the boxes in them."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from typing import Any

from descriptors.arrays import Box
from reranker.dialect.searches import DialectLimits, Example, ImageQuery, ImageSource
from reranker.dialect.values import a_number, a_text, an_object, invalid_value
from reranker.errors import DialectError

__all__ = ["EXAMPLE_KEYS", "IMAGE_KEYS", "read_query_image"]

EXAMPLE_KEYS = ("image", "box")
IMAGE_KEYS = (*EXAMPLE_KEYS, "images", "without")

_SOURCES = ("data", "id", "url")
_COORDINATES = 4
_MAX_ID = 512  # Elasticsearch's, in bytes
_MAX_URL = 8191


def read_query_image(value: Mapping[str, Any], path: str, limits: DialectLimits) -> ImageQuery:
    """Read what an object with `IMAGE_KEYS` asks for: one image or several, and what it is not.

    Raises:
        DialectError: a value is not valid. Null is the same as an absent key.
    """
    without = value.get("without")
    negative = () if without is None else _read_examples(without, f"{path}.without", limits)
    query = ImageQuery(_read_views(value, path, limits), negative)
    if (count := len(query.examples)) > limits.images:
        raise DialectError(
            f"[{path}] has {count} images, those of [without] included: give at most "
            f"{limits.images}."
        )
    return query


def _read_views(value: Mapping[str, Any], path: str, limits: DialectLimits) -> tuple[Example, ...]:
    if value.get("images") is None:
        image = _read_image(value.get("image"), f"{path}.image", limits)
        return (Example(image, _read_box(value.get("box"), f"{path}.box")),)
    for key, remedy in (("image", "give one"), ("box", "give each of the images its own [box]")):
        if value.get(key) is not None:
            raise DialectError(f"[{path}.{key}] cannot be combined with [images]: {remedy}.")
    return _read_examples(value["images"], f"{path}.images", limits)


def _read_examples(value: Any, path: str, limits: DialectLimits) -> tuple[Example, ...]:
    if not isinstance(value, list):
        raise invalid_value(path, "a list of images", value)
    if not value:
        raise DialectError(f"[{path}] is empty: give at least one image, or leave it out.")
    return tuple(_read_listed(one, f"{path}.{i}", limits) for i, one in enumerate(value))


def _read_listed(value: Any, path: str, limits: DialectLimits) -> Example:
    """In a list, an image's box is within it."""
    given = an_object(value, path, (*_SOURCES, "box"))
    image = {key: one for key, one in given.items() if key != "box"}
    return Example(_read_image(image, path, limits), _read_box(given.get("box"), f"{path}.box"))


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


def _read_box(value: Any, path: str) -> Box | None:
    if value is None:
        return None
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
