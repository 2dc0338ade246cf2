"""A search that names us, understood, and what Elasticsearch is asked for it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import orjson

from descriptors.arrays import Box
from descriptors.expansion import GRAPH_HITS
from reranker.dialect.values import fits, without

__all__ = ["DialectLimits", "Expand", "ImageQuery", "ImageSource", "Path", "Rerank", "Slot"]
__all__ += ["Vectors", "VisualSearch", "again_body", "first_body", "forwarded_query"]
__all__ += ["missing_fields"]

Path = tuple[str | int, ...]

# Retrievers that give as many hits as are asked for.
_WITHOUT_WINDOW = {"knn", "standard"}
# What we do ourselves, since only the final hits may be paged, filtered and set.
_OURS = ("from", "size", "filter_path", "pretty")
# What the first search has answered already.
_ONCE = ("aggs", "aggregations", "suggest", "profile")
# Fields that tell whether a hit's maps are kept, and where its image is if they are not.
_NEEDED = ("digest", "width", "height", "uri")


@dataclass(frozen=True)
class DialectLimits:
    """The most that a search which names us may ask for.

    Attributes:
        window: R, hits that are re-ranked.
        k: hits of a `knn` clause that gets its vector from us.
        expand_hits: hits that expand a query.
        classes: of a query, the network's strongest.
        hits: `from` plus `size` of a re-ranked search, all of which are read.
        images: different ones in a search.
        image_bytes: of an image's file.
        depth: of objects and lists in one another; under 250, which is all that can be written.
        searches: in an `_msearch`, of those that name us.
    """

    window: int = 1000
    k: int = 10_000
    expand_hits: int = 100
    classes: int = 1000
    hits: int = 10_000
    images: int = 4
    image_bytes: int = 20 * 2**20
    depth: int = 64
    searches: int = 32


@dataclass(frozen=True)
class ImageSource:
    """Where the query's image is: exactly one of these is given.

    Attributes:
        data: the bytes of its file.
        id: of a document.
        url: of the file.
    """

    data: bytes | None = field(default=None, repr=False)
    id: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class ImageQuery:
    """An image, and what to look for in it; two that are equal have the same vector."""

    image: ImageSource
    box: Box | None = None


Vectors = Mapping[ImageQuery, Sequence[float] | np.ndarray]


@dataclass(frozen=True)
class Rerank:
    """How the first hits are re-ranked.

    Attributes:
        window: R, how many.
        regions: by CAM regions; False for OnA on the window only.
        classes: of the query, how many; None for as many as the settings say.
    """

    window: int
    regions: bool = True
    classes: int | None = None


@dataclass(frozen=True)
class Expand:
    """How the query is expanded: by how many hits, and the alpha of alpha-QE (0 is plain)."""

    hits: int
    alpha: float = 0.0


@dataclass(frozen=True)
class Slot:
    """A `knn` clause that gets its vector from us.

    Attributes:
        path: keys and places in lists that lead to the clause from the body.
        field: that is searched; empty if the clause does not say.
        image: whose vector goes in.
    """

    path: Path
    field: str
    image: ImageQuery


@dataclass(frozen=True)
class VisualSearch:
    """A search that names us.

    Attributes:
        body: as Elasticsearch takes it, but that the slots lack their vectors. Not to be changed.
        query: of the request line, as it came.
        slots: clauses that get vectors.
        image: what re-ranking and expansion look for; None if there is neither.
        rerank: None for none.
        expand: None for none.
        start, size: the page, `from` and `size`.
        min_score: of the final scores; None for any.
        timeout: in seconds; None for none, or one that Elasticsearch will refuse.
        filter_path: as it came, decoded; empty for the whole answer.
        pretty: written for people.
        added_fields: the hits' fields that we ask for and the caller did not.
        hides_vectors: the caller does not say anything of `_source`.
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
        """Whether the first hits are not the answer yet; if they are, it passes as it is."""
        return self.image is not None

    @property
    def by_vectors_alone(self) -> bool:
        """Whether Elasticsearch's scores are the cosines of one vector: no text, no fusion."""
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
        """The different images whose vectors or maps are needed, each once."""
        own = () if self.image is None else (self.image,)
        return tuple(dict.fromkeys([slot.image for slot in self.slots] + list(own)))

    @property
    def first_hits(self) -> int:
        """How many hits the first search must bring; none if none are to be answered."""
        if self.size == 0:
            return 0
        window = self.rerank.window if self.rerank else 0
        expanding = self.expand.hits if self.expand else 0
        retriever = self.body.get("retriever")
        # A retriever such as `rrf` refuses more hits than its own window.
        has_window = isinstance(retriever, dict) and not set(retriever) <= _WITHOUT_WINDOW
        if expanding and not has_window:
            expanding = max(expanding, GRAPH_HITS)
        return max(self.start + self.size, window, expanding)


def first_body(search: VisualSearch, vectors: Vectors) -> bytes:
    """The body of the first search.

    Args:
        search: understood.
        vectors: of each image of its slots.

    Convention:
        Without re-ranking and expansion only the vectors are put in. With them as many hits
        are asked for as any stage needs, from the first on, with the fields that tell where
        their maps are; and `min_score` waits for the final scores.
    """
    return orjson.dumps(_asked(search, vectors), option=orjson.OPT_SERIALIZE_NUMPY)


def again_body(search: VisualSearch, vectors: Vectors) -> bytes:
    """The body of the second search: as the first, without what is answered already.

    Args:
        search: understood.
        vectors: of each image, the expanded one for the search's own.
    """
    body = {k: v for k, v in _asked(search, vectors).items() if k not in _ONCE}
    return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)


def forwarded_query(search: VisualSearch) -> str:
    """The query string for both searches, without what we do ourselves."""
    return without(search.query, _OURS) if search.ranks else search.query


def _asked(search: VisualSearch, vectors: Vectors) -> dict[str, Any]:
    body = dict(search.body)
    for slot in search.slots:
        body = _put(body, slot.path, vectors[slot.image])
    if not search.ranks:
        return body
    for key in ("from", "min_score"):
        body.pop(key, None)
    body["size"] = search.first_hits
    if search.added_fields and isinstance(body.get("fields", []), list):
        body["fields"] = [*body.get("fields", []), *search.added_fields]
    return body


def _put(container: Any, path: Path, vector: Sequence[float] | np.ndarray) -> Any:
    """The container with a vector in the clause at the path; only what lies on the way is copied."""
    if not path:
        return {**container, "query_vector": vector}
    copied = container.copy()
    copied[path[0]] = _put(container[path[0]], path[1:], vector)
    return copied


def missing_fields(body: Mapping[str, Any], parameters: Mapping[str, str]) -> tuple[str, ...]:
    """The fields of hits that we need and the caller did not ask for."""
    asked = set(_asked_fields(body, parameters))
    return tuple(name for name in _NEEDED if not any(fits(one, name) for one in asked))


def _asked_fields(body: Mapping[str, Any], parameters: Mapping[str, str]) -> Iterable[str]:
    """Names and patterns of all that puts something into a hit's `fields`."""
    for key in ("fields", "docvalue_fields"):
        given = body.get(key)
        for one in given if isinstance(given, list) else ():
            name = one.get("field") if isinstance(one, dict) else one
            if isinstance(name, str):
                yield name
    yield from parameters.get("docvalue_fields", "").split(",")
    scripts = body.get("script_fields")
    yield from scripts if isinstance(scripts, dict) else ()
