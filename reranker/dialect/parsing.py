"""A search's body and query string, understood."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from reranker.dialect.clauses import NAME, depth_of, key_of, objects_of, written
from reranker.dialect.conflicts import check_conflicts
from reranker.dialect.fields import hides_vectors, missing_fields
from reranker.dialect.limits import DialectLimits
from reranker.dialect.options import Options, read_ext, read_retriever
from reranker.dialect.paging import read_page
from reranker.dialect.parameters import parameters_of, seconds_of
from reranker.dialect.searches import PictureQuery, Slot, VisualSearch
from reranker.dialect.slots import Clause, clauses_of, read_slots
from reranker.dialect.values import refusal
from reranker.errors import DialectError

__all__ = ["may_name_us", "naming_us", "parse_search", "refuse_elsewhere", "understand"]

# Where text that is no JSON surely means us; elsewhere Elasticsearch says what is wrong.
_OUR_KEY = re.compile(rb'"camsearch"\s*:')
_RETRIEVERS = ("retriever", "retrievers")
# Where our name means something, in JSON, in lines of it, and in the text of a search template.
_GAP, _QUOTE = rb"(?:\s|\\[nrt])*", rb'\\?"'
_IN_A_SEARCH = re.compile(
    _QUOTE
    + rb"(?:query_vector_builder|retriever|ext)"
    + _GAP.join((_QUOTE, rb":", rb"\{", _QUOTE))
    + b"camsearch"
    + _QUOTE
)


def may_name_us(body: bytes) -> bool:
    r"""Whether our name can stand in JSON text; if not, it need not be parsed.

    Convention:
        A letter may be written as its number (`\u0063`), so any such escape may be our name.
    """
    return NAME.encode() in body or b"\\u" in body


def parse_search(body: bytes, query: str, limits: DialectLimits) -> VisualSearch | None:
    """A search that names us.

    Args:
        body: of the request, not compressed.
        query: of the request line, without its question mark.
        limits: of what may be asked.

    Returns:
        None if it does not name us: what came is for Elasticsearch as it came.

    Raises:
        DialectError: it names us and cannot be understood, or asks for too much.

    Convention:
        Of a key that stands twice in an object the last counts, and whole numbers beyond 64
        bits become fractions; Elasticsearch refuses the first and has little use for the second.
    """
    found = naming_us(body)
    return None if found is None else understand(found, query, limits)


def naming_us(body: bytes) -> dict[str, Any] | None:
    """The parsed body, if our names stand in it where they mean something."""
    if not may_name_us(body):
        return None
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if _OUR_KEY.search(body) is None:
            return None
        # Elasticsearch would say that it knows no [camsearch], as if nobody stood before it.
        raise DialectError(
            f"The body names camsearch and is no JSON: {str(error)[:120]}. Write it as JSON to the "
            "letter: UTF-8 without a mark at its start, no comment, no comma before an end, no NaN."
        ) from error
    return parsed if isinstance(parsed, dict) and _names_us(parsed) else None


def _names_us(body: Mapping[str, Any]) -> bool:
    ext = body.get("ext")
    if isinstance(ext, dict) and NAME in ext:
        return True
    return any(
        NAME in one if key_of(path) in _RETRIEVERS else _is_slot(path, one)
        for path, one in objects_of(body)
    )


def _is_slot(path: tuple[str | int, ...], one: dict[str, Any]) -> bool:
    return key_of(path) == "knn" and Clause(path, one).names_us


def understand(body: dict[str, Any], query: str, limits: DialectLimits) -> VisualSearch:
    """A search that names us.

    Args:
        body: parsed, and ours to change.
        query: of the request line.
        limits: of what may be asked.

    Raises:
        DialectError: it cannot be understood, or asks for too much.

    Convention:
        A picture of the search itself goes into each `knn` clause that has neither a vector
        nor a builder.
    """
    if depth_of(body) > limits.depth:
        raise DialectError(
            f"The body has more than the {limits.depth} objects and lists in one another that "
            "are allowed: make the query flatter."
        )
    _check_retrievers(body)
    clauses = clauses_of(body)
    options = _take_options(body, limits)
    slots = read_slots(clauses, options.picture if options else None, limits)
    parameters = parameters_of(query)
    timeout = seconds_of(parameters.get("timeout", body.get("timeout")))
    _check_pictures(options, slots, limits)
    if options is None or not options.ranks:
        return VisualSearch(body, query, slots, timeout=timeout)
    check_conflicts(body, parameters)
    page = read_page(body, parameters, limits)
    return VisualSearch(
        body,
        query,
        slots,
        _picture_of(options, slots),
        options.rerank,
        options.expand,
        page.start,
        page.size,
        page.min_score,
        timeout,
        parameters.get("filter_path", ""),
        parameters.get("pretty", "false") != "false",
        missing_fields(body, parameters),
        hides_vectors(body, parameters),
    )


def _check_retrievers(body: Mapping[str, Any]) -> None:
    """Refuse our retriever where its window would be somebody else's input."""
    for path, one in objects_of(body):
        if key_of(path) not in _RETRIEVERS or NAME not in one:
            continue
        if path != ("retriever",):
            raise DialectError(
                f"[{written((*path, NAME))}] must stand at the top of the retrievers: put the "
                "others into its [retriever]."
            )
        if len(one) > 1:
            raise DialectError("[retriever] must have exactly one key where it is [camsearch].")


