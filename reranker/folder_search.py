"""Search a gallery in a folder and answer in Elasticsearch's format.

kNN search is exact. A query without a vector only filters: its hits have the score 1 and are sorted
by id.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import numpy as np
from jaxtyping import Float32

from es_mappings.fields import DESCRIPTOR, source_of
from es_mappings.windows import MAX_HITS
from galleries.documents import Document
from galleries.filters import parse_filter
from galleries.local import LocalGallery
from reranker import folder_windows
from reranker.dialect.answers import cut
from reranker.dialect.msearch import CLUSTER_PARAMETERS
from reranker.dialect.values import (
    Page,
    a_number,
    a_text,
    a_whole_number,
    fits,
    invalid_value,
    read_page,
)
from reranker.dialect.windows import REGIONS, WINDOW_VECTOR
from reranker.errors import DialectError, NotServed

__all__ = ["ONE_SHARD", "PARAMETERS", "Parameters", "View"]
__all__ += ["check_served", "not_served", "search_folder"]

Parameters = Mapping[str, str]

ONE_SHARD = {"total": 1, "successful": 1, "skipped": 0, "failed": 0}

_MAX_NAME = 1000

# Hits are always counted, so `track_total_hits` changes nothing; `timeout` is ignored.
_SEARCH_KEYS = {"_source", "fields", "from", "knn", "min_score", "query", "retriever", "size"}
_SEARCH_KEYS |= {"timeout", "track_scores", "track_total_hits"}
_KNN_KEYS = {"field", "query_vector", "k", "num_candidates", "filter", "similarity", "boost"}
_SOURCE_PARAMETERS = ("_source", "_source_includes", "_source_excludes")
PARAMETERS = {"filter_path", "from", "max_concurrent_searches", "pretty", "realtime", "size"}
PARAMETERS |= {"timeout", "track_scores", "track_total_hits"}
PARAMETERS |= {*_SOURCE_PARAMETERS, *CLUSTER_PARAMETERS}

_Hit = tuple[Document, float]


def not_served(what: str) -> NotServed:
    """The error for what only Elasticsearch supports; `what` is the subject of its sentence."""
    return NotServed(
        f"{what} is not served by a gallery in a folder, which supports GET /, _search, _msearch, "
        "_count, _doc/{id} and _mapping as listed in docs/dialect.md: run `camsearch serve` in "
        "front of Elasticsearch (compose.yaml), and write with `camsearch index`."
    )


def check_served(said: Mapping[str, Any], served: Collection[str], where: str) -> None:
    """Refuse keys that are not supported, unless their value is false.

    Raises:
        NotServed: it names the key.
    """
    for key, value in said.items():
        if key not in served and value is not False:
            raise not_served(f"[{key}] of {where}")


def search_folder(
    gallery: LocalGallery, index: str, body: Mapping[str, Any], parameters: Parameters
) -> dict[str, Any]:
    """Answer a search.

    Args:
        gallery: to search.
        index: its name.
        body: decoded JSON.
        parameters: of the query string; they take precedence over the body.

    Raises:
        NotServed: only Elasticsearch supports it.
        RequestError: it is not valid.
    """
    started = time.perf_counter()
    check_served(body, _SEARCH_KEYS, "a search")
    page = read_page(body, parameters, MAX_HITS)
    view = View.asked(body, parameters)
    knn, query = _clauses(body)
    if knn is None:
        total, best, found = _matching(gallery, query, page)
    else:
        total, best, found = _nearest(gallery, knn, page)
    inner = folder_windows.inner_hits(knn)
    hits = [
        {"_index": index, "_id": document.id, "_score": score}
        | view.of(document)
        | inner(index, document)
        for document, score in found
    ]
    return {
        "took": int((time.perf_counter() - started) * 1e3),
        "timed_out": False,
        "_shards": ONE_SHARD,
        "hits": {
            "total": {"value": total, "relation": "eq"},
            "max_score": best if page.size else None,
            "hits": hits,
        },
    }


def _clauses(body: Mapping[str, Any]) -> tuple[Any, Any]:
    """The `knn` and the `query` of a search; at most one of them is not None."""
    knn, query = body.get("knn"), body.get("query")
    if "retriever" in body:
        if knn is not None or query is not None:
            raise DialectError("[retriever] cannot be combined with [knn] or [query]: give one.")
        retriever = _object(body["retriever"], "retriever", {"knn", "standard"})
        if not retriever:
            raise DialectError("[retriever] is empty: give it [knn] or [standard].")
        standard = retriever.get("standard", {})
        query = _object(standard, "retriever.standard", {"query"}).get("query")
        knn = retriever.get("knn")
    if isinstance(query, dict) and set(query) == {"knn"} and knn is None:
        knn, query = query["knn"], None
    if isinstance(knn, list) and len(knn) == 1:
        [knn] = knn
    if isinstance(knn, list) or (knn is not None and query is not None):
        raise not_served("A search with several [knn], or with both [knn] and [query],")
    return knn, query


def _object(value: Any, path: str, served: Collection[str]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise invalid_value(path, "an object", value)
    check_served(value, served, f"[{path}]")
    return value


def _nearest(
    gallery: LocalGallery, clause: Any, page: Page
) -> tuple[int, float | None, Sequence[_Hit]]:
    """The number of hits, the best score, and the page."""
    in_windows = isinstance(clause, dict) and clause.get("field") == WINDOW_VECTOR
    said = _object(clause, "knn", _KNN_KEYS | ({"inner_hits"} if in_windows else set()))
    if said.get("field") not in (DESCRIPTOR, WINDOW_VECTOR):
        raise not_served(f"A search in another field than [{DESCRIPTOR}] and [{WINDOW_VECTOR}]")
    k = page.start + page.size
    if said.get("k") is not None:
        k = a_whole_number(said["k"], "knn.k", 1, MAX_HITS)
    if said.get("num_candidates") is not None:  # changes nothing: the search is exact
        a_whole_number(said["num_candidates"], "knn.num_candidates", max(k, 1), MAX_HITS)
    filter_, least = said.get("filter"), said.get("similarity")
    matching = None if filter_ is None else parse_filter(filter_)
    least = -1.0 if least is None else a_number(least, "knn.similarity", -1)
    boost = a_number(said.get("boost", 1.0), "knn.boost", 0)
    vector = _vector(said.get("query_vector"))
    nearest = gallery.knn_windows if in_windows else gallery.knn
    hits = nearest(folder_windows.unit_vector(vector) if in_windows else vector, k, matching)
    scored = [
        (hit.id, _as_float32(boost * (1 + hit.cosine) / 2)) for hit in hits if hit.cosine >= least
    ]
    scored = [one for one in scored if page.min_score is None or one[1] >= page.min_score]
    shown = scored[page.start : page.start + page.size]
    # Documents may have been deleted since the search.
    there = gallery.get([id_ for id_, _ in shown])
    best = scored[0][1] if scored else None
    return len(scored), best, [(there[id_], score) for id_, score in shown if id_ in there]


def _vector(said: object) -> Float32[np.ndarray, " D"]:
    if not isinstance(said, list) or not all(type(one) in {int, float} for one in said):
        raise invalid_value("knn.query_vector", "a list of numbers", said)
    with np.errstate(over="ignore"):  # too large a number becomes infinite, which `knn` refuses
        return np.asarray(said, dtype=np.float64).astype(np.float32)


def _as_float32(score: float) -> float:
    """Round a score to the digits of a float32, as Elasticsearch writes it."""
    return float(str(np.float32(score)))


def _matching(
    gallery: LocalGallery, query: Any, page: Page
) -> tuple[int, float | None, Sequence[_Hit]]:
    """As `_nearest`, for a query without a vector."""
    matching = None if query is None else parse_filter(query)
    if _ranks(query):
        raise not_served("A [bool] whose [should] affects the score, outside [filter],")
    total = gallery.count(matching) if page.min_score is None or page.min_score <= 1 else 0
    if not page.size or page.start >= total:
        return total, 1.0 if total else None, []
    found = islice(gallery.documents(matching), page.start, page.start + page.size)
    return total, 1.0, [(document, 1.0) for document in found]


def _ranks(query: Any) -> bool:
    """Whether Elasticsearch would score hits by how many `should` clauses match."""
    content = query.get("bool") if isinstance(query, dict) else None
    if not isinstance(content, dict):
        return False
    must = content.get("must")
    musts = must if isinstance(must, list) else [must]
    return bool(content.get("should")) or any(map(_ranks, musts))


@dataclass(frozen=True)
class View:
    """Which parts of a document are returned.

    Attributes:
        shows_source: whether `_source` is returned.
        includes: paths in `_source` to return; empty for all but the vector.
        excludes: paths in `_source` to leave out.
        fields: names of fields to return, with wildcards.
    """

    shows_source: bool
    includes: tuple[str, ...]
    excludes: tuple[str, ...]
    fields: tuple[str, ...] = ()

    @classmethod
    def asked(cls, body: Mapping[str, Any], parameters: Parameters) -> View:
        """Read what a search asks for.

        Raises:
            RequestError: it is not valid, or only Elasticsearch supports it.
        """
        said, fields = body.get("_source", True), body.get("fields", [])
        if not isinstance(fields, list):
            raise invalid_value("fields", "a list", fields)
        names = tuple(_field_name(one) for one in fields)
        asked = [parameters.get(name) for name in _SOURCE_PARAMETERS]
        if asked != [None, None, None]:
            paths, includes, excludes = (
                () if one in {None, "true", "false"} else tuple(str(one).split(","))
                for one in asked
            )
            return cls(asked[0] != "false", includes or paths, excludes, names)
        if isinstance(said, bool):
            return cls(said, (), (), names)
        if isinstance(said, str | list):
            said = {"includes": said}
        given = _object(said, "_source", {"includes", "excludes"})
        return cls(True, _paths(given, "includes"), _paths(given, "excludes"), names)

    def of(self, document: Document) -> dict[str, Any]:
        """`_source` and `fields` of a document."""
        shown: dict[str, Any] = {}
        # Base64 is the fastest to make, and is replaced by the numbers.
        source = source_of(replace(document, windows=None), base64_vector=True)
        source |= {DESCRIPTOR: document.descriptor} | folder_windows.regions(document)
        if self.shows_source:
            hidden = (*self.excludes, *folder_windows.hidden_vectors(self.includes))
            shown["_source"] = cut(source, self.includes, hidden)
        fields: dict[str, Any] = defaultdict(
            list, folder_windows.regions_fields(source, self.fields)
        )
        flat = {key: value for key, value in source.items() if key != REGIONS}
        for path, value in _leaves("", flat) if self.fields else ():
            if any(fits(name, path) for name in self.fields):
                fields[path].append(value)
        if DESCRIPTOR in fields:
            fields[DESCRIPTOR] = document.descriptor
        return shown | ({"fields": fields} if fields else {})


def _paths(said: Mapping[str, Any], key: str) -> tuple[str, ...]:
    paths = said.get(key, [])
    listed = paths if isinstance(paths, list) else [paths]
    return tuple(a_text(one, f"_source.{key}", _MAX_NAME) for one in listed)


def _field_name(said: Any) -> str:
    given = {"field": said} if isinstance(said, str) else _object(said, "fields", {"field"})
    return a_text(given.get("field"), "fields", _MAX_NAME)


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Paths and values that are not null, in document order."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield from _leaves(f"{path}.{key}" if path else key, below)
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _leaves(path, below)
    elif value is not None:
        yield path, value
