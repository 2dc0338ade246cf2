"""Values of a JSON body, each read as what it must be or refused in Elasticsearch's words."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import orjson

from reranker.local_elasticsearch.refusals import bad_request

__all__ = ["boost_of", "check_time", "json_object", "number", "whole_number"]

_TIME = re.compile(r"\d+(?:nanos|micros|ms|s|m|h|d)|-1|0")
_WHOLE = re.compile(r"-?\d{1,18}")


def json_object(body: bytes) -> dict[str, Any]:
    """A body that is an object.

    Raises:
        Refused: it is no JSON, or another kind of value.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise bad_request("x_content_parse_exception", f"The body is no JSON: {error}.") from error
    if not isinstance(value, dict):
        raise bad_request(
            "parsing_exception", f"Expected [START_OBJECT] but found [{_kind(value)}]"
        )
    return value


def whole_number(value: object, name: str) -> int:
    """An integer, which may be written as a text.

    Raises:
        Refused: it is none.
    """
    if isinstance(value, str) and _WHOLE.fullmatch(value):
        return int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise bad_request("number_format_exception", f"[{name}] must be an integer, not [{value}].")


def number(value: object, name: str) -> float:
    """A finite number.

    Raises:
        Refused: it is none.
    """
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    raise bad_request("number_format_exception", f"[{name}] must be a number, not [{value}].")


def boost_of(content: Mapping[str, Any]) -> float:
    """The factor of a query's score, 1 if it names none.

    Raises:
        Refused: it is no number, or below 0.
    """
    boost = number(content.get("boost", 1.0), "boost")
    if boost < 0:
        raise bad_request(
            "illegal_argument_exception", f"negative [boost] are not allowed, but was [{boost}]"
        )
    return boost


def check_time(value: object, name: str) -> None:
    """Refuse what is no time such as ``3s``.

    Raises:
        Refused: it is none.
    """
    if not (isinstance(value, str) and _TIME.fullmatch(value)):
        raise bad_request(
            "illegal_argument_exception",
            f"failed to parse setting [{name}] with value [{value}] as a time value: unit is "
            "missing or unrecognized",
        )


def _kind(value: object) -> str:
    """A value's kind, as Elasticsearch names it."""
    names = {list: "START_ARRAY", str: "VALUE_STRING", bool: "VALUE_BOOLEAN"}
    return "VALUE_NULL" if value is None else names.get(type(value), "VALUE_NUMBER")
