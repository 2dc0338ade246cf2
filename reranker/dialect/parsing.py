"""Parse a search's body and query string."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from reranker.dialect.images import IMAGE_KEYS, read_query_image
from reranker.dialect.options import NAME, check_conflicts, check_images, take_options
from reranker.dialect.searches import (
    DialectLimits,
    ImageQuery,
    Path,
    Slot,
    VisualSearch,
    missing_fields,
)
from reranker.dialect.values import a_flag, an_object, parameters_of, read_page, seconds_of
from reranker.dialect.windows import WINDOW_VECTOR
from reranker.errors import DialectError

__all__ = ["may_name_us", "naming_us", "parse_search", "refuse_elsewhere", "understand"]

# Malformed JSON with this key is refused here; other malformed JSON by Elasticsearch.
_OUR_KEY = re.compile(rb'"camsearch"\s*:')
# An image search in JSON, in NDJSON, or in the escaped text of a search template.
_GAP, _QUOTE = rb"(?:\s|\\[nrt])*", rb'\\?"'
_IN_A_SEARCH = re.compile(
    _QUOTE
    + rb"(?:query_vector_builder|retriever|ext)"
    + _GAP.join((_QUOTE, rb":", rb"\{", _QUOTE))
    + b"camsearch"
    + _QUOTE
)
# Keys below which Elasticsearch accepts a query or retriever; elsewhere our name is data.
_SECTIONS = ("retriever", "knn", "query", "post_filter", "rescore", "aggs", "aggregations")
_DATA = "params"  # a script's
_RETRIEVERS = ("retriever", "retrievers")
_BUILDER, _VECTOR = "query_vector_builder", "query_vector"
# The plugin needs it, since Elasticsearch does not tell it the field (docs/plugin.md).
_WINDOWS = "windows"
_HOISTED: Path = ("retriever", NAME, "retriever")


@dataclass(frozen=True)
class _Part:
    """An object of the body that may be a query or retriever, and its path."""

    path: Path
    content: dict[str, Any]

    @property
    def key(self) -> str:
        """Its key, or that of the list it is in."""
        return next((part for part in reversed(self.path) if isinstance(part, str)), "")

    @property
    def is_retriever(self) -> bool:
        """Whether it is a `camsearch` retriever."""
        return self.key in _RETRIEVERS and NAME in self.content

    @property
    def is_slot(self) -> bool:
        """Whether it is a `knn` with a `camsearch` query vector builder."""
        builder = self.content.get(_BUILDER)
        return self.key == "knn" and isinstance(builder, dict) and NAME in builder

    @property
    def lacks_vector(self) -> bool:
        """Whether it is a `knn` with neither vector nor builder."""
        content = self.content
        absent = content.get(_BUILDER) is None and content.get(_VECTOR) is None
        return self.key == "knn" and absent and isinstance(content.get("field"), str)


def may_name_us(body: bytes) -> bool:
    r"""Whether JSON text may contain the name camsearch; a cheap test before parsing.

    Convention:
        Any letter may be escaped (`\u0063`), so text with such escapes passes.
    """
    return NAME.encode() in body or b"\\u" in body


def parse_search(body: bytes, query: str, limits: DialectLimits) -> VisualSearch | None:
    """Parse a search.

    Args:
        body: decompressed.
        query: query string, without its question mark.
        limits: maximum sizes.

    Returns:
        None if it is not an image search: forward the request unchanged.

    Raises:
        DialectError: it is an image search that is not valid, or exceeds a limit.

        Convention:
            The last of duplicate keys counts, and integers beyond 64 bits become floats, as orjson
            reads them; Elasticsearch refuses duplicate keys.
    """
    found = naming_us(body)
    return None if found is None else understand(found, query, limits)


def naming_us(body: bytes) -> dict[str, Any] | None:
    """The parsed body of an image search; None for any other search."""
    if not may_name_us(body):
        return None
    try:
        parsed = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if _OUR_KEY.search(body) is None:
            return None
        # Elasticsearch's error would be about an unknown [camsearch].
        raise DialectError(
            f"The body names camsearch but is not valid JSON: {str(error)[:120]}. Send "
            "strict JSON: UTF-8 without a byte order mark, comments, trailing commas or NaN."
        ) from error
    if not isinstance(parsed, dict):
        return None
    ext = parsed.get("ext")
    in_ext = isinstance(ext, dict) and NAME in ext
    named = in_ext or any(part.is_retriever or part.is_slot for part in _parts(parsed))
    return parsed if named else None


def understand(body: dict[str, Any], query: str, limits: DialectLimits) -> VisualSearch:
    """As `parse_search`, of the body that `naming_us` returned, which is changed.

    Convention:
        The search's own image is put into each `knn` clause that has neither vector nor builder.
    """
    if _depth(body) > limits.depth:
        raise DialectError(
            f"The body has more than {limits.depth} nested objects and lists: make the query "
            "flatter."
        )
    parts = list(_parts(body))
    _check_retrievers(parts)
    options = take_options(body, limits)
    slots = tuple(_slots(parts, options.image if options else None, limits))
    parameters = parameters_of(query)
    timeout = seconds_of(parameters.get("timeout", body.get("timeout")))
    check_images(options, slots, limits)
    paths = parameters.get("filter_path", "")
    pretty = parameters.get("pretty", "false") != "false"
    if options is None or not options.ranks:
        return VisualSearch(body, query, slots, timeout=timeout, filter_path=paths, pretty=pretty)
    check_conflicts(body, parameters)
    page = read_page(body, parameters, limits.hits)
    return VisualSearch(
        body,
        query,
        slots,
        options.image_among(slots),
        options.rerank,
        options.expand,
        page.start,
        page.size,
        page.min_score,
        timeout,
        paths,
        pretty,
        missing_fields(body, parameters),
        "_source" not in body and not any(name.startswith("_source") for name in parameters),
    )


def _parts(body: Mapping[str, Any]) -> Iterator[_Part]:
    """All parts, in document order, each before those within it."""
    waiting: list[tuple[Path, Any]] = [((k,), body[k]) for k in reversed(_SECTIONS) if k in body]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, dict):
            yield _Part(path, value)
            inner = [((*path, k), v) for k, v in value.items() if k != _DATA]
        elif isinstance(value, list):
            inner = [((*path, i), v) for i, v in enumerate(value) if isinstance(v, (dict, list))]
        else:
            continue
        waiting.extend(reversed(inner))


def _depth(value: Any) -> int:
    """The number of levels of nested objects and lists."""
    depth, layer = 0, [value]
    while layer := [v for v in layer if isinstance(v, (dict, list))]:
        depth += 1
        layer = [v for one in layer for v in (one.values() if isinstance(one, dict) else one)]
    return depth


def _written(path: Path) -> str:
    """A path as written in error sentences."""
    return ".".join(map(str, path))


def _check_retrievers(parts: Iterable[_Part]) -> None:
    """Refuse a `camsearch` retriever inside another one."""
    for part in parts:
        if part.is_retriever and part.path != ("retriever",):
            raise DialectError(
                f"[{_written((*part.path, NAME))}] must be the outermost retriever: put "
                "the others into its [retriever]."
            )
        if part.is_retriever and len(part.content) > 1:
            raise DialectError("[retriever] must have exactly one key where it is [camsearch].")


def _slots(parts: Iterable[_Part], own: ImageQuery | None, limits: DialectLimits) -> Iterator[Slot]:
    """The clauses that get vectors; their builders are removed from the body.

    Args:
        parts: of the body.
        own: image for clauses with neither vector nor builder.
        limits: maximum sizes.
    """
    for part in parts:
        image = own if part.lacks_vector else None
        if part.is_slot:
            image = _read_builder(part, limits)
        if image is None:
            continue
        k, field = part.content.get("k"), part.content.get("field")
        # Elasticsearch refuses what is not a number.
        if isinstance(k, (int, float)) and k > limits.k:
            raise DialectError(
                f"[{_written(part.path)}.k] must be at most {limits.k:,} for a vector made from "
                f"an image, not {k}."
            )
        for key in (_BUILDER, _VECTOR):
            part.content.pop(key, None)
        # `take_options` replaces our retriever by the one within it.
        hoisted = part.path[: len(_HOISTED)] == _HOISTED
        path = (part.path[0], *part.path[len(_HOISTED) :]) if hoisted else part.path
        yield Slot(path, field if isinstance(field, str) else "", image)


def _read_builder(part: _Part, limits: DialectLimits) -> ImageQuery:
    path = f"{_written(part.path)}.{_BUILDER}"
    if part.content.get(_VECTOR) is not None:
        raise DialectError(f"[{path}] cannot be combined with [{_VECTOR}]: give one.")
    builder = an_object(part.content[_BUILDER], path, (NAME,))
    path = f"{path}.{NAME}"
    given = an_object(builder[NAME], path, (*IMAGE_KEYS, _WINDOWS))
    wanted = part.content.get("field") == WINDOW_VECTOR
    if given.get(_WINDOWS) is not None and a_flag(given[_WINDOWS], f"{path}.{_WINDOWS}") != wanted:
        raise DialectError(
            f"[{path}.{_WINDOWS}] is for the field [{WINDOW_VECTOR}] only: leave it out."
        )
    return read_query_image(given, path, limits)


def refuse_elsewhere(text: bytes, where: str) -> None:
    """Refuse an image search that is not the body of a `_search` or `_msearch`.

    Args:
        text: a body, or the query string's ``source``.
        where: a path or parameter, for the error sentence.

    Raises:
        DialectError: it is an image search.
    """
    if _IN_A_SEARCH.search(text):
        raise DialectError(
            f"[{where}] does not support image search: send it as the body of [_search] or "
            "[_msearch]."
        )
