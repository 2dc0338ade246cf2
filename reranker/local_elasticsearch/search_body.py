"""A search as it is sent: body and parameters, read into one plan or refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from es_mappings.filters import Filter, parse_filter
from reranker.local_elasticsearch.fields_view import FieldsView, fields_view
from reranker.local_elasticsearch.json_values import check_time, number, whole_number
from reranker.local_elasticsearch.knn_clause import KnnClause, knn_clause
from reranker.local_elasticsearch.parameters import Parameters
from reranker.local_elasticsearch.plain_query import PlainQuery, both, plain_query
from reranker.local_elasticsearch.refusals import bad_request, missing
from reranker.local_elasticsearch.source_view import SourceView, source_view

__all__ = ["LocalSearch", "local_search"]

_DEFAULT_SIZE = 10
# Elasticsearch's own limits: of hits that can be paged through, and of those it counts by itself.
_MOST_HITS = 10_000
_COUNTED = 10_000

_KEYS = frozenset(
    {
        "_source",
        "fields",
        "from",
        "knn",
        "min_score",
        "post_filter",
        "query",
        "retriever",
        "size",
        "timeout",
        "track_scores",
        "track_total_hits",
    }
)
# Asked for with true; with false they ask for nothing.
_SWITCHES = frozenset({"explain", "profile", "seq_no_primary_term", "version"})


@dataclass(frozen=True)
class LocalSearch:
    """What a search asks for.

    Attributes:
        asked: the nearest to a vector, or what matches a filter.
        start, size: the page.
        source, fields: what is shown of a hit.
        counted: hits are counted up to here; 0 for no count, None for all.
        min_score: hits with less are none.
        post_filter: hits that do not match are none.
    """

    asked: KnnClause | PlainQuery
    start: int = 0
    size: int = _DEFAULT_SIZE
    source: SourceView = SourceView()
    fields: FieldsView | None = None
    counted: int | None = _COUNTED
    min_score: float | None = None
    post_filter: Filter | None = None


def local_search(body: Mapping[str, Any], parameters: Parameters) -> LocalSearch:
    """Read a search.

    Args:
        body: decoded JSON.
        parameters: win over the body.

    Raises:
        Refused: it cannot be read, or asks for what is missing here.
        RequestError: a filter cannot be read.
    """
    _check_keys(body)
    size = _page_number(body, parameters, "size", _DEFAULT_SIZE)
    start = _page_number(body, parameters, "from", 0)
    if start + size > _MOST_HITS:
        raise bad_request(
            "illegal_argument_exception",
            "Result window is too large, from + size must be less than or equal to: "
            f"[{_MOST_HITS}] but was [{start + size}].",
        )
    timeout = parameters.text("timeout") or body.get("timeout")
    if timeout is not None:
        check_time(timeout, "timeout")
    post_filter = body.get("post_filter")
    search = LocalSearch(
        PlainQuery(),
        start,
        size,
        source_view(body.get("_source"), parameters),
        fields_view(body.get("fields")),
        _counted(body, parameters),
        None if body.get("min_score") is None else number(body["min_score"], "min_score"),
        None if post_filter is None else parse_filter(post_filter),
    )
    return _of_retriever(body, search) if "retriever" in body else _of_top(body, search)


def _check_keys(body: Mapping[str, Any]) -> None:
    for key, value in body.items():
        if value is None:
            raise bad_request("parsing_exception", f"Unknown key for a VALUE_NULL in [{key}].")
        if key not in _KEYS and not (key in _SWITCHES and value is False):
            raise missing(f"[{key}] of a search")


def _of_top(body: Mapping[str, Any], search: LocalSearch) -> LocalSearch:
    """`knn` or `query` of the body itself."""
    clauses = body.get("knn", [])
    listed = clauses if isinstance(clauses, list) else [clauses]
    if len(listed) > 1:
        raise missing("A search with several [knn]")
    if listed and "query" in body:
        raise missing("A search with both [knn] and [query]")
    if listed:
        return replace(search, asked=knn_clause(listed[0], search.size))
    return replace(search, asked=_query(body.get("query", {"match_all": {}}), search.size))


def _of_retriever(body: Mapping[str, Any], search: LocalSearch) -> LocalSearch:
    """A `knn` or a `standard` retriever."""
    for key in ("query", "knn"):
        if key in body:
            raise bad_request(
                "action_request_validation_exception",
                f"Validation Failed: 1: cannot specify [retriever] and [{key}];",
            )
    retriever = body["retriever"]
    if not isinstance(retriever, Mapping) or len(retriever) != 1:
        raise bad_request("parsing_exception", "[retriever] must be an object with one retriever.")
    ((name, content),) = retriever.items()
    if name == "knn":
        return replace(search, asked=knn_clause(content, search.size, of_retriever=True))
    if name == "standard":
        return _standard(content, search)
    raise missing(f"The retriever [{name}]")


def _standard(content: object, search: LocalSearch) -> LocalSearch:
    if not isinstance(content, Mapping):
        raise bad_request("parsing_exception", "[standard] must be an object.")
    for key in content:
        if key not in {"query", "filter", "min_score", "_name"}:
            raise missing(f"[{key}] of the retriever [standard]")
    if "min_score" in content:
        search = replace(search, min_score=number(content["min_score"], "min_score"))
    matching = parse_filter(content["filter"]) if content.get("filter") else None
    if "query" not in content:
        return replace(search, asked=PlainQuery(matching, 1.0 if matching is None else 0.0))
    asked = _query(content["query"], search.size)
    return replace(search, asked=replace(asked, matching=both(asked.matching, matching)))


def _query(body: object, size: int) -> KnnClause | PlainQuery:
    if isinstance(body, Mapping) and set(body) == {"knn"}:
        return knn_clause(body["knn"], size, of_query=True)
    return plain_query(body)


def _page_number(body: Mapping[str, Any], parameters: Parameters, name: str, default: int) -> int:
    text = parameters.text(name)
    value = whole_number(body.get(name, default) if text is None else text, name)
    if value < 0:
        raise bad_request(
            "illegal_argument_exception", f"[{name}] parameter cannot be negative, found [{value}]"
        )
    return value


def _counted(body: Mapping[str, Any], parameters: Parameters) -> int | None:
    """Up to how many hits are counted."""
    text = parameters.text("track_total_hits")
    said = body.get("track_total_hits", _COUNTED) if text is None else text
    if said in ("true", True):
        return None
    if said in ("false", False):
        return 0
    most = whole_number(said, "track_total_hits")
    if most < -1:
        raise bad_request(
            "illegal_argument_exception",
            f"[track_total_hits] parameter must be positive or equals to -1, got {most}",
        )
    return max(most, 0)
