"""The same queries through a server, by plain kNN and in Python: whether any loses accuracy.

The images are in an index already, with its method's vectors, windows and kept maps. Each query is
sent to the server as a client would, searched by Elasticsearch's own kNN with the vector of the
query, and searched in this process over the same documents and maps.
"""

from __future__ import annotations

import base64
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from elasticsearch import ApiError, TransportError

from descriptors.errors import RequestError
from descriptors.images import read_image
from es_mappings.elastic import ElasticGallery
from es_mappings.fields import DESCRIPTOR
from es_mappings.indices import rejects_index
from es_mappings.windows import VECTOR
from evaluation.datasets.photos import read_trials
from evaluation.scores import Score, summarise
from evaluation.searching import WINDOW_STAGES, MemoryGallery, stage_of
from galleries.about import features_of, method_about, regions_about
from galleries.documents import levels_of
from galleries.errors import GalleryUnreachable
from reranker.pipeline import Searcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from elasticsearch import Elasticsearch

    from descriptors.arrays import QueryDescription
    from descriptors.machine import Machine
    from descriptors.method import Method
    from descriptors.settings import MethodSettings, RegionSettings
    from evaluation.datasets.photos import Queries
    from evaluation.scores import Row
    from evaluation.searching import Stage
    from evaluation.trials import DatasetQuery, Progress
    from galleries.documents import Document
    from galleries.features import FeatureStore

__all__ = ["evaluate_through"]

_FIRST = (stage_of(0, 0), stage_of(0, 5))
_BY_MAPS = (stage_of(100, 0), stage_of(100, 5))
_SERVER, _PLAIN, _PYTHON = "through the server", "plain kNN", "through Python"

_MAX_DOCUMENTS = 10_000


@dataclass(frozen=True)
class Through:
    """What was measured.

    Attributes:
        rows: of each stage, through the server, by plain kNN where that suffices, and in Python.
        asked: the number of queries.
        max_difference: the greatest difference from Python in a stage's mAP.
    """

    rows: tuple[Row, ...]
    asked: int
    max_difference: float


@dataclass(frozen=True)
class _Served:
    """An index, with all that this process needs to search it itself."""

    client: Elasticsearch
    index: str
    method: Method
    regions: RegionSettings
    features: FeatureStore | None
    documents: Mapping[str, Document]

    @classmethod
    def of(cls, client: Elasticsearch, index: str, machine: Machine) -> _Served:
        """Read an index of at most 10,000 documents."""
        gallery = ElasticGallery(client, index, rejects_index(index))
        about = gallery.settings
        every = client.search(index=index, size=_MAX_DOCUMENTS, source=False)["hits"]["hits"]
        documents = gallery.get([hit["_id"] for hit in every])
        method, regions = method_about(about, machine), regions_about(about)
        return cls(client, index, method, regions, features_of(about), documents)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What the index can be asked for: windows if it has them, maps if they are kept."""
        windows = WINDOW_STAGES if self.method.settings.windows else ()
        return (*_FIRST, *windows, *(_BY_MAPS if self.features or not windows else ()))

    def body(self, stage: Stage, asked: Mapping[str, Any], own: str) -> dict[str, Any]:
        """A search that ranks everything except the query's own image."""
        builder = {"query_vector_builder": {"camsearch": asked}}
        knn = self._knn(builder, own, windows=stage.windows)
        ours: dict[str, Any] = {"retriever": {"knn": knn}}
        if stage.window:
            ours |= {"rank_window_size": stage.window, "rerank": {"by": stage.by}}
        elif stage.expand:
            ours |= {"rerank": False}
        else:
            return {"knn": knn, **self._all}
        if stage.expand:
            ours["expand"] = {"hits": stage.expand}
        return {"retriever": {"camsearch": ours}, **self._all}

    def plain(self, stage: Stage, query: QueryDescription, own: str) -> list[str]:
        """The ids that kNN without images finds, in one search or, re-ranked, in two."""
        vector = query.descriptor.cpu().numpy()
        levels = {"query_vector": levels_of(vector).tolist()}
        asked = levels if stage.windows else {"query_vector": vector.tolist()}
        found = self._ids(self._knn(asked, own, windows=stage.windows))
        if not stage.window:
            return found
        window = found[: stage.window]
        again = self._knn(levels, own, windows=True)
        ranked = self._ids({**again, "filter": {"ids": {"values": window}}})
        return [*ranked, *found[stage.window :]]

    @property
    def _all(self) -> dict[str, Any]:
        return {"size": len(self.documents), "source": False, "filter_path": "hits.hits._id"}

    def _knn(self, asked: Mapping[str, Any], own: str, *, windows: bool) -> dict[str, Any]:
        return {
            "field": VECTOR if windows else DESCRIPTOR,
            "k": len(self.documents),
            "num_candidates": len(self.documents),
            "filter": {"bool": {"must_not": {"ids": {"values": [own]}}}},
            **asked,
        }

    def _ids(self, knn: dict[str, Any]) -> list[str]:
        found = self.client.search(index=self.index, knn=knn, **self._all)
        return [hit["_id"] for hit in found["hits"]["hits"]]


