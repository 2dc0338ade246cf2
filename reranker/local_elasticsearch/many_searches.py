"""`_msearch`: pairs of lines, each a header and a search."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from descriptors.errors import CamsearchError
from reranker.local_elasticsearch.index_names import means
from reranker.local_elasticsearch.json_values import json_object
from reranker.local_elasticsearch.parameters import Parameters
from reranker.local_elasticsearch.refusals import bad_request, error_body, in_our_words
from reranker.local_elasticsearch.search_body import LocalSearch, local_search
from reranker.local_elasticsearch.searching import nothing_found, search

if TYPE_CHECKING:
    from es_mappings.local import LocalGallery

__all__ = ["search_many"]

_HEADER_KEYS = frozenset(
    {
        "allow_no_indices",
        "allow_partial_search_results",
        "ccs_minimize_roundtrips",
        "expand_wildcards",
        "ignore_throttled",
        "preference",
        "request_cache",
        "routing",
        "search_type",
    }
)
_OK = 200


@dataclass(frozen=True)
class _Item:
    index: str
    lenient: bool
    asked: LocalSearch


def search_many(gallery: LocalGallery, index: str, of_path: str, body: bytes) -> dict[str, Any]:
    """The answer to `_msearch`.

    Args:
        gallery: to search.
        index: its name.
        of_path: for searches whose header names no index.
        body: lines, the last ended like the others.

    Raises:
        Refused: a line cannot be read, or asks for what is missing here: then none is searched.
        RequestError: a filter cannot be read.
    """
    start = time.perf_counter()
    items = _items(body, of_path)
    responses = [_response(gallery, index, item) for item in items]
    return {"took": int((time.perf_counter() - start) * 1e3), "responses": responses}


def _response(gallery: LocalGallery, index: str, item: _Item) -> dict[str, Any]:
    """One search's answer or error, with its status."""
    try:
        there = means(item.index, index, lenient=item.lenient)
        found = search(gallery, index, item.asked) if there else nothing_found()
    except CamsearchError as error:
        return error_body(in_our_words(error))
    return found | {"status": _OK}


def _items(body: bytes, of_path: str) -> list[_Item]:
    if not body.endswith(b"\n"):
        raise bad_request(
            "illegal_argument_exception",
            "The msearch request must be terminated by a newline [\n]",
        )
    lines = body[:-1].split(b"\n")
    if len(lines) % 2:
        raise bad_request(
            "illegal_argument_exception", "[_msearch] needs a header and a body for each search."
        )
    return [
        _item(head, asked, of_path) for head, asked in zip(lines[::2], lines[1::2], strict=True)
    ]


def _item(head: bytes, asked: bytes, of_path: str) -> _Item:
    header = json_object(head) if head.strip() else {}
    named = header.pop("index", None) or header.pop("indices", None) or of_path
    lenient = header.pop("ignore_unavailable", False) in (True, "true")
    _check_header(header)
    expression = ",".join(map(str, named)) if isinstance(named, list) else str(named)
    return _Item(expression, lenient, local_search(json_object(asked), Parameters("")))


def _check_header(header: Mapping[str, Any]) -> None:
    for key in header:
        if key not in _HEADER_KEYS:
            raise bad_request(
                "illegal_argument_exception",
                f"key [{key}] is not supported in the metadata section",
            )
