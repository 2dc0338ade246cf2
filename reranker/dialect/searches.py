"""A search that names us, understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from descriptors.arrays import Box
from descriptors.expansion import GRAPH_HITS

__all__ = ["Expand", "ImageSource", "PictureQuery", "Rerank", "Slot", "VisualSearch"]

# Retrievers that give as many hits as are asked for.
_WITHOUT_WINDOW = {"knn", "standard"}


@dataclass(frozen=True)
class ImageSource:
    """Where the query's picture is: exactly one of these is given.

    Attributes:
        data: the bytes of its file.
        id: of a document.
        url: of the file.
    """

    data: bytes | None = field(default=None, repr=False)
    id: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class PictureQuery:
    """A picture, and what to look for in it; two that are equal have the same vector."""

    image: ImageSource
    box: Box | None = None


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
        picture: whose vector goes in.
    """

    path: tuple[str | int, ...]
    field: str
    picture: PictureQuery


@dataclass(frozen=True)
class VisualSearch:
    """A search that names us.

    Attributes:
        body: as Elasticsearch takes it, but that the slots lack their vectors. Not to be changed.
        query: of the request line, as it came.
        slots: clauses that get vectors.
        picture: what re-ranking and expansion look for; None if there is neither.
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
    picture: PictureQuery | None = None
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
        return self.picture is not None

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
    def pictures(self) -> tuple[PictureQuery, ...]:
        """The different pictures whose vectors or maps are needed, each once."""
        own = () if self.picture is None else (self.picture,)
        return tuple(dict.fromkeys([slot.picture for slot in self.slots] + list(own)))

    @property
    def first_hits(self) -> int:
        """How many hits the first search must bring; none if none are to be answered."""
        if self.size == 0:
            return 0
        window = self.rerank.window if self.rerank else 0
        expanding = self.expand.hits if self.expand else 0
        if expanding and not self._has_a_window:
            expanding = max(expanding, GRAPH_HITS)
        return max(self.start + self.size, window, expanding)

    @property
    def _has_a_window(self) -> bool:
        """Whether a retriever as `rrf` stands at the top: it refuses more hits than its own window."""
        retriever = self.body.get("retriever")
        return isinstance(retriever, dict) and not set(retriever) <= _WITHOUT_WINDOW
