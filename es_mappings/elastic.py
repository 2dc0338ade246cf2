"""A gallery in Elasticsearch: an index of documents, and one of rejects."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from es_mappings.elastic_bulk import Bulk, check_held, deletion, write
from es_mappings.elastic_client import Server, answered
from es_mappings.elastic_nearest import FirstSearch
from es_mappings.elastic_reading import listing, read_by_id
from es_mappings.fields import (
    DESCRIPTOR,
    document_of,
    gallery_settings,
    meta_names,
    query_of,
    reject_of,
    reject_source,
    source_of,
)
from es_mappings.windows import REGIONS
from galleries.checks import check_document, check_meta, check_query, check_reject, fits_as_id
from galleries.documents import Document, FirstHit, Known, Reject
from galleries.errors import ContractError, NoWindows
from galleries.gallery import CheckedDocument, windows_count

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from elasticsearch import Elasticsearch

    from galleries.filters import Filter

__all__ = ["ElasticGallery"]


class ElasticGallery:
    """A concrete index of images, and its rejects: `Searchable` and `Writable`.

    Convention:
        An alias is resolved when the gallery is opened, so that switching it later never
        mixes two methods. Unlike in a folder, a write that fails may be partially done;
        all writes are idempotent and can be repeated.

    Attributes:
        index: the concrete index.
        server: its version.
        settings: description of the method; see `indices.create`.
        dims, fingerprint: of the descriptors, and of the method that made them.
        meta_properties: mapping of the fields of ``meta`` when the gallery was opened.
        meta_mapping: digest of that mapping.
    """

    def __init__(
        self,
        client: Elasticsearch,
        index: str,
        rejects: str,
        *,
        refresh: bool = False,
        bulk: Bulk | None = None,
        server: Server | None = None,
    ) -> None:
        """Open an existing index.

        Args:
            client: of the server.
            index: name of an index, or alias of one index.
            rejects: index of the rejects.
            refresh: make each write visible to searches before returning; slow.
            bulk: how to write.
            server: its version, if known.

        Raises:
            GalleryNotFound: there is no such index.
            ContractError: it was not created by camsearch.
            GalleryUnreachable: the server does not respond.
        """
        self._client, self._rejects, self._refresh = client, rejects, refresh
        self._bulk = bulk or Bulk(client)
        self.server = server or Server.of(client)
        with answered(f"the gallery {index}"):
            found = client.indices.get_mapping(index=index)
        if len(found) != 1:
            raise ContractError(
                f"{index} is an alias of {len(found)} indices ({', '.join(sorted(found))}): "
                "use one of them, or run `camsearch gallery verify`."
            )
        ((self.index, body),) = found.items()
        properties = body["mappings"].get("properties", {})
        self.settings: Mapping[str, Any] = gallery_settings(self.index, body["mappings"])
        self.fingerprint = str(self.settings["fingerprint"])
        self.dims = int(properties[DESCRIPTOR]["dims"])
        windows = windows_count(self.settings) if REGIONS in properties else 0
        profile = str(self.settings.get("profile", "rerank"))
        self._search = FirstSearch(client, self.index, windows, profile)
        meta: dict[str, Any] = properties.get("meta", {})
        self.meta_properties: Mapping[str, Any] = meta.get("properties", {})
        self.meta_mapping = hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()

    def meta_names(self) -> list[str]:
        """Names of metadata fields, such as ``meta.city``, in order."""
        with answered("the mapping"):
            found = self._client.indices.get_mapping(index=self.index)
        return meta_names(found[self.index]["mappings"]["properties"].get("meta", {}))

    def put(self, documents: Sequence[Document]) -> None:
        """Write documents, unless a later revision exists; see `Writable`.

        Raises:
            DocumentsRefused: Elasticsearch refused some documents; the others are written.
            GalleryUnreachable: it did not accept them within the patience of `Bulk`.
        """
        self.put_ready(self.make_ready(documents), [document.id for document in documents])

    def make_ready(self, documents: Sequence[Document]) -> list[CheckedDocument]:
        """Check documents and serialise them as JSON; see `Writable`."""
        ready = []
        for document in documents:
            check_document(document, self.dims)
            source = source_of(document, base64_vector=self.server.takes_base64)
            written = write(self.index, document.id, source, document.revision)
            ready.append(CheckedDocument(document, written))
        return ready

    def put_ready(self, ready: Sequence[CheckedDocument], rejected: Collection[str]) -> None:
        """Write documents; see `put`."""
        # One write per id, since a retry could reverse the order of two.
        in_order = sorted(ready, key=lambda one: one.document.revision)
        latest = {one.document.id: one.written for one in in_order}
        cleared = [deletion(self._rejects, id_) for id_ in dict.fromkeys(rejected)]
        self._write(latest, cleared)

    def put_rejects(self, rejects: Sequence[Reject]) -> None:
        """Write rejects; see `Writable` and `put`."""
        for reject in rejects:
            check_reject(reject)
        self._write({r.id: write(self._rejects, r.id, reject_source(r)) for r in rejects})

    def put_meta(self, ids_to_meta: Mapping[str, Mapping[str, Any]], revision: int = 0) -> None:
        """Replace metadata; see `Writable` and `put`."""
        for id_, meta in ids_to_meta.items():
            check_meta(id_, meta)
        # Whole documents, since a partial update would increase the version, which is the
        # caller's revision.
        writes = {}
        for hit in self._found(list(ids_to_meta)):
            id_ = hit["_source"]["id"]
            newer = max(hit["_source"]["revision"], revision)
            source = {**hit["_source"], "meta": dict(ids_to_meta[id_]), "revision": newer}
            writes[id_] = write(self.index, id_, source, newer)
        self._write(writes)

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Delete documents and rejects; return the ids that existed, in the order given.

        Convention:
            Deletions carry the document's version; otherwise Elasticsearch would increase it
            and refuse the same revision if it is soon written again.
        """
        actions, gone = [], set()
        for hit, is_reject in self._known(ids):
            id_ = hit["_source"]["id"]
            gone.add(id_)
            index, version = (self._rejects, None) if is_reject else (self.index, hit["_version"])
            actions.append(deletion(index, id_, version))
        self._bulk.write(actions, refresh=self._refresh)
        return [id_ for id_ in dict.fromkeys(ids) if id_ in gone]

    def get(self, ids: Sequence[str], *, windows: bool = True) -> dict[str, Document]:
        """Read the documents with these ids, including those not yet visible to searches."""
        sources = (hit["_source"] for hit in self._found(ids, windows=windows))
        return {source["id"]: document_of(source) for source in sources if DESCRIPTOR in source}

    def known(self, ids: Sequence[str]) -> tuple[dict[str, Known], dict[str, str]]:
        """Read both in one request; see `Writable`."""
        known, tags = {}, {}
        for hit, is_reject in self._known(ids):
            source = hit["_source"]
            if is_reject:
                tags[source["id"]] = source["source_tag"]
            else:
                known[source["id"]] = Known(*(source[name] for name in Known._fields))
        return known, tags

    def documents(self, matching: Filter | None = None) -> Iterator[Document]:
        """List documents in order of their ids, as of the start of the listing.

        Convention:
            Documents without a descriptor, written by other programs, are left out.
        """
        vectors = {"source": {"exclude_vectors": False}} if self.server.leaves_vectors_out else {}
        for source in listing(self._client, self.index, query_of(matching), **vectors):
            if DESCRIPTOR in source:
                yield document_of(source)

    def without_descriptor(self) -> Iterator[str]:
        """Ids of documents without a descriptor, which no search finds."""
        query = {"bool": {"must_not": [{"exists": {"field": DESCRIPTOR}}]}}
        for source in listing(self._client, self.index, query):
            yield source["id"]

    def rejects(self) -> Iterator[Reject]:
        """List all rejects in order of their ids, as of the start of the listing."""
        for source in listing(self._client, self._rejects, {"match_all": {}}):
            yield reject_of(source)

    def count(self, matching: Filter | None = None) -> int:
        """Count the documents that are visible to searches."""
        query = query_of(matching)
        with answered("a count"):
            return int(self._client.count(index=self.index, query=query)["count"])

    def knn(
        self, vector: Float32[np.ndarray, " D"], k: int, matching: Filter | None = None
    ) -> list[FirstHit]:
        """Find the k documents with the highest cosine; see `Searchable`.

        Convention:
            As exact as the index's graph.

        Raises:
            RequestError: the vector has other dimensions or no direction, k is more than
                10,000, or the filter is refused, for example for an unknown field.
        """
        check_query(vector, self.dims)
        return self._search.nearest(vector, k, query_of(matching))

    def knn_windows(
        self,
        vector: Float32[np.ndarray, " D"],
        k: int,
        matching: Filter | None = None,
        among: Collection[str] | None = None,
    ) -> list[FirstHit]:
        """Find the k documents with the most similar windows; see `Searchable`.

        Convention:
            The query is rounded to 8 bits as windows are. Without ids, profile `search` asks the
            graph. Profile `rerank` compares all windows if no more than 300,000 match, and
            otherwise those of the first 1,000 documents by their descriptors (or k, if that is
            more).

        Raises:
            NoWindows: the gallery's method has no windows.
            RequestError: see `knn`.
        """
        if not self._search.windows:
            raise NoWindows
        check_query(vector, self.dims)
        return self._search.by_windows(vector, k, query_of(matching), among)

    def _write(self, writes: Mapping[str, bytes], more: Sequence[bytes] = ()) -> None:
        """Write by id, and further actions; raises DocumentsRefused for refused ids only."""
        outcomes = self._bulk.write([*writes.values(), *more], refresh=self._refresh)
        check_held(dict(zip(writes, outcomes, strict=False)))

    def _known(self, ids: Sequence[str]) -> Iterator[tuple[dict[str, Any], bool]]:
        """Documents and rejects without vectors, each with whether it is a reject."""
        asked = [id_ for id_ in dict.fromkeys(ids) if fits_as_id(id_)]
        places = [{"_index": i, "_id": id_} for id_ in asked for i in (self.index, self._rejects)]
        # Only rejects have a kind.
        wanted = {"_source_includes": ",".join(["id", "kind", *Known._fields])}
        for hit in read_by_id(self._client, places, wanted):
            yield hit, "kind" in hit["_source"]

    def _found(self, ids: Sequence[str], *, windows: bool = True) -> Iterator[dict[str, Any]]:
        """Documents in the order of the ids, whole or without their windows."""
        places = [{"_index": self.index, "_id": i} for i in dict.fromkeys(ids) if fits_as_id(i)]
        wanted = {"_source_exclude_vectors": "false"} if self.server.leaves_vectors_out else {}
        wanted |= {} if windows else {"_source_excludes": REGIONS}
        return read_by_id(self._client, places, wanted)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> ElasticGallery:  # noqa: PYI034 - beartype cannot check Self in a method
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
