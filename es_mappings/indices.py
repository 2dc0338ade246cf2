"""Create, find, switch and drop the indices of a gallery in Elasticsearch.

    images-1f3a9c02-1      a concrete index: gallery, first digits of the fingerprint, number
    images                 the alias for searches
    images-write           the alias for workers
    images-rejects         rejects with their reasons

Both aliases point to the same concrete index, except during a rebuild.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_client import Server, answered, packaged_json
from es_mappings.fields import DESCRIPTOR, gallery_settings
from es_mappings.windows import EARLY_TERMINATION, Profile, add_windows
from galleries.errors import ContractError, FingerprintMismatch, GalleryNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elasticsearch import Elasticsearch

    from es_mappings.elastic_bulk import Bulk

__all__ = [
    "OVERSAMPLE",
    "Graph",
    "IndexPlan",
    "create_beside",
    "create_gallery",
    "drop_gallery",
    "indices_of",
    "live_index",
    "open_gallery",
    "rejects_index",
    "switch_gallery",
    "target_of",
    "write_alias",
]

Graph = Literal["int8_hnsw", "hnsw", "int4_hnsw", "bbq_hnsw", "flat", "int8_flat"]

# Quantised vectors: this multiple of k hits is rescored with the original vectors, which makes
# cosines exact at almost no cost (measured by `python -m benchmarks recall`).
OVERSAMPLE = {"int8_hnsw": 1.5, "int8_flat": 1.5, "int4_hnsw": 3.0, "bbq_hnsw": 3.0}

# Timeout for creating an index. Not retried, since the first request may have succeeded.
_CREATE_S = 300.0

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
_FINGERPRINT_DIGITS = 8
_CONCRETE = re.compile(rf"(?P<gallery>.+)-[0-9a-f]{{{_FINGERPRINT_DIGITS}}}-[0-9]+")


@dataclass(frozen=True)
class IndexPlan:
    """Options of a new index; docs/operations.md compares their costs.

    Attributes:
        graph: type of the vector index.
        shards, replicas: of the index.
        meta_mapping: explicit mapping of the caller's fields, as the ``properties`` of
            an object; other fields are mapped dynamically.
        profile: of the windows, if the method has any: `rerank` compares them exactly, `search`
            has a graph of them.
    """

    graph: Graph = "int8_hnsw"
    shards: int = 1
    replicas: int = 1
    meta_mapping: Mapping[str, Any] | None = None
    profile: Profile = "rerank"

    def body(self, about: Mapping[str, Any], dims: int) -> dict[str, Any]:
        """The body of the request that creates the index."""
        body = packaged_json("images.json")
        index = body["settings"]["index"]
        index["number_of_shards"], index["number_of_replicas"] = self.shards, self.replicas
        mappings = body["mappings"]
        mappings["_meta"]["camsearch"] |= about
        descriptor = mappings["properties"][DESCRIPTOR]
        descriptor["dims"] = dims
        options = descriptor["index_options"] | {"type": self.graph}
        if self.graph.endswith("flat"):
            del options["m"], options["ef_construction"]
        del options["rescore_vector"]
        if self.graph in OVERSAMPLE:
            options["rescore_vector"] = {"oversample": OVERSAMPLE[self.graph]}
        descriptor["index_options"] = options
        add_windows(mappings, about, dims, self.profile)
        if self.meta_mapping:
            mappings["properties"]["meta"]["properties"] = dict(self.meta_mapping)
        return body


def write_alias(gallery: str) -> str:
    """The alias for workers."""
    return f"{gallery}-write"


def rejects_index(gallery: str) -> str:
    """The index of rejects."""
    return f"{gallery}-rejects"


def target_of(name: str) -> tuple[str, str]:
    """The gallery and the index to write to, from the name of a gallery or concrete index."""
    concrete = _CONCRETE.fullmatch(name)
    return (concrete["gallery"], name) if concrete else (name, write_alias(name))


def open_gallery(
    client: Elasticsearch, name: str, bulk: Bulk | None = None, server: Server | None = None
) -> ElasticGallery:
    """The index that workers write to, from the name of a gallery or concrete index.

    Raises:
        GalleryNotFound: there is none.
        GalleryUnreachable: Elasticsearch does not respond.
    """
    gallery, index = target_of(name)
    return ElasticGallery(client, index, rejects_index(gallery), bulk=bulk, server=server)


def create_gallery(
    client: Elasticsearch,
    gallery: str,
    about: Mapping[str, Any],
    dims: int,
    plan: IndexPlan | None = None,
) -> str:
    """Create a gallery with its aliases if needed, and return its concrete index.

    Args:
        client: of the server.
        gallery: its name, the alias for searches.
        about: description of the method with its ``fingerprint``; stored in the mapping's
            ``_meta.camsearch``.
        dims: of the descriptors.
        plan: options of a new index.

    Raises:
        FingerprintMismatch: the existing gallery was made by another method.
        RequestError: Elasticsearch refuses the name or the mapping.
        GalleryUnreachable: the server does not respond.
    """
    live = live_index(client, gallery)
    if live is not None:
        with answered(f"the gallery {gallery}"):
            mappings = client.indices.get_mapping(index=live)[live]["mappings"]
        there = gallery_settings(live, mappings)["fingerprint"]
        if there != about["fingerprint"]:
            raise FingerprintMismatch(
                f"The gallery {gallery} was made by another method ({there[:16]}) than yours "
                f"({about['fingerprint'][:16]}): run `camsearch gallery rebuild` to replace it "
                "without downtime, or choose another name."
            )
        _make_rejects(client, gallery, plan or IndexPlan())
        return live
    index = create_beside(client, gallery, about, dims, plan)
    switch_gallery(client, gallery, index)
    return index


def create_beside(
    client: Elasticsearch,
    gallery: str,
    about: Mapping[str, Any],
    dims: int,
    plan: IndexPlan | None = None,
) -> str:
    """Create a concrete index without aliases; see `create_gallery`."""
    _check_name(gallery)
    prefix = f"{gallery}-{str(about['fingerprint'])[:_FINGERPRINT_DIGITS]}-"
    taken = [name for name in indices_of(client, gallery) if name.startswith(prefix)]
    index = f"{prefix}{max((int(name[len(prefix) :]) for name in taken), default=0) + 1}"
    with answered(f"a new index {index}"):
        patient = client.options(request_timeout=_CREATE_S, max_retries=0)
        body = (plan or IndexPlan()).body(about, dims)
        has_graph = body["mappings"]["_meta"]["camsearch"].get("profile") == "search"
        if has_graph and Server.of(client).may_terminate_early:
            body["settings"][EARLY_TERMINATION] = False
        patient.indices.create(index=index, **body)
    _make_rejects(client, gallery, plan or IndexPlan())
    return index


def _make_rejects(client: Elasticsearch, gallery: str, plan: IndexPlan) -> None:
    body = packaged_json("rejects.json")
    body["settings"]["index"]["number_of_replicas"] = plan.replicas
    name = rejects_index(gallery)
    with answered(f"a new index {name}"):
        if not client.indices.exists(index=name):
            # Another process may create it at the same time.
            client.options(ignore_status=400).indices.create(index=name, **body)


def switch_gallery(client: Elasticsearch, gallery: str, index: str) -> None:
    """Point both aliases at a concrete index, atomically.

    Raises:
        GalleryNotFound: there is no such index.
        ContractError: an index has the gallery's name.
    """
    _check_is_alias(client, gallery)
    actions: list[dict[str, Any]] = []
    for alias in (gallery, write_alias(gallery)):
        olds = [old for old in _behind(client, alias) if old != index]
        actions += [{"remove": {"index": old, "alias": alias}} for old in olds]
        actions.append({"add": {"index": index, "alias": alias}})
    with answered(f"switching {gallery} to {index}"):
        # Make the last writes visible to searches, which may be all of a new index.
        client.indices.refresh(index=index)
        client.indices.update_aliases(actions=actions)


def drop_gallery(client: Elasticsearch, gallery: str, index: str | None = None) -> list[str]:
    """Delete an index that is not live, or a whole gallery; return the names of the indices.

    Args:
        client: of the server.
        gallery: its name.
        index: one of its concrete indices; None for all of them, and the rejects.

    Raises:
        GalleryNotFound: there is no such index.
        ContractError: the index is live.
    """
    if index is not None and index == live_index(client, gallery):
        raise ContractError(
            f"{index} is the live index of {gallery}: switch to another index first, or drop "
            "the whole gallery."
        )
    names = [name for name in indices_of(client, gallery) if index in (None, name)]
    if not names:
        raise GalleryNotFound(
            f"There is no index {index or gallery} to drop: see `camsearch gallery list`."
        )
    if index is None:
        names.append(rejects_index(gallery))
    with answered("deleting indices"):
        client.indices.delete(index=names, ignore_unavailable=True)
    return names


def indices_of(client: Elasticsearch, gallery: str) -> list[str]:
    """The concrete indices of a gallery, in order of their names."""
    with answered("the list of indices"):
        found = client.indices.get_mapping(index=f"{gallery}-*", allow_no_indices=True)
    concrete = {name: _CONCRETE.fullmatch(name) for name in found}
    return sorted(n for n, match in concrete.items() if match and match["gallery"] == gallery)


def live_index(client: Elasticsearch, gallery: str) -> str | None:
    """The concrete index that searches use; None if there is none.

    Raises:
        ContractError: the alias points to several.
    """
    _check_name(gallery)
    _check_is_alias(client, gallery)
    behind = _behind(client, gallery)
    if len(behind) > 1:
        raise ContractError(
            f"The alias {gallery} points to {', '.join(behind)}, so a search would mix them: "
            f"run `camsearch gallery switch INDEX --force` with one of them."
        )
    return behind[0] if behind else None


def _behind(client: Elasticsearch, alias: str) -> list[str]:
    with answered(f"the alias {alias}"):
        if not client.indices.exists_alias(name=alias):
            return []
        return sorted(client.indices.get_alias(name=alias))


def _check_is_alias(client: Elasticsearch, gallery: str) -> None:
    """Refuse an index of the gallery's name, made by hand or by a write before `create_gallery`."""
    with answered(f"the gallery {gallery}"):
        is_there = client.indices.exists(index=gallery)
        is_alias = client.indices.exists_alias(name=gallery)
    if is_there and not is_alias:
        raise ContractError(
            f"{gallery} is an index, where camsearch needs an alias: delete or rename that index, "
            "or choose another name for the gallery."
        )


def _check_name(gallery: str) -> None:
    if not _NAME.fullmatch(gallery):
        raise ContractError(
            f"{gallery!r} is not a valid gallery name: use at most 100 lower-case letters, digits, "
            "- _ and ., with a letter or digit first."
        )
