"""A `query` without vectors: a filter, and the one score that all of its hits have.

Elasticsearch scores what stands in ``query``. Here only such queries are answered whose hits all
get the same score, so that their order is nobody's secret: a query that ranks is refused. A
``term`` counts 1, where Elasticsearch counts how rare its value is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from es_mappings.filters import And, Filter, parse_filter
from reranker.local_elasticsearch.json_values import boost_of
from reranker.local_elasticsearch.refusals import bad_request, missing

__all__ = ["PlainQuery", "both", "plain_query", "query_filter"]


@dataclass(frozen=True)
class PlainQuery:
    """Documents that match, in order of their ids.

    Attributes:
        matching: the filter; None for all.
        score: of each hit.
    """

    matching: Filter | None = None
    score: float = 1.0


def plain_query(body: object) -> PlainQuery:
    """Read a query.

    Raises:
        Refused: it ranks its hits.
        RequestError: it cannot be read, or is none that a gallery in a folder answers.
    """
    matching = query_filter(body)
    return PlainQuery(matching, _score(cast("Mapping[str, Any]", body)))


def query_filter(body: object) -> Filter:
    """Read a query whose score nobody asks for.

    Raises:
        RequestError: it cannot be read, or is none that a gallery in a folder answers.
    """
    if not isinstance(body, Mapping):
        raise bad_request("parsing_exception", "[query] must be an object with one query.")
    return parse_filter(body)


def both(one: Filter | None, other: Filter | None) -> Filter | None:
    """Both filters; None stands for everything."""
    if one is None or other is None:
        return one or other
    return And((one, other))


def _score(query: Mapping[str, Any]) -> float:
    """The score of every hit of a query that has been parsed already."""
    ((name, content),) = ((key, query[key]) for key in query if key not in {"boost", "_name"})
    boost = boost_of(content)
    if name == "bool":
        return boost * _score_of_bool(content)
    # Of some queries the factor stands beside the field, of some below it.
    return math.prod(boost_of(one) for one in content.values() if isinstance(one, Mapping)) * boost


def _score_of_bool(content: Mapping[str, Any]) -> float:
    should = _clauses(content, "should")
    needed = _clauses(content, "must") + _clauses(content, "filter")
    least = content.get("minimum_should_match")
    at_least = least if least is not None else (0 if needed or not should else 1)
    if should and at_least != len(should):
        raise missing(
            "A [bool] whose [should] ranks its hits (put it into [filter], and it only chooses)"
        )
    if not (needed or should or _clauses(content, "must_not")):
        return 1.0
    return sum((_score(one) for one in (*_clauses(content, "must"), *should)), 0.0)


def _clauses(content: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = content.get(key)
    if found is None:
        return []
    return found if isinstance(found, list) else [found]
