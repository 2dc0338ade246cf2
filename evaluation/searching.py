"""The stages that are measured, and the product's own searcher run at each of them."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import islice
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Float16, Float32, Int, Int64
from torch import Tensor

from descriptors.aggregation import aggregate, join_layers, region_class_vectors
from evaluation.where import Where, placed_hits
from galleries.documents import Document, FirstHit
from galleries.errors import NoWindows
from indexer.encoding import encode_documents
from indexer.reading import IndexingPlan
from reranker.pipeline import Searcher
from reranker.ranking import Hit, SearchPlan

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from descriptors.arrays import Encoded, QueryDescription
    from descriptors.method import Method
    from descriptors.settings import RegionSettings
    from evaluation.encoding import EncodedImages
    from evaluation.trials import DatasetImage, DatasetQuery
    from galleries.features import FeatureStore
    from galleries.filters import Filter
    from reranker.candidates import Candidate
    from reranker.matching import Match
    from reranker.ranking import RerankBy

__all__ = [
    "FIRST_STAGES",
    "OFFLINE_STAGES",
    "ONLINE_STAGES",
    "WINDOW_STAGES",
    "MemoryGallery",
    "OnlineVectors",
    "Stage",
    "StageSearcher",
    "online_vectors",
    "stage_of",
]


@dataclass(frozen=True, kw_only=True)
class Stage(SearchPlan):
    """One way to search, with its name in the tables."""

    name: str

    def plan(self, gallery: int, leave_out: str | None) -> SearchPlan:
        """A search that ranks a gallery of this size, except for one image."""
        return replace(self, k=gallery, leave_out=leave_out)


def stage_of(window: int, expand: int, alpha: float = 0.0) -> Stage:
    """A stage with its name in the tables."""
    parts = [f"R{window}" if window else "first"]
    if expand:
        parts.append(f"QE{expand}" + (f"^{alpha:g}" if alpha else ""))
    return Stage(name="+".join(parts), window=window, by="maps", expand=expand, alpha=alpha)


FIRST_STAGES = tuple(stage_of(0, expand) for expand in (0, 5, 10))
ONLINE_STAGES = (*FIRST_STAGES, *(stage_of(100, expand) for expand in (0, 5, 10)))
WINDOW_STAGES = (
    Stage(name="windows", windows=True),
    Stage(name="windows+QE5", windows=True, expand=5),
    Stage(name="R100 windows", window=100, by="windows"),
    Stage(name="R100 windows+QE5", window=100, by="windows", expand=5),
)
OFFLINE_STAGES = (
    *ONLINE_STAGES,
    Stage(name="window100", window=100, by="images"),
    Stage(name="window100+QE5", window=100, by="images", expand=5),
    *WINDOW_STAGES,
    Stage(name="R100 windows refined", window=100, by="windows", refine=True),
)


class MemoryGallery:
    """Documents in memory, searched by one matrix product; a `Searchable`."""

    def __init__(self, documents: Mapping[str, Document]) -> None:
        """Args: documents in the order in which ties are returned."""
        self.ids, self.documents = list(documents), documents
        rows = [document.descriptor for document in documents.values()]
        self.descriptors = np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32)
        self.hidden: frozenset[str] = frozenset()  # ids that no search finds

    def look_for(self, positives: Collection[str]) -> None:
        """Announce the right answers to the next query, after which a ranking may end."""

    def knn(
        self, vector: Float32[np.ndarray, " D"], k: int, matching: Filter | None = None
    ) -> list[FirstHit]:
        """See `Searchable.knn`; there is no metadata to filter by."""
        del matching
        return self._best(self.descriptors @ vector, k)

    def knn_windows(
        self,
        vector: Float32[np.ndarray, " D"],
        k: int,
        matching: Filter | None = None,
        among: Collection[str] | None = None,
    ) -> list[FirstHit]:
        """See `Searchable.knn_windows`; always exact."""
        del matching
        rows, starts = self._windows
        return self._best(np.maximum.reduceat(rows @ vector, starts), k, among)

    def _best(
        self, cosines: Float32[np.ndarray, " N"], k: int, among: Collection[str] | None = None
    ) -> list[FirstHit]:
        found: Iterable[int] = np.argsort(-cosines, kind="stable").tolist()
        if self.hidden or among is not None:
            wanted = set(self.ids if among is None else among) - self.hidden
            found = (row for row in found if self.ids[row] in wanted)
        return [FirstHit(self.ids[row], float(cosines[row])) for row in islice(found, k)]

    @cached_property
    def _windows(self) -> tuple[Float32[np.ndarray, "_ D"], Int64[np.ndarray, " N"]]:
        """Unit rows of all windows, and the first row of each document."""
        each = [d.windows.vectors for d in self.documents.values() if d.windows is not None]
        if len(each) < len(self.documents):
            raise NoWindows
        rows = np.concatenate(each).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        return rows, np.cumsum([0, *map(len, each[:-1])])

    def get(self, ids: Sequence[str], *, windows: bool = True) -> dict[str, Document]:
        """See `Searchable.get`; reading windows costs nothing here."""
        del windows
        return {i: self.documents[i] for i in ids if i in self.documents}


class StageSearcher(Searcher):
    """The product's searcher, which matches each hit of a query once for all stages."""

    def __init__(
        self,
        method: Method,
        gallery: MemoryGallery,
        features: FeatureStore,
        regions: RegionSettings,
    ) -> None:
        """See `Searcher`. Hits without kept maps are encoded again."""
        encode = partial(encode_documents, method=method, plan=IndexingPlan())
        super().__init__(method, gallery, features, regions, encode)
        self._features = features
        # By what was compared, and by id; with the milliseconds of each.
        self._matches: dict[tuple[RerankBy | None, str], tuple[Match | None, float]] = {}
        self._spared_ms = 0.0

    def close(self) -> None:
        """Stop the threads of the searcher and the store."""
        super().close()
        self._features.close()

    def next_query(self) -> None:
        """Forget the matches of the last query."""
        self._matches.clear()

    def rank_timed(
        self, query: QueryDescription, plan: SearchPlan
    ) -> tuple[list[Candidate[str]], float]:
        """The hits in their order, and the milliseconds a search without the cache would take.

        Convention:
            Documents of the answer are not read: it is the whole gallery here, and ten
            documents in a real search.
        """
        self._spared_ms = 0.0
        order = self.rank(query, plan)
        return order.last[: plan.k], sum(order.milliseconds.values()) + self._spared_ms

    def where(
        self,
        asked: DatasetQuery,
        query: QueryDescription,
        hits: Sequence[Candidate[str]],
        plan: SearchPlan,
    ) -> Where | None:
        """How well the product's boxes of right hits fit; None for a plan or a query without any."""
        windows = self.compares_windows(plan)
        if not asked.places or not (windows or (plan.window and plan.by == "maps")):
            return None
        by_id = {hit.key: hit for hit in hits}
        right = placed_hits(asked, by_id)
        documents = self.gallery.get(right)
        boxes = self.boxes(query, [by_id[i] for i in right], documents, windows=windows)
        if plan.refine and windows:
            found = [
                Hit(documents[i], by_id[i].score, 1, None, None, box) for i, box in boxes.items()
            ]
            boxes = {hit.document.id: hit.box for hit in self.refined(query, found) if hit.box}
        return Where.of([(boxes.get(i), asked.places[i]) for i in right])

    def match(
        self, query: QueryDescription, documents: Sequence[Document], plan: SearchPlan
    ) -> dict[str, Match | None]:
        """See `Searcher.match`."""
        keys = {document.id: (plan.by, document.id) for document in documents}
        new = [document for document in documents if keys[document.id] not in self._matches]
        self._spared_ms += sum(
            self._matches[key][1] for key in keys.values() if key in self._matches
        )
        started = time.perf_counter()
        found = super().match(query, new, plan)
        each = (time.perf_counter() - started) * 1e3 / max(1, len(found))
        self._matches |= {keys[i]: (match, each) for i, match in found.items()}
        return {i: self._matches[key][0] for i, key in keys.items() if key in self._matches}


