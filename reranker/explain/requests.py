"""Parse requests to explain a hit; their JSON schema."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

from reranker.dialect.images import EXAMPLE_KEYS, read_example
from reranker.dialect.values import a_flag, a_text, an_object
from reranker.errors import DialectError

if TYPE_CHECKING:
    from reranker.dialect.searches import DialectLimits, Example

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
            "description": "of the hit; by default the gallery of this server",
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
            "description": "the query's image: exactly one of data, id and url",
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
            "description": "false to compare only the whole image of the hit (OnA)",
        },
    },
}


@dataclass(frozen=True)
class ExplainRequest:
    """A parsed request to explain a hit.

    Attributes:
        index: of the hit; None for the server's own gallery.
        id: of the hit.
        image: the query.
        regions: False to compare only the whole image of the hit (OnA).
    """

    index: str | None
    id: str
    image: Example
    regions: bool = True


def read_explain_request(body: bytes, limits: DialectLimits) -> ExplainRequest:
    """Parse a body.

    Raises:
        DialectError: it is not valid JSON, or does not match `EXPLAIN_SCHEMA`.
    """
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise DialectError(f"The body is not valid JSON ({error}): send an object.") from error
    known = ("index", "id", *EXAMPLE_KEYS, "regions")
    given = {k: v for k, v in an_object(parsed, "body", known).items() if v is not None}
    return ExplainRequest(
        read_index(given["index"]) if "index" in given else None,
        a_text(given.get("id"), "id", _MAX_ID),
        read_example(given, "body", limits),
        a_flag(given.get("regions", True), "regions"),
    )


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
