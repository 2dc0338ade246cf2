"""A parsed image search, and the requests to Elasticsearch made from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from descriptors.arrays import Box
from descriptors.expansion import GRAPH_HITS
from reranker.dialect.values import fits, without
from reranker.dialect.windows import WINDOW_VECTOR, window_levels
from reranker.ranking import RerankBy

__all__ = ["IMAGE_FIELDS", "DialectLimits", "Example", "Expand", "ImageQuery", "ImageSource"]
__all__ += [
    "Path",
    "QueryVectors",
    "Rerank",
    "Slot",
    "VisualSearch",
    "asked_body",
    "changed",
    "first_body",
]
__all__ += ["forwarded_query", "missing_fields"]

Path = tuple[str | int, ...]

# Retrievers without a window of their own.
_WITHOUT_WINDOW = {"knn", "standard"}
# Parameters that apply to the final hits and are not sent to Elasticsearch.
_OURS = ("from", "size", "filter_path", "pretty")
# Fields that locate a document's kept maps and its image.
IMAGE_FIELDS = ("digest", "width", "height", "uri")


@dataclass(frozen=True)
class DialectLimits:
    """Maximum sizes of an image search.

    Attributes:
        window: R, re-ranked hits.
        k: of a `knn` clause with an image.
        expand_hits: hits that expand a query.
        classes: of a query.
        hits: `from` plus `size` of a re-ranked search.
        images: different images in a search, negative ones included.
        image_bytes: of an image's file.
        depth: nested objects and lists; under 250, orjson's limit of writing.
        searches: image searches in an `_msearch`.
    """

    window: int = 1000
    k: int = 10_000
    expand_hits: int = 100
    classes: int = 1000
    hits: int = 10_000
    images: int = 8
    image_bytes: int = 20 * 2**20
    depth: int = 64
    searches: int = 32


@dataclass(frozen=True)
class ImageSource:
    """Where the query's image is; exactly one is not None.

    Attributes:
        data: the bytes of its file.
        id: of a document.
        url: of the file.
    """

    data: bytes | None = field(default=None, repr=False)
    id: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Example:
    """An image, and the box of it that shows what is meant."""

    image: ImageSource
    box: Box | None = None


@dataclass(frozen=True)
class ImageQuery:
    """What to look for; equal ones have the same vector.

    Attributes:
        images: views of it, at least one.
        without: of what it is not.
    """

    images: tuple[Example, ...]
    without: tuple[Example, ...] = ()

    @property
    def examples(self) -> tuple[Example, ...]:
        """All images, those of what it is not last."""
        return self.images + self.without


QueryVectors = Mapping[ImageQuery, Sequence[float] | np.ndarray]


@dataclass(frozen=True)
class Rerank:
    """How the first hits are re-ranked.

    Attributes:
        window: R, how many.
        by: windows in the index, CAM regions of feature maps, or whole images with the query's
            classes (OnA); None for windows if the index has them, else maps.
        classes: number of classes of the query; None for the settings' number.
        refine: whether the boxes that are shown are fitted to the object; by windows only.
    """

    window: int
    by: RerankBy | None = None
    classes: int | None = None
    refine: bool = False


@dataclass(frozen=True)
class Expand:
    """Query expansion: number of hits, and the exponent of alpha-QE (0 for plain averaging)."""

    hits: int
    alpha: float = 0.0


@dataclass(frozen=True)
class Slot:
    """A `knn` clause whose vector is made from an image.

    Attributes:
        path: keys and list indices from the body to the clause.
        field: searched field; empty if missing.
        image: whose vector is used.
    """

    path: Path
    field: str
    image: ImageQuery


@dataclass(frozen=True)
class VisualSearch:
    """A parsed image search.

    Attributes:
        body: for Elasticsearch, without the slots' vectors. Do not modify.
        query: query string, unchanged.
        slots: clauses that get vectors.
        image: compared with by re-ranking and expansion; None if there is neither.
        rerank, expand: None if not asked for.
        start, size: `from` and `size`.
        min_score: of the final scores; None for any.
        timeout: in seconds; None if there is none, or an invalid one.
        filter_path: decoded; empty for the whole answer.
        pretty: whether to indent the JSON.
        added_fields: fields that camsearch needs and the caller did not ask for.
        hides_vectors: whether to remove vectors from `_source`, since the caller did not set it.
    """

    body: Mapping[str, Any]
    query: str = ""
    slots: tuple[Slot, ...] = ()
    image: ImageQuery | None = None
    rerank: Rerank | None = None
    expand: Expand | None = None
    start: int = 0
    size: int = 10
    min_score: float | None = None
    timeout: float | None = None
    filter_path: str = ""
    pretty: bool = False
    added_fields: tuple[str, ...] = ()
    hides_vectors: bool = True

    @property
    def ranks(self) -> bool:
        """Whether to re-rank or expand; otherwise the first answer is returned unchanged."""
        return self.image is not None

    @property
    def in_windows(self) -> bool:
        """Whether an image is searched in windows."""
        return any(slot.field == WINDOW_VECTOR for slot in self.slots)

    @property
    def by_vectors_alone(self) -> bool:
        """Whether Elasticsearch's scores are cosines of one vector: no text query, no fusion."""
        clauses, query = self.body.get("knn"), self.body.get("query")
        retriever = self.body.get("retriever")
        if isinstance(query, dict) and clauses is None and set(query) == {"knn"}:
            clauses, query = query["knn"], None
        if isinstance(clauses, list) and len(clauses) == 1:
            clauses = clauses[0]
        if isinstance(retriever, dict) and clauses is None and set(retriever) == {"knn"}:
            clauses = retriever["knn"]
        elif retriever is not None:
            return False
        plain = isinstance(clauses, dict) and clauses.get("boost", 1) == 1
        return plain and query is None and len(self.slots) == 1

    @property
    def images(self) -> tuple[ImageQuery, ...]:
        """The different images to describe."""
        own = () if self.image is None else (self.image,)
        return tuple(dict.fromkeys([slot.image for slot in self.slots] + list(own)))

    @property
    def first_hits(self) -> int:
        """Number of hits that the first search must return."""
        if self.size == 0:
            return 0
        window = self.rerank.window if self.rerank else 0
        expanding = self.expand.hits if self.expand else 0
        retriever = self.body.get("retriever")
        # Retrievers such as `rrf` refuse a size above their window.
        has_window = isinstance(retriever, dict) and not set(retriever) <= _WITHOUT_WINDOW
        if expanding and not has_window:
            expanding = max(expanding, GRAPH_HITS)
        return max(self.start + self.size, window, expanding)


