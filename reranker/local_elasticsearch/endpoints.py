"""What each path answers. Blocking: everything here runs in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from es_mappings.documents import Document
from es_mappings.local import LocalGallery
from reranker.local_elasticsearch.about_index import (
    aliases,
    health,
    index_rows,
    index_settings,
    info,
    mapping,
)
from reranker.local_elasticsearch.index_names import means
from reranker.local_elasticsearch.json_values import json_object
from reranker.local_elasticsearch.many_searches import search_many
from reranker.local_elasticsearch.parameters import Parameters
from reranker.local_elasticsearch.plain_query import query_filter
from reranker.local_elasticsearch.refusals import bad_request, missing
from reranker.local_elasticsearch.search_body import local_search
from reranker.local_elasticsearch.searching import ONE_SHARD, nothing_found, search
from reranker.local_elasticsearch.single_documents import check_is_index, found_or_not, many
from reranker.local_elasticsearch.source_view import SourceView, source_view

__all__ = ["Call", "Reply"]

ALL_INDICES = "_all"
_OK, _NOT_FOUND = 200, 404


@dataclass(frozen=True)
class Reply:
    """An answer before it is written as JSON."""

    status: int
    body: Any


@dataclass(frozen=True)
class Call:
    """One request, taken apart.

    Attributes:
        gallery: that answers.
        index: its name.
        names: what stands in the path, by what it stands for.
        parameters: what follows the question mark.
        body: empty if there is none.
    """

    gallery: LocalGallery
    index: str
    names: dict[str, str]
    parameters: Parameters
    body: bytes

    def about(self) -> Reply:
        """``GET /``."""
        self.parameters.nothing_else()
        return Reply(_OK, info(self.gallery))

    def search(self) -> Reply:
        """`_search`."""
        asked = local_search(self._object(), self.parameters)
        there = self._is_meant()
        self.parameters.nothing_else()
        found = search(self.gallery, self.index, asked) if there else nothing_found()
        return Reply(_OK, found)

    def search_many(self) -> Reply:
        """`_msearch`."""
        self.parameters.nothing_else()
        if not self.body:
            raise _no_body()
        of_path = self.names.get("index", ALL_INDICES)
        return Reply(_OK, search_many(self.gallery, self.index, of_path, self.body))

    def count(self) -> Reply:
        """`_count`."""
        body = self._object()
        for key in body:
            if key != "query":
                raise bad_request("parsing_exception", f"request does not support [{key}]")
        matching = query_filter(body["query"]) if "query" in body else None
        there = self._is_meant()
        self.parameters.nothing_else()
        counted = self.gallery.count(matching) if there else 0
        shards = ONE_SHARD if there else dict.fromkeys(ONE_SHARD, 0)
        return Reply(_OK, {"count": counted, "_shards": shards})

    def document(self) -> Reply:
        """`_doc/{id}`."""
        document, view = self._one()
        found = found_or_not(self.names["id"], document, self.index, view)
        return Reply(_OK if found["found"] else _NOT_FOUND, found)

    def documents(self) -> Reply:
        """`_mget`."""
        if not self.body:
            raise _no_body()
        of_path = self.names.get("index")
        found = many(self.gallery, self.index, of_path, json_object(self.body), self.parameters)
        self.parameters.nothing_else()
        return Reply(_OK, found)

    def whole_index(self) -> Reply:
        """``GET /{index}``."""
        body = {
            **aliases(self.index)[self.index],
            "mappings": mapping(self.gallery),
            "settings": index_settings(self.gallery, self.index),
        }
        return self._of_index({self.index: body})

    def mapping(self) -> Reply:
        """`_mapping`."""
        return self._of_index({self.index: {"mappings": mapping(self.gallery)}})

    def aliases(self) -> Reply:
        """`_alias`."""
        return self._of_index(aliases(self.index))

    def refresh(self) -> Reply:
        """`_refresh`: what is written is seen at once, so there is nothing to do."""
        shards = {key: ONE_SHARD[key] for key in ("total", "successful", "failed")}
        return self._of_index({"_shards": shards}, {"_shards": dict.fromkeys(shards, 0)})

    def health(self) -> Reply:
        """`_cluster/health`."""
        for name in ("wait_for_status", "timeout", "level"):
            self.parameters.text(name)
        return self._of_index(health())

    def index_rows(self) -> Reply:
        """`_cat/indices`, as JSON only."""
        if self.parameters.text("format") != "json":
            raise missing("[_cat] in another form than [format=json]")
        return self._of_index(index_rows(self.gallery, self.index), [])

    def _of_index(self, body: Any, nothing: Any = None) -> Reply:
        """A body about the index, or what is answered where a pattern means none."""
        there = self._is_meant()
        self.parameters.nothing_else()
        return Reply(_OK, body if there else ({} if nothing is None else nothing))

    def _one(self) -> tuple[Document | None, SourceView]:
        check_is_index(self.names["index"], self.index)
        view = source_view(None, self.parameters)
        self.parameters.nothing_else()
        return self.gallery.get([self.names["id"]]).get(self.names["id"]), view

    def _is_meant(self) -> bool:
        lenient = self.parameters.flag("ignore_unavailable", default=False)
        return means(self.names.get("index", ALL_INDICES), self.index, lenient=lenient)

    def _object(self) -> dict[str, Any]:
        return json_object(self.body) if self.body.strip() else {}


def _no_body() -> Exception:
    return bad_request("parse_exception", "request body or source parameter is required")