# Classes whose vectors are computed together: some MB of sums.
_CLASSES_AT_A_TIME = 256


@dataclass(frozen=True)
class OnlineVectors:
    """OnA: whitened class vectors of every image, for every class that any query uses.

    A query's descriptors of the whole gallery are sums of a few of them.

    Attributes:
        columns: of each class, by its number.
        layers: of each layer, unit or zero rows.
        weights: of each class in each image, if the settings weight by probability.
    """

    columns: Mapping[int, int]
    layers: tuple[Float16[Tensor, "P U _"], ...]
    weights: Float[Tensor, "P U"] | None

    def describe(self, classes: Int[Tensor, " N"]) -> Float[Tensor, "P D"]:
        """Descriptors of all images with the classes of one query.

        Source:
            docs/method.md section 3, OnA.
        """
        columns = torch.tensor([self.columns[c] for c in classes.tolist()])
        weights = None if self.weights is None else self.weights[:, columns]
        return join_layers([aggregate(v[:, columns].float(), weights) for v in self.layers])


def online_vectors(
    method: Method,
    encoded: EncodedImages,
    images: Sequence[DatasetImage],
    classes: Int[Tensor, " U"],
) -> OnlineVectors:
    """The whitened class vectors of gallery images, in their order, for distinct classes."""
    rows = {image.file: row for row, image in enumerate(images)}
    shape = (len(images), len(classes))
    layers = tuple(
        torch.zeros(*shape, layer.dims, dtype=torch.float16) for layer in method.settings.layers
    )
    weights = torch.zeros(shape) if method.settings.probability_weights else None
    for batch, maps in encoded.batches(images):
        here = torch.tensor([rows[image.file] for image in batch])
        if weights is not None:
            weights[here] = maps.scores.softmax(dim=1)[:, classes].sqrt().cpu()
        for start in range(0, len(classes), _CLASSES_AT_A_TIME):
            part = slice(start, start + _CLASSES_AT_A_TIME)
            for layer, vectors in zip(layers, _whitened(method, maps, classes[part]), strict=True):
                layer[here, part] = vectors.half().cpu()
    return OnlineVectors({c: i for i, c in enumerate(classes.tolist())}, layers, weights)


@torch.inference_mode()
def _whitened(
    method: Method, maps: Encoded, classes: Int[Tensor, " N"]
) -> list[Float[Tensor, "B N D"]]:
    vectors = region_class_vectors(method.encoder, maps, classes.expand(len(maps), -1))
    return [
        whiten(of_layer[:, 0], method.encoder.dtype)
        for whiten, of_layer in zip(method.whitening.layers, vectors, strict=True)
    ]
