"""A search's body and query string, understood."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from reranker.dialect.options import (
    IMAGE_KEYS,
    NAME,
    check_conflicts,
    check_images,
    read_query_image,
    take_options,
)
from reranker.dialect.searches import (
    DialectLimits,
    ImageQuery,
    Path,
    Slot,
    VisualSearch,
    missing_fields,
)
from reranker.dialect.values import an_object, parameters_of, read_page, seconds_of
from reranker.errors import DialectError

__all__ = ["may_name_us", "naming_us", "parse_search", "refuse_elsewhere", "understand"]

# Where text that is no JSON surely means us; elsewhere Elasticsearch says what is wrong.
_OUR_KEY = re.compile(rb'"camsearch"\s*:')
# Where our name means something, in JSON, in lines of it, and in the text of a search template.
_GAP, _QUOTE = rb"(?:\s|\\[nrt])*", rb'\\?"'
_IN_A_SEARCH = re.compile(
    _QUOTE
    + rb"(?:query_vector_builder|retriever|ext)"
    + _GAP.join((_QUOTE, rb":", rb"\{", _QUOTE))
    + b"camsearch"
    + _QUOTE
)
# Where Elasticsearch takes a query or a retriever; elsewhere the same words are somebody's data.
_SECTIONS = ("retriever", "knn", "query", "post_filter", "rescore", "aggs", "aggregations")
_DATA = "params"  # a script's
_RETRIEVERS = ("retriever", "retrievers")
_BUILDER, _VECTOR = "query_vector_builder", "query_vector"
_HOISTED: Path = ("retriever", NAME, "retriever")


@dataclass(frozen=True)
class _Part:
    """An object of the body in which a query or retriever may stand, and where it stands."""

    path: Path
    content: dict[str, Any]

    @property
    def key(self) -> str:
        """Under which it stands, be it alone or in a list."""
        return next((part for part in reversed(self.path) if isinstance(part, str)), "")

    @property
    def is_retriever(self) -> bool:
        """Whether it is a retriever of ours."""
        return self.key in _RETRIEVERS and NAME in self.content

    @property
    def is_slot(self) -> bool:
        """Whether it is a `knn` whose vector is to be made by us."""
        builder = self.content.get(_BUILDER)
        return self.key == "knn" and isinstance(builder, dict) and NAME in builder

    @property
    def lacks_vector(self) -> bool:
        """Whether it is a `knn` that does not say which vector's neighbours it looks for."""
        content = self.content
        absent = content.get(_BUILDER) is None and content.get(_VECTOR) is None
        return self.key == "knn" and absent and isinstance(content.get("field"), str)


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
    if not isinstance(parsed, dict):
        return None
    ext = parsed.get("ext")
    in_ext = isinstance(ext, dict) and NAME in ext
    named = in_ext or any(part.is_retriever or part.is_slot for part in _parts(parsed))
    return parsed if named else None


def understand(body: dict[str, Any], query: str, limits: DialectLimits) -> VisualSearch:
    """A search that names us.

    Args:
        body: parsed, and ours to change.
        query: of the request line.
        limits: of what may be asked.

    Raises:
        DialectError: it cannot be understood, or asks for too much.

    Convention:
        An image of the search itself goes into each `knn` clause that has neither a vector
        nor a builder.
    """
    if _depth(body) > limits.depth:
        raise DialectError(
            f"The body has more than the {limits.depth} objects and lists in one another that "
            "are allowed: make the query flatter."
        )
    parts = list(_parts(body))
    _check_retrievers(parts)
    options = take_options(body, limits)
    slots = tuple(_slots(parts, options.image if options else None, limits))
    parameters = parameters_of(query)
    timeout = seconds_of(parameters.get("timeout", body.get("timeout")))
    check_images(options, slots, limits)
    if options is None or not options.ranks:
        return VisualSearch(body, query, slots, timeout=timeout)
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
        parameters.get("filter_path", ""),
        parameters.get("pretty", "false") != "false",
        missing_fields(body, parameters),
        "_source" not in body and not any(name.startswith("_source") for name in parameters),
    )


def _parts(body: Mapping[str, Any]) -> Iterator[_Part]:
    """Each of them; one comes before those in it, and they in their order."""
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
    """How many objects and lists lie in one another, at most."""
    depth, layer = 0, [value]
    while layer := [v for v in layer if isinstance(v, (dict, list))]:
        depth += 1
        layer = [v for one in layer for v in (one.values() if isinstance(one, dict) else one)]
    return depth


def _written(path: Path) -> str:
    """A path as refusals name it."""
    return ".".join(map(str, path))


def _check_retrievers(parts: Iterable[_Part]) -> None:
    """Refuse our retriever where its window would be somebody else's input."""
    for part in parts:
        if part.is_retriever and part.path != ("retriever",):
            raise DialectError(
                f"[{_written((*part.path, NAME))}] must stand at the top of the retrievers: put "
                "the others into its [retriever]."
            )
        if part.is_retriever and len(part.content) > 1:
            raise DialectError("[retriever] must have exactly one key where it is [camsearch].")


def _slots(parts: Iterable[_Part], own: ImageQuery | None, limits: DialectLimits) -> Iterator[Slot]:
    """The clauses that get vectors, their builders taken out of them.

    Args:
        parts: of a body that is ours to change.
        own: image of the search itself, for clauses that have neither vector nor builder.
        limits: of what may be asked.
    """
    for part in parts:
        image = own if part.lacks_vector else None
        if part.is_slot:
            image = _read_builder(part, limits)
        if image is None:
            continue
        k, field = part.content.get("k"), part.content.get("field")
        # What is no number at all is Elasticsearch's to refuse.
        if isinstance(k, (int, float)) and k > limits.k:
            raise DialectError(
                f"[{_written(part.path)}.k] must be at most {limits.k:,} where the vector is made "
                f"from an image, not {k}."
            )
        for key in (_BUILDER, _VECTOR):
            part.content.pop(key, None)
        # Our retriever is taken out from around the inner one.
        hoisted = part.path[: len(_HOISTED)] == _HOISTED
        path = (part.path[0], *part.path[len(_HOISTED) :]) if hoisted else part.path
        yield Slot(path, field if isinstance(field, str) else "", image)


def _read_builder(part: _Part, limits: DialectLimits) -> ImageQuery:
    path = f"{_written(part.path)}.{_BUILDER}"
    if part.content.get(_VECTOR) is not None:
        raise DialectError(f"[{path}] stands beside [{_VECTOR}]: give one of them.")
    builder = an_object(part.content[_BUILDER], path, (NAME,))
    path = f"{path}.{NAME}"
    return read_query_image(an_object(builder[NAME], path, IMAGE_KEYS), path, limits)


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