def evaluate_through(
    folder: Path,
    client: Elasticsearch,
    index: str,
    machine: Machine,
    *,
    queries: Queries = "full",
    progress: Progress = lambda _what, _done, _of: None,
) -> Through:
    """Measure a server's answers, plain kNN and Python's over the same queries and documents.

    Args:
        folder: with ``photos.csv``; see `evaluation.datasets.photos`.
        client: of a server that `camsearch serve` runs.
        index: of the folder's images, with uris ending in their paths.
        machine: where this process computes.
        queries: full images, or boxes.
        progress: called with what is being done, how many are done, and of how many.

    Raises:
        RequestError: if an image of the folder is not in the index, or a search is refused.
        GalleryUnreachable: the server does not answer.
    """
    (trial,) = read_trials(folder, queries, folder)
    try:
        served = _Served.of(client, index, machine)
        paths = _paths(served, {image.path for image in trial.gallery})
        gallery = MemoryGallery(served.documents)
        searcher = Searcher(served.method, gallery, served.features, served.regions)
        scores: list[Score] = []
        for done, query in enumerate(trial.queries, start=1):
            scores += _score(served, searcher, paths, query)
            progress("queries", done, len(trial.queries))
        searcher.close()
    except ApiError as error:
        raise RequestError(f"The server refuses a search: {error}.") from error
    except TransportError as error:
        raise GalleryUnreachable(f"The server does not answer ({error}): start it.") from error
    return _compared(scores, index, served.method.settings, len(trial.queries))


def _compared(scores: Sequence[Score], index: str, settings: MethodSettings, asked: int) -> Through:
    """The rows of all ways, and how far they are apart."""
    layers = "+".join(layer.name for layer in settings.layers)
    dims = dict.fromkeys((_SERVER, _PLAIN, _PYTHON), settings.dims)
    rows = summarise([scores], index, layers, dims)
    python = {row.stage: row.all for row in rows if row.system == _PYTHON}
    return Through(rows, asked, max(abs(row.all - python[row.stage]) for row in rows))


def _score(
    served: _Served, searcher: Searcher, paths: Mapping[str, str], query: DatasetQuery
) -> Iterator[Score]:
    """One query at every stage, both ways."""
    own = next(i for i, path in paths.items() if path == query.image.path)
    data = query.image.file.read_bytes()
    pixels = read_image(data, reduce_to=None if query.box else served.method.settings.side)
    described = served.method.describe_query(pixels, served.regions, query.box)
    asked: dict[str, Any] = {"image": {"data": base64.b64encode(data).decode()}}
    if query.box is not None:
        asked["box"] = query.box.as_list()
    for stage in served.stages:
        started = time.perf_counter()
        found = served.client.search(index=served.index, **served.body(stage, asked, own))
        took = (time.perf_counter() - started) * 1e3
        hits = [paths[hit["_id"]] for hit in found["hits"]["hits"]]
        yield Score.of(_SERVER, stage.name, query, hits, took)
        if not stage.expand and not (stage.window and stage.by == "maps"):
            started = time.perf_counter()
            ids = served.plain(stage, described, own)
            took = (time.perf_counter() - started) * 1e3
            yield Score.of(_PLAIN, stage.name, query, [paths[i] for i in ids], took)
        ranking = searcher.search(described, stage.plan(len(served.documents), own))
        mine = [paths[hit.document.id] for hit in ranking.hits]
        yield Score.of(_PYTHON, stage.name, query, mine, sum(ranking.milliseconds.values()))


def _paths(served: _Served, wanted: set[str]) -> dict[str, str]:
    """The image of each document, by id.

    Raises:
        RequestError: if an image has no document, or a document is not an image of the folder.
    """
    paths = {}
    for image_id, document in served.documents.items():
        parts = document.uri.split("/")
        ends = ("/".join(parts[start:]) for start in range(len(parts)))
        path = next((end for end in ends if end in wanted), None)
        if path is None:
            raise RequestError(
                f"{served.index} contains {image_id}, which is not an image of the folder: index "
                "only the folder's images in an index of their own."
            )
        paths[image_id] = path
    missing = wanted - set(paths.values())
    if missing:
        raise RequestError(
            f"{len(missing)} images of the folder are not in {served.index}, such as "
            f"{min(missing)}: index them first."
        )
    return paths