def _take_options(body: dict[str, Any], limits: DialectLimits) -> Options | None:
    """What our two objects say, both taken out of the body."""
    in_retriever = _take_retriever(body, limits)
    in_ext = _take_ext(body, limits)
    if in_retriever and in_ext:
        raise DialectError("[ext.camsearch] stands beside [retriever.camsearch]: give one of them.")
    return in_retriever or in_ext


def _take_retriever(body: dict[str, Any], limits: DialectLimits) -> Options | None:
    retriever = body.get("retriever")
    if not isinstance(retriever, dict) or NAME not in retriever:
        return None
    path = f"retriever.{NAME}"
    options = read_retriever(retriever[NAME], path, limits)
    inner = retriever[NAME].get("retriever")
    if inner is not None:
        if not isinstance(inner, dict):
            raise refusal(f"{path}.retriever", "an object", inner)
        body["retriever"] = inner
        return options
    if body.get("knn") is None and body.get("query") is None:
        raise DialectError(
            f"[{path}] has nothing to re-rank: give it a [retriever], or the body [knn] or [query]."
        )
    del body["retriever"]
    return options


def _take_ext(body: dict[str, Any], limits: DialectLimits) -> Options | None:
    ext = body.get("ext")
    if not isinstance(ext, dict) or NAME not in ext:
        return None
    options = read_ext(ext.pop(NAME), f"ext.{NAME}", limits)
    if not ext:
        del body["ext"]
    if options.picture is None and not options.ranks:
        raise DialectError(f"[ext.{NAME}] says nothing: give it an [image].")
    return options


def _check_pictures(options: Options | None, slots: Sequence[Slot], limits: DialectLimits) -> None:
    """Refuse a picture that goes nowhere, and too many of them."""
    own = options.picture if options else None
    pictures = {slot.picture for slot in slots} | ({own} if own else set())
    if len(pictures) > limits.pictures:
        raise DialectError(
            f"The search has {len(pictures)} different pictures, more than the "
            f"{limits.pictures} allowed: send several searches."
        )
    if options is None or own is None or options.ranks or own in {s.picture for s in slots}:
        return
    raise DialectError(
        f"[{options.path}.image] goes nowhere: there is no [knn] without a vector, and nothing "
        "is re-ranked."
    )


def _picture_of(options: Options, slots: Sequence[Slot]) -> PictureQuery:
    """What re-ranking and expansion look for."""
    pictures = list(dict.fromkeys(slot.picture for slot in slots))
    picture = options.picture or (pictures[0] if len(pictures) == 1 else None)
    if picture is None:
        found = "no picture" if not pictures else f"{len(pictures)} different pictures"
        raise DialectError(
            f"[{options.path}] must say what to look for, since the search has {found}: give it "
            "an [image]."
        )
    if options.expand and picture not in pictures:
        raise DialectError(
            f"[{options.path}.expand] needs a [knn] with the same picture, to search again."
        )
    return picture


def refuse_elsewhere(text: bytes, where: str) -> None:
    """Refuse an image search that does not come as the body of a search.

    Args:
        text: a body, or the query string's ``source``.
        where: what it came as.

    Raises:
        DialectError: it names us.
    """
    if _IN_A_SEARCH.search(text):
        raise DialectError(
            f"[{where}] cannot search by an image: only [_search] and [_msearch] take [camsearch], "
            "in their body. Send the search there."
        )
