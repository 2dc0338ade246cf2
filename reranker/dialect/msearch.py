"""Split an `_msearch` into its searches, and merge their answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

import orjson

from reranker.dialect.answers import filtered
from reranker.dialect.parsing import may_name_us, naming_us, understand
from reranker.dialect.searches import DialectLimits, VisualSearch
from reranker.dialect.values import parameters_of, without, written_json
from reranker.errors import DialectError
from reranker.http.exchange import encoded_index, search_path

__all__ = ["CLUSTER_PARAMETERS", "MultiSearch", "MultiSearchItem", "check_end", "merge_msearch"]
__all__ += ["pairs_of", "parse_msearch", "read_header"]

# Parameters of the request as a whole.
_OF_THE_WHOLE = ("filter_path", "pretty", "max_concurrent_searches")
# Parameters that apply to each search unless its header overrides them.
_OF_EACH = (
    "allow_no_indices",
    "ccs_minimize_roundtrips",
    "error_trace",
    "expand_wildcards",
    "human",
    "ignore_throttled",
    "ignore_unavailable",
    "include_named_queries_score",
    "max_concurrent_shard_requests",
    "pre_filter_shard_size",
    "rest_total_hits_as_int",
    "routing",
    "search_type",
    "typed_keys",
)
_OF_A_HEADER = (
    "allow_no_indices",
    "allow_partial_search_results",
    "ccs_minimize_roundtrips",
    "expand_wildcards",
    "ignore_throttled",
    "ignore_unavailable",
    "preference",
    "request_cache",
    "routing",
    "search_type",
)
_INDEX_KEYS = ("index", "indices")
# Those that change nothing on a single machine.
CLUSTER_PARAMETERS = {*_OF_EACH, *_OF_A_HEADER} - {"rest_total_hits_as_int"}


@dataclass(frozen=True)
class MultiSearchItem:
    """One search of several.

    Attributes:
        lines: header and body, unchanged.
        index: index names, not percent-encoded; empty for all.
        search: the parsed search, if it is an image search; its query is that of a `_search`.
        error: why an image search is not valid.
    """

    lines: bytes
    index: str = ""
    search: VisualSearch | None = None
    error: DialectError | None = None

    @property
    def is_ours(self) -> bool:
        """Whether it is an image search, valid or not."""
        return self.search is not None or self.error is not None

    @property
    def path(self) -> str:
        """Path of the equivalent `_search`, percent-encoded."""
        return search_path(encoded_index(self.index))


@dataclass(frozen=True)
class MultiSearch:
    """An `_msearch` with at least one image search.

    Attributes:
        items: in their order.
        filter_path: for the answer as a whole.
        pretty: whether to indent the JSON.
        query: query string for the other searches.
    """

    items: tuple[MultiSearchItem, ...]
    filter_path: str
    pretty: bool
    query: str

    @property
    def others(self) -> bytes:
        """The `_msearch` body of the other searches, unchanged; empty if there are none."""
        return b"".join(item.lines for item in self.items if not item.is_ours)


def parse_msearch(
    body: bytes, query: str, limits: DialectLimits, index: str = ""
) -> MultiSearch | None:
    """Parse an `_msearch`.

    Args:
        body: decompressed.
        query: query string.
        limits: maximum sizes.
        index: from the path, decoded; empty if there is none.

    Returns:
        None if there is no image search, or Elasticsearch would refuse the `_msearch`: forward
        the request unchanged.

    Raises:
        DialectError: the request as a whole is not valid. Errors of one search are in its item.
    """
    if not may_name_us(body):
        return None
    items = [_read(*pair, query, limits, index) for pair in pairs_of(body)]
    ours = sum(item.is_ours for item in items)
    if not ours:
        return None
    check_end(body)
    if ours > limits.searches:
        raise DialectError(
            f"{ours} image searches are more than the {limits.searches} allowed in one _msearch: "
            "send several."
        )
    parameters = parameters_of(query)
    _check_parameters(parameters)
    return MultiSearch(
        tuple(items),
        parameters.get("filter_path", ""),
        parameters.get("pretty", "false") != "false",
        without(query, ("filter_path", "pretty")),
    )


def merge_msearch(asked: MultiSearch, answers: Sequence[Mapping[str, Any]], took: int) -> bytes:
    """Build the body of the answer.

    Args:
        asked: the request.
        answers: one per search, in order; errors include their status.
        took: milliseconds in total.
    """
    each = [{**answer, "status": answer.get("status", HTTPStatus.OK)} for answer in answers]
    whole = {"took": took, "responses": each}
    return written_json(filtered(whole, asked.filter_path), pretty=asked.pretty)


def check_end(body: bytes) -> None:
    """Refuse a body without a final newline.

    Raises:
        DialectError: with Elasticsearch's sentence.
    """
    if not body.endswith(b"\n"):
        raise DialectError("The msearch request must be terminated by a newline [\\n].")


def pairs_of(body: bytes) -> list[tuple[bytes, bytes]]:
    """Header and body of each search; like Elasticsearch, ignores a last header without a body."""
    lines = body.split(b"\n")
    if lines[-1] == b"":
        lines.pop()
    return list(zip(lines[0::2], lines[1::2], strict=False))


def read_header(header: bytes, query: str, index: str) -> tuple[str, str]:
    """Index names and query string of the equivalent `_search`.

    Args:
        header: a line of the body.
        query: query string of the `_msearch`.
        index: from its path; the header takes precedence.

    Raises:
        DialectError: the header is not an object, or has an unknown key.
    """
    try:
        given = orjson.loads(header) if header.strip() else {}
    except orjson.JSONDecodeError as error:
        raise DialectError("The header of the search is not valid JSON: see _msearch.") from error
    if not isinstance(given, dict):
        raise DialectError("The header of the search must be an object.")
    for key in given:
        if key not in (*_OF_A_HEADER, *_INDEX_KEYS):
            raise DialectError(f"key [{key[:60]}] is not supported in the metadata section")
    each = {k: v for k, v in parameters_of(query).items() if k in _OF_EACH}
    own = {k: _text(given[k]) for k in _OF_A_HEADER if given.get(k) is not None}
    named = next((_text(given[key]) for key in _INDEX_KEYS if key in given), "")
    return named or index, urlencode(each | own)


def _read(
    header: bytes, body: bytes, query: str, limits: DialectLimits, index: str
) -> MultiSearchItem:
    lines = b"%b\n%b\n" % (header, body)
    try:
        found = naming_us(body)
        if found is None:
            return MultiSearchItem(lines)
        index, query = read_header(header, query, index)
        return MultiSearchItem(lines, index, understand(found, query, limits))
    except DialectError as error:
        return MultiSearchItem(lines, error=error)


def _text(value: Any) -> str:
    """A header's value as written in a query string or path."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return ",".join(map(_text, value))
    return str(value)


def _check_parameters(parameters: Mapping[str, str]) -> None:
    for name in parameters:
        if name not in (*_OF_EACH, *_OF_THE_WHOLE, *_INDEX_KEYS, "format"):
            raise DialectError(
                f"[{name[:60]}] is not a parameter of _msearch: put it into the searches."
            )
    if parameters.get("format", "json") != "json":
        raise DialectError("[format] must be json for image searches.")
