"""What a request to explain a hit asks for, and its grammar for OpenAPI."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from reranker.dialect.options import IMAGE_KEYS, read_query_image
from reranker.dialect.values import a_flag, a_text, an_object
from reranker.errors import DialectError

if TYPE_CHECKING:
    from reranker.dialect.searches import DialectLimits, ImageQuery

__all__ = ["EXPLAIN_SCHEMA", "ExplainRequest", "read_explain_request", "read_index"]

_MAX_ID = 512
_MAX_INDEX = 1024

EXPLAIN_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["id", "image"],
    "additionalProperties": False,
    "properties": {
        "index": {
            "type": "string",
            "minLength": 1,
            "maxLength": _MAX_INDEX,
            "description": "where the hit is; the gallery of this server if it is left out",
        },
        "id": {
            "type": "string",
            "minLength": 1,
            "maxLength": _MAX_ID,
            "description": "the hit to explain",
        },
        "image": {
            "type": "object",
            "minProperties": 1,
            "maxProperties": 1,
            "additionalProperties": False,
            "description": "the query's image: exactly one of the three",
            "properties": {
                "data": {"type": "string", "contentEncoding": "base64"},
                "id": {"type": "string", "minLength": 1, "maxLength": _MAX_ID},
                "url": {"type": "string", "minLength": 1},
            },
        },
        "box": {
            "type": "array",
            "items": {"type": "number", "minimum": 0},
            "minItems": 4,
            "maxItems": 4,
            "description": "x0, y0, x1, y1 in pixels of the upright query image, half-open",
        },
        "regions": {
            "type": "boolean",
            "default": True,
            "description": "false to compare the hit as a whole only (OnA)",
        },
    },
}


@dataclass(frozen=True)
class ExplainRequest:
    """Which hit is to be explained, for which query.

    Attributes:
        index: where the hit is; None for the server's own gallery.
        id: of the hit.
        image: the query.
        regions: compare regions; False for the hit as a whole only.
    """

    index: str | None
    id: str
    image: ImageQuery
    regions: bool = True


def read_explain_request(body: bytes, limits: DialectLimits) -> ExplainRequest:
    """A body understood.

    Raises:
        DialectError: it is no JSON, or not as `EXPLAIN_SCHEMA` says.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise DialectError(f"The body is no JSON ({error}): send an object.") from error
    known = ("index", "id", *IMAGE_KEYS, "regions")
    given = {k: v for k, v in an_object(parsed, "body", known).items() if v is not None}
    return ExplainRequest(
        read_index(given["index"]) if "index" in given else None,
        a_text(given.get("id"), "id", _MAX_ID),
        read_query_image(given, "body", limits),
        a_flag(given.get("regions", True), "regions"),
    )


def read_index(value: Any) -> str:
    """The name of an index, of an alias, or a pattern; several with commas.

    Raises:
        DialectError: it is none, or could be read as another endpoint's path.
    """
    index = a_text(value, "index", _MAX_INDEX)
    for name in index.split(","):
        if name != "_all" and (not name or name.startswith("_") or name in {".", ".."}):
            raise DialectError(f"[index] names [{name[:60]}], which is no name of an index.")
    return index
