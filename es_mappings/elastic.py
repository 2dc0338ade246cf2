"""The gallery in Elasticsearch: documents in one index, rejects in another beside it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from descriptors.errors import RequestError
from es_mappings.elastic_bulk import Bulk, check_held, deletion, write
from es_mappings.elastic_client import Server, answered
from es_mappings.elastic_reading import MAX_HITS, listing, nearest, read_by_id
from es_mappings.fields import (
    DESCRIPTOR,
    document_of,
    gallery_settings,
    query_of,
    reject_of,
    reject_source,
    source_of,
)
from galleries.checks import check_document, check_meta, check_query, check_reject, fits_as_id
from galleries.documents import Document, FirstHit, Known, Reject
from galleries.errors import ContractError
from galleries.gallery import Ready

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from elasticsearch import Elasticsearch

    from galleries.filters import Filter

__all__ = ["ElasticGallery"]


class ElasticGallery:
    """One concrete index of images, and the rejects beside it: `Searchable` and `Writable`.

    Convention:
        Opened by an alias it stays with the index behind it: its fingerprint is checked
        once, and an alias that is switched meanwhile never mixes two methods.
        A call that writes is not one step as in a folder: it may be half done when it
        fails. Every write may be repeated, and then ends as if it had been done once.

    Attributes:
        index: the concrete index.
        server: what the server can do.
        settings: every number behind the fingerprint, and where the maps are; see `indices.create`.
        dims, fingerprint: of the descriptors, and of the method that made them.
        meta_properties: mapping of the fields of ``meta`` when the gallery was opened.
        meta_mapping: its digest.
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
        """Look at an index that is there.

        Args:
            client: of the server.
            index: its name, or an alias of one index.
            rejects: index of the rejects.
            refresh: make each write visible to searches before going on; slow.
            bulk: how to write.
            server: what the server can do, where that is known already.

        Raises:
            GalleryNotFound: there is no such index.
            ContractError: it is none of ours.
            GalleryUnreachable: the server does not answer.
        """
        self._client, self._rejects, self._refresh = client, rejects, refresh
        self._bulk = bulk or Bulk(client)
        self.server = server or Server.of(client)
        with answered(f"the gallery {index}"):
            found = client.indices.get_mapping(index=index)
        if len(found) != 1:
            raise ContractError(
                f"{index} stands for {len(found)} indices ({', '.join(sorted(found))}): "
                "name one of them, or run `camsearch gallery verify`."
            )
        ((self.index, body),) = found.items()
        properties = body["mappings"].get("properties", {})
        self.settings: Mapping[str, Any] = gallery_settings(self.index, body["mappings"])
        self.fingerprint = str(self.settings["fingerprint"])
        self.dims = int(properties[DESCRIPTOR]["dims"])
        meta: dict[str, Any] = properties.get("meta", {})
        self.meta_properties: Mapping[str, Any] = meta.get("properties", {})
        self.meta_mapping = hashlib.sha256(json.dumps(meta, sort_keys=True).encode()).hexdigest()

    def meta_names(self) -> list[str]:
        """Names under which metadata is searched now, such as ``meta.city``, in order."""
        with answered("the mapping"):
            found = self._client.indices.get_mapping(index=self.index)
        names: list[str] = []
        mapped = found[self.index]["mappings"]["properties"].get("meta", {})
        waiting: list[tuple[str, dict[str, Any]]] = [("meta", mapped)]
        while waiting:
            path, mapped = waiting.pop()
            inner = mapped.get("properties", {})
            waiting.extend((f"{path}.{name}", below) for name, below in inner.items())
            if mapped.get("type", "object") not in ("object", "nested"):
                names.append(path)
        return sorted(names)

    def put(self, documents: Sequence[Document]) -> None:
        """Write documents; a later revision that is there stays. See `Writable`.

        Raises:
            DocumentsRefused: Elasticsearch holds the others, but not these.
            GalleryUnreachable: it does not take them within the patience of `Bulk`.
        """
        self.put_ready(self.make_ready(documents), [document.id for document in documents])

    def make_ready(self, documents: Sequence[Document]) -> list[Ready]:
        """Check documents and write them as JSON; see `Writable`."""
        for document in documents:
            check_document(document, self.dims)
        return [Ready(document, self._written(document)) for document in documents]

    def _written(self, document: Document) -> bytes:
        source = source_of(document, base64_vector=self.server.takes_base64)
        return write(self.index, document.id, source, document.revision)

    def put_ready(self, ready: Sequence[Ready], rejected: Collection[str]) -> None:
        """Write documents; see `put`."""
        # One write an id, since a second try might put two of them in the other order.
        in_order = sorted(ready, key=lambda one: one.document.revision)
        latest = {one.document.id: one.written for one in in_order}
        cleared = [deletion(self._rejects, id_) for id_ in dict.fromkeys(rejected)]
        self._write(latest, cleared)

    def put_rejects(self, rejects: Sequence[Reject]) -> None:
        """Note images that were refused; see `Writable` and `put`."""
        for reject in rejects:
            check_reject(reject)
        self._write({r.id: write(self._rejects, r.id, reject_source(r)) for r in rejects})

    def put_meta(self, ids_to_meta: Mapping[str, Mapping[str, Any]], revision: int = 0) -> None:
        """Replace metadata; see `Writable` and `put`."""
        for id_, meta in ids_to_meta.items():
            check_meta(id_, meta)
        # Whole documents, since a partial update would count up the version, which is the
        # caller's revision.
        writes = {}
        for hit in self._found(list(ids_to_meta)):
            id_ = hit["_source"]["id"]
            newer = max(hit["_source"]["revision"], revision)
            source = {**hit["_source"], "meta": dict(ids_to_meta[id_]), "revision": newer}
            writes[id_] = write(self.index, id_, source, newer)
        self._write(writes)

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Remove documents and rejects; returns the ids that were there, in the order given.

        Convention:
            With a document's own version, since Elasticsearch would otherwise count it up
            and then refuse the same revision when it comes again soon.
        """
        actions, gone = [], set()
        for hit, is_reject in self._known(ids):
            id_ = hit["_source"]["id"]
            gone.add(id_)
            index, version = (self._rejects, None) if is_reject else (self.index, hit["_version"])
            actions.append(deletion(index, id_, version))
        self._bulk.write(actions, refresh=self._refresh)
        return [id_ for id_ in dict.fromkeys(ids) if id_ in gone]

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """Read the documents with these ids, even those no search sees yet."""
        sources = (hit["_source"] for hit in self._found(ids))
        return {source["id"]: document_of(source) for source in sources if DESCRIPTOR in source}

    def known(self, ids: Sequence[str]) -> tuple[dict[str, Known], dict[str, str]]:
        """Read both in one request; see `Writable`."""
        known, tags = {}, {}
        for hit, is_reject in self._known(ids):
            source = hit["_source"]
            if is_reject:
                tags[source["id"]] = source["source_tag"]
            else:
                said = (source[name] for name in Known._fields)
                known[source["id"]] = Known(*said)
        return known, tags

    def documents(self, matching: Filter | None = None) -> Iterator[Document]:
        """List documents in order of their ids, as they are when the listing begins.

        Convention:
            One without a descriptor, which something else must have written, is left out.
        """
        vectors = {"source": {"exclude_vectors": False}} if self.server.leaves_vectors_out else {}
        for source in listing(self._client, self.index, query_of(matching), **vectors):
            if DESCRIPTOR in source:
                yield document_of(source)

    def without_descriptor(self) -> Iterator[str]:
        """Ids of documents that no search can find, since they have no descriptor."""
        query = {"bool": {"must_not": [{"exists": {"field": DESCRIPTOR}}]}}
        for source in listing(self._client, self.index, query):
            yield source["id"]

    def rejects(self) -> Iterator[Reject]:
        """List all rejects in order of their ids, as they are when the listing begins."""
        for source in listing(self._client, self._rejects, {"match_all": {}}):
            yield reject_of(source)

    def count(self, matching: Filter | None = None) -> int:
        """Count the documents that a search sees."""
        query = query_of(matching)
        with answered("a count"):
            return int(self._client.count(index=self.index, query=query)["count"])

    def knn(
        self, vector: Float32[np.ndarray, " D"], k: int, matching: Filter | None = None
    ) -> list[FirstHit]:
        """Find the k documents with the highest cosine; see `Searchable`.

        Convention:
            As exact as the index's graph; copies of an image are asked for until their
            order by id is sure.

        Raises:
            RequestError: the vector has other dimensions or no direction, k is more than
                10,000, or Elasticsearch refuses the filter, as for a field that is not there.
        """
        check_query(vector, self.dims)
        if k > MAX_HITS:
            raise RequestError(
                f"{k} hits are more than the {MAX_HITS:,} that Elasticsearch finds: ask for fewer."
            )
        query = query_of(matching)
        if k < 1:
            return []
        asked = k + 1
        while True:
            found = nearest(self._client, self.index, vector, asked, query)
            whole = len(found) < asked or asked >= MAX_HITS
            # With one more hit than wanted, the last two tell whether a tie is cut in two.
            if whole or found[k - 1].cosine > found[-1].cosine:
                return sorted(found, key=lambda hit: (-hit.cosine, hit.id))[:k]
            asked = min(4 * asked, MAX_HITS)

    def _write(self, writes: Mapping[str, bytes], more: Sequence[bytes] = ()) -> None:
        """Write what is named by ids, and more.

        Raises:
            DocumentsRefused: Elasticsearch will never take some of what is named.
        """
        outcomes = self._bulk.write([*writes.values(), *more], refresh=self._refresh)
        check_held(dict(zip(writes, outcomes, strict=False)))

    def _known(self, ids: Sequence[str]) -> Iterator[tuple[dict[str, Any], bool]]:
        """What is there of some ids without vectors, and of each whether it is a reject."""
        asked = [id_ for id_ in dict.fromkeys(ids) if fits_as_id(id_)]
        places = [{"_index": i, "_id": id_} for id_ in asked for i in (self.index, self._rejects)]
        # Only rejects have a kind.
        wanted = {"_source_includes": ",".join(["id", "kind", *Known._fields])}
        for hit in read_by_id(self._client, places, wanted):
            yield hit, "kind" in hit["_source"]

    def _found(self, ids: Sequence[str]) -> Iterator[dict[str, Any]]:
        """The whole documents with some ids, in their order."""
        places = [{"_index": self.index, "_id": i} for i in dict.fromkeys(ids) if fits_as_id(i)]
        wanted = {"_source_exclude_vectors": "false"} if self.server.leaves_vectors_out else {}
        return read_by_id(self._client, places, wanted)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def __enter__(self) -> ElasticGallery:  # noqa: PYI034 - beartype cannot check Self in a method
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
