"""The same queries through a server and in Python: whether the server loses accuracy.

The images are in an index already, with its method's vectors and kept maps. Each query is sent
to the server as a client would, and searched in this process over the same documents and maps.
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
from evaluation.datasets.photos import read_trials
from evaluation.scores import Score, summarise
from evaluation.searching import MemoryGallery, stage_of
from galleries.about import features_of, method_about, regions_about
from galleries.errors import GalleryUnreachable
from reranker.pipeline import Searcher

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from elasticsearch import Elasticsearch

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

SERVED_STAGES = tuple(stage_of(window, expand) for window in (0, 100) for expand in (0, 5))

_MAX_DOCUMENTS = 10_000


@dataclass(frozen=True)
class Through:
    """What was measured.

    Attributes:
        rows: of each stage, through the server and in Python.
        asked: the number of queries.
        most_apart: the greatest difference between the two in a stage's mAP.
    """

    rows: tuple[Row, ...]
    asked: int
    most_apart: float


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

    def body(self, stage: Stage, asked: Mapping[str, Any], own: str) -> dict[str, Any]:
        """A search that ranks everything except the query's own image."""
        every = min(len(self.documents), _MAX_DOCUMENTS)
        knn = {
            "field": DESCRIPTOR,
            "k": every,
            "num_candidates": every,
            "filter": {"bool": {"must_not": {"ids": {"values": [own]}}}},
            "query_vector_builder": {"camsearch": asked},
        }
        if not stage.window and not stage.expand:
            return {"knn": knn, "size": every, "source": False}
        ours: dict[str, Any] = {"retriever": {"knn": knn}}
        ours |= {"rank_window_size": stage.window} if stage.window else {"rerank": False}
        if stage.expand:
            ours["expand"] = {"hits": stage.expand}
        return {"retriever": {"camsearch": ours}, "size": every, "source": False}


def evaluate_through(
    folder: Path,
    client: Elasticsearch,
    index: str,
    machine: Machine,
    *,
    queries: Queries = "full",
    progress: Progress = lambda _what, _done, _of: None,
) -> Through:
    """Measure a server's answers and Python's to the same queries over the same documents.

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
    """The rows of both ways, and how far they are apart."""
    layers = "+".join(layer.name for layer in settings.layers)
    dims = dict.fromkeys(("through the server", "through Python"), settings.dims)
    rows = summarise([scores], index, layers, dims)
    means = {(row.system, row.stage): row.all for row in rows}
    apart = [
        abs(means["through the server", stage.name] - means["through Python", stage.name])
        for stage in SERVED_STAGES
    ]
    return Through(rows, asked, max(apart))


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
    for stage in SERVED_STAGES:
        started = time.perf_counter()
        found = served.client.search(index=served.index, **served.body(stage, asked, own))
        took = (time.perf_counter() - started) * 1e3
        hits = [paths[hit["_id"]] for hit in found["hits"]["hits"]]
        yield Score.of("through the server", stage.name, query, hits, took)
        ranking = searcher.search(described, stage.plan(len(served.documents), own))
        mine = [paths[hit.document.id] for hit in ranking.hits]
        took = sum(ranking.milliseconds.values())
        yield Score.of("through Python", stage.name, query, mine, took)


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
