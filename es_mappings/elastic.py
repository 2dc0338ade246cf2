"""The gallery in Elasticsearch: documents in one index, rejects in another beside it."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from descriptors.errors import RequestError
from es_mappings.documents import (
    Document,
    FirstHit,
    Known,
    Ready,
    Reject,
    check_document,
    check_meta,
    check_query,
    check_reject,
    fits_as_id,
)
from es_mappings.elastic_actions import deletion, reject_write, versioned_write
from es_mappings.elastic_bulk import Bulk, Outcome
from es_mappings.elastic_client import Server, answered
from es_mappings.errors import ContractError, DocumentsRefused
from es_mappings.fields import (
    DESCRIPTOR,
    document_of,
    known_of,
    reject_of,
    source_of,
)
from es_mappings.filter_query import named_meta, query_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from types import TracebackType

    from elasticsearch import Elasticsearch

    from es_mappings.filters import Filter

__all__ = ["MOST_HITS", "ElasticGallery", "gallery_settings"]

# Elasticsearch's own limit of k and of num_candidates.
MOST_HITS = 10_000

# A graph search looks at this many candidates for each hit wanted, and at no fewer than this:
# what it costs and finds is measured by `python -m benchmarks recall`.
_CANDIDATES_PER_HIT = 2
_LEAST_CANDIDATES = 200

_PAGE = 500
_ASK_AT_ONCE = 1000
_KEEP_LISTING = "5m"
_KNOWN_FIELDS = ["digest", "source_tag", "meta", "revision"]


class ElasticGallery:
    """One concrete index of pictures, and the rejects beside it.

    Convention:
        Opened by an alias it stays with the index behind it: its fingerprint is checked
        once, and an alias that is switched meanwhile never mixes two methods.
        A call that writes is not one step as in a folder: it may be half done when it
        fails. Every write may be repeated, and then ends as if it had been done once.
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
        self._settings = gallery_settings(self.index, body["mappings"])
        self._dims = int(body["mappings"]["properties"][DESCRIPTOR]["dims"])
        meta: dict[str, Any] = body["mappings"]["properties"].get("meta", {})
        self._meta_properties: dict[str, Any] = meta.get("properties", {})
        mapped = json.dumps(meta, sort_keys=True)
        self._meta_mapping = hashlib.sha256(mapped.encode()).hexdigest()

    @property
    def dims(self) -> int:
        """Dimensions of the descriptors."""
        return self._dims

    @property
    def fingerprint(self) -> str:
        """Of the method that made the descriptors."""
        return str(self._settings["fingerprint"])

    @property
    def settings(self) -> Mapping[str, Any]:
        """Every number behind the fingerprint, and where the maps are; see `indices.create`."""
        return self._settings

    @property
    def meta_mapping(self) -> str:
        """Digest of the mapping of ``meta`` when the gallery was opened."""
        return self._meta_mapping

    @property
    def meta_properties(self) -> Mapping[str, Any]:
        """Mapping of the fields of ``meta`` when the gallery was opened, as ``properties``."""
        return self._meta_properties

    def meta_names(self) -> list[str]:
        """Read the names out of the mapping; see `Gallery`."""
        names: list[str] = []
        waiting: list[tuple[str, dict[str, Any]]] = [("meta", self._properties().get("meta", {}))]
        while waiting:
            path, mapped = waiting.pop()
            inner = mapped.get("properties", {})
            waiting.extend((f"{path}.{name}", below) for name, below in inner.items())
            if mapped.get("type", "object") not in ("object", "nested"):
                names.append(path)
        return sorted(names)

    def put(self, documents: Sequence[Document]) -> None:
        """Write documents; a later revision that is there stays. See `Gallery`.

        Raises:
            MalformedDocument: one of them cannot be held; none is written.
            DocumentsRefused: Elasticsearch holds the others, but not these.
            GalleryUnreachable: it does not take them within the patience of `Bulk`.
        """
        self.put_ready(self.make_ready(documents))

    def make_ready(self, documents: Sequence[Document]) -> list[Ready]:
        """Check documents and write them as JSON; see `Gallery`.

        Raises:
            MalformedDocument: one of them cannot be held.
        """
        for document in documents:
            check_document(document, self.dims)
        return [Ready(document, self._written(document)) for document in documents]

    def put_ready(self, ready: Sequence[Ready], rejected: Collection[str] | None = None) -> None:
        """Write documents; see `put`.

        Raises:
            DocumentsRefused, GalleryUnreachable: see `put`.
        """
        # One write an id, since a second try might put two of them in the other order.
        in_order = sorted(ready, key=lambda one: one.document.revision)
        latest = {one.document.id: one.written for one in in_order}
        known = self._refused_before(list(latest)) if rejected is None else set(rejected)
        actions = list(latest.values())
        actions += [deletion(self._rejects, id_) for id_ in latest if id_ in known]
        _raise_refused(list(latest), self._write(actions)[: len(latest)])

    def put_rejects(self, rejects: Sequence[Reject]) -> None:
        """Note pictures that were refused; see `Gallery`.

        Raises:
            MalformedDocument: one of them cannot be held; none is written.
            GalleryUnreachable: see `put`.
        """
        for reject in rejects:
            check_reject(reject)
        latest = {reject.id: reject for reject in rejects}
        actions = [reject_write(self._rejects, reject) for reject in latest.values()]
        _raise_refused(list(latest), self._write(actions))

    def put_meta(self, ids_to_meta: Mapping[str, Mapping[str, Any]], revision: int = 0) -> None:
        """Replace metadata; see `Gallery`.

        Raises:
            MalformedDocument: one of them cannot be held, see `check_meta`; none is written.
            GalleryUnreachable: see `put`.
        """
        for id_, meta in ids_to_meta.items():
            check_meta(id_, meta)
        # Whole documents, since a partial update would count up the version, which is the
        # caller's revision.
        actions = {}
        for hit in self._found(self.index, list(ids_to_meta), whole=True):
            id_ = hit["_source"]["id"]
            newer = max(hit["_source"]["revision"], revision)
            source = {**hit["_source"], "meta": dict(ids_to_meta[id_]), "revision": newer}
            actions[id_] = versioned_write(self.index, id_, source, newer)
        _raise_refused(list(actions), self._write(list(actions.values())))

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Remove documents and rejects; returns the ids that were there, in the order given."""
        documents = self._deletions(ids)
        rejects = {id_: deletion(self._rejects, id_) for id_ in self._refused_before(ids)}
        self._write([*documents.values(), *rejects.values()])
        return [id_ for id_ in dict.fromkeys(ids) if id_ in documents or id_ in rejects]

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """Read the documents with these ids, even those no search sees yet."""
        sources = (hit["_source"] for hit in self._found(self.index, ids, whole=True))
        return {source["id"]: document_of(source) for source in sources if DESCRIPTOR in source}

    def known(self, ids: Sequence[str]) -> dict[str, Known]:
        """Read what is known of the documents with these ids."""
        hits = self._found(self.index, ids, _KNOWN_FIELDS)
        return {hit["_source"]["id"]: known_of(hit["_source"]) for hit in hits}

    def known_rejects(self, ids: Sequence[str]) -> dict[str, str]:
        """Read the source tags of the rejects with these ids."""
        hits = self._found(self._rejects, ids, ["source_tag"])
        return {hit["_source"]["id"]: hit["_source"]["source_tag"] for hit in hits}

    def known_and_rejects(self, ids: Sequence[str]) -> tuple[dict[str, Known], dict[str, str]]:
        """Read both in one request."""
        asked = [id_ for id_ in dict.fromkeys(ids) if fits_as_id(id_)]
        places = [{"_index": i, "_id": id_} for id_ in asked for i in (self.index, self._rejects)]
        known, tags = {}, {}
        # Only rejects have a kind.
        for hit in self._read(places, [*_KNOWN_FIELDS, "kind"]):
            source = hit["_source"]
            if "kind" in source:
                tags[source["id"]] = source["source_tag"]
            else:
                known[source["id"]] = known_of(source)
        return known, tags

    def documents(self, matching: Filter | None = None) -> Iterator[Document]:
        """List documents in order of their ids, as they are when the listing begins.

        Convention:
            One without a descriptor, which something else must have written, is left out.
        """
        query = self._query(matching)
        for source in self._listing(self.index, query, vectors=True):
            if DESCRIPTOR in source:
                yield document_of(source)

    def without_descriptor(self) -> Iterator[str]:
        """Ids of documents that no search can find, since they have no descriptor."""
        query = {"bool": {"must_not": [{"exists": {"field": DESCRIPTOR}}]}}
        for source in self._listing(self.index, query):
            yield source["id"]

    def rejects(self) -> Iterator[Reject]:
        """List all rejects in order of their ids, as they are when the listing begins."""
        for source in self._listing(self._rejects, {"match_all": {}}):
            yield reject_of(source)

    def count(self, matching: Filter | None = None) -> int:
        """Count the documents that a search sees."""
        query = self._query(matching)
        with answered("a count"):
            return int(self._client.count(index=self.index, query=query)["count"])

    def count_rejects(self) -> int:
        """Count the rejects that a search sees."""
        with answered("a count"):
            return int(self._client.count(index=self._rejects)["count"])

    def knn(
        self, vector: Float32[np.ndarray, " D"], k: int, matching: Filter | None = None
    ) -> list[FirstHit]:
        """Find the k documents with the highest cosine; see `Gallery`.

        Convention:
            As exact as the index's graph; copies of a picture are asked for until their
            order by id is sure.

        Raises:
            RequestError: the vector has other dimensions or no direction, k is more than
                10,000, or the filter names a field that is not there.
        """
        check_query(vector, self.dims)
        if k > MOST_HITS:
            raise RequestError(
                f"{k} hits are more than the {MOST_HITS:,} that Elasticsearch finds: ask for fewer."
            )
        query = self._query(matching)
        if k < 1:
            return []
        asked = k + 1
        while True:
            found = self._nearest(vector, asked, query)
            whole = len(found) < asked or asked >= MOST_HITS
            # With one more hit than wanted, the last two tell whether a tie is cut in two.
            if whole or found[k - 1].cosine > found[-1].cosine:
                return sorted(found, key=lambda hit: (-hit.cosine, hit.id))[:k]
            asked = min(4 * asked, MOST_HITS)

    def _nearest(
        self, vector: Float32[np.ndarray, " D"], k: int, query: dict[str, Any]
    ) -> list[FirstHit]:
        knn = {
            "field": DESCRIPTOR,
            "query_vector": vector.tolist(),
            "k": k,
            "num_candidates": min(max(_CANDIDATES_PER_HIT * k, _LEAST_CANDIDATES), MOST_HITS),
        }
        if "match_all" not in query:
            knn["filter"] = query
        with answered("a kNN search"):
            answer = self._client.search(
                index=self.index, knn=knn, size=k, source=False, track_total_hits=False
            )
        # The score of a dot product is (1 + dot) / 2.
        return [FirstHit(hit["_id"], 2 * hit["_score"] - 1) for hit in answer["hits"]["hits"]]

    def _query(self, matching: Filter | None) -> dict[str, Any]:
        properties: dict[str, Any] = {}
        if named_meta(matching):
            properties = self._properties()
        return query_of(matching, properties)

    def _properties(self) -> dict[str, Any]:
        """Those of the mapping, as it is now."""
        with answered("the mapping"):
            found = self._client.indices.get_mapping(index=self.index)
        properties: dict[str, Any] = found[self.index]["mappings"]["properties"]
        return properties

    def _written(self, document: Document) -> bytes:
        source = source_of(document, base64_vector=self.server.takes_base64)
        return versioned_write(self.index, document.id, source, document.revision)

    def _refused_before(self, ids: Sequence[str]) -> list[str]:
        return [hit["_source"]["id"] for hit in self._found(self._rejects, ids)]

    def _deletions(self, ids: Sequence[str]) -> dict[str, bytes]:
        """An action for each document that is there.

        Convention:
            With the document's own version, since Elasticsearch would otherwise count it up
            and then refuse the same revision when it comes again soon.
        """
        hits = self._found(self.index, ids)
        versions = {hit["_source"]["id"]: hit["_version"] for hit in hits}
        return {id_: deletion(self.index, id_, v) for id_, v in versions.items()}

    def _write(self, actions: Sequence[bytes]) -> list[Outcome]:
        return self._bulk.write(actions, refresh=self._refresh) if actions else []

    def _found(
        self, index: str, ids: Sequence[str], fields: Sequence[str] = (), *, whole: bool = False
    ) -> Iterator[dict[str, Any]]:
        """What is there of some ids, in their order; read in real time.

        Args:
            index: to ask.
            ids: that may be there.
            fields: of the document, beside its id.
            whole: all fields, the descriptor with them.
        """
        asked = [id_ for id_ in dict.fromkeys(ids) if fits_as_id(id_)]
        places = [{"_index": index, "_id": id_} for id_ in asked]
        yield from self._read(places, fields, whole=whole)

    def _read(
        self, places: Sequence[dict[str, str]], fields: Sequence[str], *, whole: bool = False
    ) -> Iterator[dict[str, Any]]:
        """What is there at some places, each an index and an id; see `_found`."""
        # Of what is not there nothing is answered: mostly that is everything.
        parameters: dict[str, Any] = {"filter_path": "docs._version,docs._source"}
        if not whole:
            parameters["_source_includes"] = ",".join(["id", *fields])
        elif self.server.leaves_vectors_out:
            parameters["_source_exclude_vectors"] = "false"
        for start in range(0, len(places), _ASK_AT_ONCE):
            with answered("documents by id"):
                answer = self._client.perform_request(
                    "POST",
                    "/_mget",
                    params=parameters,
                    headers={"accept": "application/json", "content-type": "application/json"},
                    body={"docs": places[start : start + _ASK_AT_ONCE]},
                )
            yield from answer.body.get("docs", [])

    def _listing(
        self, index: str, query: dict[str, Any], *, vectors: bool = False
    ) -> Iterator[dict[str, Any]]:
        """Every `_source` in order of ids, as of one moment."""
        more: dict[str, Any] = {}
        if vectors and self.server.leaves_vectors_out:
            more["source"] = {"exclude_vectors": False}
        with answered("a listing"):
            # A listing that leaves out the last seconds would let a rebuild leave them out, too.
            self._client.indices.refresh(index=index)
            pit = self._client.open_point_in_time(index=index, keep_alive=_KEEP_LISTING)["id"]
        try:
            while True:
                with answered("a listing"):
                    answer = self._client.search(
                        pit={"id": pit, "keep_alive": _KEEP_LISTING},
                        query=query,
                        sort=[{"id": "asc"}],
                        size=_PAGE,
                        track_total_hits=False,
                        **more,
                    )
                hits, pit = answer["hits"]["hits"], answer.get("pit_id", pit)
                yield from (hit["_source"] for hit in hits)
                if len(hits) < _PAGE:
                    return
                more["search_after"] = hits[-1]["sort"]
        finally:
            with answered("a listing"):
                self._client.close_point_in_time(id=pit)

    def close(self) -> None:
        """Let go of the connections."""
        self._client.close()

    def __enter__(self) -> ElasticGallery:  # noqa: PYI034 - beartype cannot check Self in a method
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def gallery_settings(index: str, mappings: Mapping[str, Any]) -> dict[str, Any]:
    """What an index says of the method that made it.

    Raises:
        ContractError: if it says nothing.
    """
    about: dict[str, Any] = mappings.get("_meta", {}).get("camsearch", {})
    if "fingerprint" not in about or DESCRIPTOR not in mappings.get("properties", {}):
        raise ContractError(
            f"The index {index} does not say which method made its descriptors, so none can be "
            "compared with them: make it with `camsearch gallery create`."
        )
    return about


def _raise_refused(ids: Sequence[str], outcomes: Sequence[Outcome]) -> None:
    """Say which documents Elasticsearch will never take.

    Raises:
        DocumentsRefused: if there are any.
    """
    reasons = {
        id_: f"Elasticsearch cannot hold it ({o.reason or o.status}): change that field, or map it."
        for id_, o in zip(ids, outcomes, strict=True)
        if not o.done
    }
    if reasons:
        id_, reason = next(iter(reasons.items()))
        raise DocumentsRefused(
            f"{len(reasons)} of {len(ids)} documents were refused, such as {id_!r}: {reason}",
            reasons,
        )