def first_body(search: VisualSearch, vectors: QueryVectors) -> bytes:
    """The body of the first search.

    Args:
        search: the parsed search.
        vectors: of the image of each slot.

    Convention:
        Without re-ranking and expansion only the vectors are added. With them `size` covers
        every stage, `from` and `min_score` are removed, and the fields that locate kept maps
        are added.
    """
    return orjson.dumps(asked_body(search, vectors), option=orjson.OPT_SERIALIZE_NUMPY)


def forwarded_query(search: VisualSearch) -> str:
    """The query string for both searches."""
    return without(search.query, _OURS) if search.ranks else search.query


def asked_body(search: VisualSearch, vectors: QueryVectors) -> dict[str, Any]:
    """As `first_body`, before it is written as JSON."""
    body: dict[str, Any] = dict(search.body)
    for slot in search.slots:
        vector = vectors[slot.image]
        levels = window_levels(vector) if slot.field == WINDOW_VECTOR else vector
        body = changed(body, slot.path, {"query_vector": levels})
    if not search.ranks:
        return body
    for key in ("from", "min_score"):
        body.pop(key, None)
    body["size"] = search.first_hits
    if search.added_fields and isinstance(body.get("fields", []), list):
        body["fields"] = [*body.get("fields", []), *search.added_fields]
    return body


def changed(container: Any, path: Path, values: Mapping[str, Any]) -> Any:
    """Set keys of the clause at the path, copying only the containers along it."""
    if not path:
        return {**container, **values}
    copied = container.copy()
    copied[path[0]] = changed(container[path[0]], path[1:], values)
    return copied


def missing_fields(body: Mapping[str, Any], parameters: Mapping[str, str]) -> tuple[str, ...]:
    """The fields that camsearch needs and the caller did not ask for."""
    asked = set(_asked_fields(body, parameters))
    return tuple(name for name in IMAGE_FIELDS if not any(fits(one, name) for one in asked))


def _asked_fields(body: Mapping[str, Any], parameters: Mapping[str, str]) -> Iterable[str]:
    """Names and patterns of everything that adds to a hit's `fields`."""
    for key in ("fields", "docvalue_fields"):
        given = body.get(key)
        for one in given if isinstance(given, list) else ():
            name = one.get("field") if isinstance(one, dict) else one
            if isinstance(name, str):
                yield name
    yield from parameters.get("docvalue_fields", "").split(",")
    scripts = body.get("script_fields")
    yield from scripts if isinstance(scripts, dict) else ()
