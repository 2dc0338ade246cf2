"""Requests to the endpoints below ``/_camsearch``, with their JSON schemas."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from reranker.dialect.images import EXAMPLE_KEYS, IMAGE_KEYS, read_query_image
from reranker.dialect.options import read_rerank
from reranker.dialect.values import a_flag, a_text, an_object, invalid_value
from reranker.errors import DialectError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from reranker.dialect.searches import DialectLimits, ImageQuery, Rerank

__all__ = [
    "EXPLAIN_SCHEMA",
    "RANK_SCHEMA",
    "VECTOR_SCHEMA",
    "ExplainRequest",
    "RankRequest",
    "VectorRequest",
    "read_explain_request",
    "read_index",
    "read_rank_request",
    "read_vector_request",
]

_MAX_ID = 512
_MAX_INDEX = 1024

_ID = {"type": "string", "minLength": 1, "maxLength": _MAX_ID}
_INDEX = {
    "type": "string",
    "minLength": 1,
    "maxLength": _MAX_INDEX,
    "description": "index, alias or pattern; by default the gallery of this server",
}
_SOURCES: dict[str, Any] = {
    "data": {"type": "string", "contentEncoding": "base64"},
    "id": _ID,
    "url": {"type": "string", "minLength": 1},
}
_BOX: dict[str, Any] = {
    "type": "array",
    "items": {"type": "number", "minimum": 0},
    "minItems": 4,
    "maxItems": 4,
    "description": "x0, y0, x1, y1 in pixels of the upright query image, half-open",
}
_IMAGE_AND_BOX: dict[str, Any] = {
    "image": {
        "type": "object",
        "minProperties": 1,
        "maxProperties": 1,
        "additionalProperties": False,
        "description": "the query's image: exactly one of data, id and url",
        "properties": _SOURCES,
    },
    "box": _BOX,
}


def _schema(required: Sequence[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": list(required),
        "additionalProperties": False,
        "properties": {"index": _INDEX, **properties},
    }


def _images(description: str) -> dict[str, Any]:
    one = {
        "type": "object",
        "minProperties": 1,
        "additionalProperties": False,
        "properties": {**_SOURCES, "box": _BOX},
    }
    return {"type": "array", "items": one, "minItems": 1, "description": description}


EXPLAIN_SCHEMA = _schema(
    ["id", "image"],
    **_IMAGE_AND_BOX,
    id={**_ID, "description": "the hit to explain"},
    regions={
        "type": "boolean",
        "default": True,
        "description": "false to compare only the whole image of the hit (OnA)",
    },
    overlay={
        "type": "boolean",
        "default": False,
        "description": "true for a transparent heat map, without the image and the box",
    },
)
_WITHOUT = _images("images of what it is not")
VECTOR_SCHEMA = {
    "oneOf": [
        _schema(["image"], **_IMAGE_AND_BOX, without=_WITHOUT),
        _schema(["images"], images=_images("several views of one thing"), without=_WITHOUT),
    ]
}
RANK_SCHEMA = _schema(
    ["image", "ids"],
    **_IMAGE_AND_BOX,
    ids={
        "type": "array",
        "items": _ID,
        "minItems": 1,
        "uniqueItems": True,
        "description": "hits to compare; at most CAMSEARCH_SERVE_MAX_WINDOW",
    },
    by={"enum": ["maps", "images"], "default": "maps", "description": "what is compared"},
    classes={
        "type": "integer",
        "minimum": 1,
        "description": "number of the query's classes; by default that of the settings",
    },
)


@dataclass(frozen=True)
class VectorRequest:
    """A parsed request for a query vector.

    Attributes:
        index: whose method must be this server's; None for the server's own gallery.
        image: the query.
    """

    index: str | None
    image: ImageQuery


@dataclass(frozen=True)
class ExplainRequest(VectorRequest):
    """A parsed request to explain a hit.

    Attributes:
        id: of the hit.
        regions: False to compare only the whole image of the hit (OnA).
        overlay: True for a transparent heat map, without the image and the box.
    """

    id: str
    regions: bool = True
    overlay: bool = False


@dataclass(frozen=True)
class RankRequest(VectorRequest):
    """A parsed request to compare hits with a query.

    Attributes:
        ids: of the hits.
        rerank: how they are compared, by maps or images.
    """

    ids: tuple[str, ...]
    rerank: Rerank


def read_vector_request(body: bytes, limits: DialectLimits) -> VectorRequest:
    """Parse a body.

    Raises:
        DialectError: it is not valid JSON, or does not match `VECTOR_SCHEMA`.
    """
    return VectorRequest(*_index_and_image(_object_of(body, IMAGE_KEYS), limits))


def read_explain_request(body: bytes, limits: DialectLimits) -> ExplainRequest:
    """Parse a body.

    Raises:
        DialectError: it is not valid JSON, or does not match `EXPLAIN_SCHEMA`.
    """
    given = _object_of(body, (*EXAMPLE_KEYS, "id", "regions", "overlay"))
    return ExplainRequest(
        *_index_and_image(given, limits),
        a_text(given.get("id"), "id", _MAX_ID),
        a_flag(given.get("regions", True), "regions"),
        a_flag(given.get("overlay", False), "overlay"),
    )


def read_rank_request(body: bytes, limits: DialectLimits) -> RankRequest:
    """Parse a body.

    Raises:
        DialectError: it is not valid JSON, does not match `RANK_SCHEMA`, or exceeds a limit.
    """
    given = _object_of(body, (*EXAMPLE_KEYS, "ids", "by", "classes"))
    ids = _read_ids(given.get("ids"), limits.window)
    how = {"by": "maps"} | {key: given[key] for key in ("by", "classes") if key in given}
    if how["by"] == "windows":
        raise DialectError(
            "[by] cannot be windows, which Elasticsearch compares itself: search [regions.vector] "
            'with the vector for windows, or rank by "maps" or "images".'
        )
    rerank = read_rerank(how, "body", len(ids), limits)
    if rerank is None:
        raise ValueError("A rank request always has a re-ranking.")
    return RankRequest(*_index_and_image(given, limits), ids, rerank)


def read_index(value: Any) -> str:
    """Check names of indices, aliases or patterns, separated by commas.

    Raises:
        DialectError: a name is not valid, or could be read as another endpoint's path.
    """
    index = a_text(value, "index", _MAX_INDEX)
    for name in index.split(","):
        if name != "_all" and (not name or name.startswith("_") or name in {".", ".."}):
            raise DialectError(f"[index] names [{name[:60]}], which is not the name of an index.")
    return index


def _object_of(body: bytes, keys: Sequence[str]) -> Mapping[str, Any]:
    """The values of a body that are not null."""
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise DialectError(f"The body is not valid JSON ({error}): send an object.") from error
    known = ("index", *keys)
    return {k: v for k, v in an_object(parsed, "body", known).items() if v is not None}


def _index_and_image(
    given: Mapping[str, Any], limits: DialectLimits
) -> tuple[str | None, ImageQuery]:
    index = read_index(given["index"]) if "index" in given else None
    return index, read_query_image(given, "body", limits)


def _read_ids(value: Any, most: int) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise invalid_value("ids", "a list of ids", value)
    if not 0 < len(value) <= most:
        raise DialectError(f"[ids] has {len(value):,} ids: give 1 to {most:,}.")
    ids = tuple(a_text(one, f"ids.{i}", _MAX_ID) for i, one in enumerate(value))
    if len(set(ids)) < len(ids):
        raise DialectError("[ids] names an id twice: give each once.")
    return ids
