"""The indices of a gallery in Elasticsearch: made, checked, switched and dropped.

    images-1f3a9c02-1      a concrete index: gallery, first digits of the fingerprint, number
    images                 the alias that searches go to
    images-write           the alias that workers write to
    images-rejects         what could not be indexed, with the reasons

Both aliases stand for the same concrete index but while one is rebuilt beside it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_client import answered, packaged_json
from es_mappings.fields import DESCRIPTOR, gallery_settings
from galleries.errors import ContractError, FingerprintMismatch, GalleryNotFound

if TYPE_CHECKING:
    from collections.abc import Mapping

    from elasticsearch import Elasticsearch

    from es_mappings.elastic_bulk import Bulk
    from es_mappings.elastic_client import Server

__all__ = [
    "OVERSAMPLE",
    "Graph",
    "IndexPlan",
    "create",
    "create_beside",
    "drop",
    "indices_of",
    "live_index",
    "open_gallery",
    "rejects_index",
    "switch",
    "target_of",
    "write_alias",
]

Graph = Literal["int8_hnsw", "hnsw", "int4_hnsw", "bbq_hnsw", "flat", "int8_flat"]

# Where vectors are kept in fewer bits, so many times k hits are compared again by the whole
# vectors: measured by `python -m benchmarks recall`, it costs next to nothing and makes cosines exact.
OVERSAMPLE = {"int8_hnsw": 1.5, "int8_flat": 1.5, "int4_hnsw": 3.0, "bbq_hnsw": 3.0}

# Seconds to wait for a new index. The request is not repeated: the first one may have made it, and
# the second would be refused.
_CREATE_S = 300.0

_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,99}")
_FINGERPRINT_DIGITS = 8
_CONCRETE = re.compile(rf"(?P<gallery>.+)-[0-9a-f]{{{_FINGERPRINT_DIGITS}}}-[0-9]+")


@dataclass(frozen=True)
class IndexPlan:
    """How an index is laid out; see docs/operations.md for what each costs.

    Attributes:
        graph: how Elasticsearch keeps and searches vectors.
        shards, replicas: of the index.
        meta_mapping: an explicit mapping for the caller's fields, as the ``properties`` of
            an object; what is not named is mapped when it first comes.
    """

    graph: Graph = "int8_hnsw"
    shards: int = 1
    replicas: int = 1
    meta_mapping: Mapping[str, Any] | None = None

    def body(self, about: Mapping[str, Any], dims: int) -> dict[str, Any]:
        """The body of the request that makes the index."""
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
        if self.meta_mapping:
            mappings["properties"]["meta"]["properties"] = dict(self.meta_mapping)
        return body


def write_alias(gallery: str) -> str:
    """For workers."""
    return f"{gallery}-write"


def rejects_index(gallery: str) -> str:
    """Where rejects are noted."""
    return f"{gallery}-rejects"


def target_of(name: str) -> tuple[str, str]:
    """The gallery and the index to write to, of a gallery's name or of a concrete index of it."""
    concrete = _CONCRETE.fullmatch(name)
    return (concrete["gallery"], name) if concrete else (name, write_alias(name))


def open_gallery(
    client: Elasticsearch, name: str, bulk: Bulk | None = None, server: Server | None = None
) -> ElasticGallery:
    """The index that workers write to, of a gallery's name or of a concrete index of it.

    Raises:
        GalleryNotFound: there is none.
        GalleryUnreachable: Elasticsearch does not answer.
    """
    gallery, index = target_of(name)
    return ElasticGallery(client, index, rejects_index(gallery), bulk=bulk, server=server)


def create(
    client: Elasticsearch,
    gallery: str,
    about: Mapping[str, Any],
    dims: int,
    plan: IndexPlan | None = None,
) -> str:
    """Make a gallery with its aliases, or find the one that is there.

    Args:
        client: of the server.
        gallery: its name, the read alias.
        about: every number behind the descriptors, with their ``fingerprint``; kept in
            the mapping's ``_meta.camsearch``.
        dims: of the descriptors.
        plan: see `IndexPlan`; for an index that is made.

    Returns:
        The name of the concrete index.

    Raises:
        FingerprintMismatch: the gallery is there, made by another method.
        RequestError: for a name that Elasticsearch cannot take, or a mapping.
        GalleryUnreachable: the server does not answer.
    """
    live = live_index(client, gallery)
    if live is not None:
        with answered(f"the gallery {gallery}"):
            mappings = client.indices.get_mapping(index=live)[live]["mappings"]
        there = gallery_settings(live, mappings)["fingerprint"]
        if there != about["fingerprint"]:
            raise FingerprintMismatch(
                f"The gallery {gallery} was made by another method ({there[:16]}) than yours "
                f"({about['fingerprint'][:16]}): run `camsearch gallery rebuild` to change it "
                "while it is searched, or choose another name."
            )
        _make_rejects(client, gallery, plan or IndexPlan())
        return live
    index = create_beside(client, gallery, about, dims, plan)
    switch(client, gallery, index)
    return index


def create_beside(
    client: Elasticsearch,
    gallery: str,
    about: Mapping[str, Any],
    dims: int,
    plan: IndexPlan | None = None,
) -> str:
    """Make a concrete index that no alias stands for yet; see `create`."""
    _check_name(gallery)
    prefix = f"{gallery}-{str(about['fingerprint'])[:_FINGERPRINT_DIGITS]}-"
    taken = [name for name in indices_of(client, gallery) if name.startswith(prefix)]
    index = f"{prefix}{max((int(name[len(prefix) :]) for name in taken), default=0) + 1}"
    with answered(f"a new index {index}"):
        patient = client.options(request_timeout=_CREATE_S, max_retries=0)
        patient.indices.create(index=index, **(plan or IndexPlan()).body(about, dims))
    _make_rejects(client, gallery, plan or IndexPlan())
    return index


def _make_rejects(client: Elasticsearch, gallery: str, plan: IndexPlan) -> None:
    body = packaged_json("rejects.json")
    body["settings"]["index"]["number_of_replicas"] = plan.replicas
    name = rejects_index(gallery)
    with answered(f"a new index {name}"):
        if not client.indices.exists(index=name):
            # Another process may be as fast.
            client.options(ignore_status=400).indices.create(index=name, **body)


def switch(client: Elasticsearch, gallery: str, index: str) -> None:
    """Point both aliases at a concrete index, in one step that no search can fall between.

    Raises:
        GalleryNotFound: there is no such index.
        ContractError: the gallery's name is taken by an index.
    """
    _check_is_alias(client, gallery)
    actions: list[dict[str, Any]] = []
    for alias in (gallery, write_alias(gallery)):
        olds = [old for old in _behind(client, alias) if old != index]
        actions += [{"remove": {"index": old, "alias": alias}} for old in olds]
        actions.append({"add": {"index": index, "alias": alias}})
    with answered(f"switching {gallery} to {index}"):
        # What was written in the last seconds is seen by no search yet, which in an index that
        # was just filled may be all.
        client.indices.refresh(index=index)
        client.indices.update_aliases(actions=actions)


def drop(client: Elasticsearch, gallery: str, index: str | None = None) -> list[str]:
    """Delete a concrete index that is not live, or a gallery with all of its indices.

    Args:
        client: of the server.
        gallery: its name.
        index: one of its concrete indices; None for all of them, and the rejects.

    Returns:
        The names of what is deleted.

    Raises:
        GalleryNotFound: there is nothing of that name.
        ContractError: the index is live.
    """
    if index is not None and index == live_index(client, gallery):
        raise ContractError(
            f"{index} is what {gallery} stands for now: switch to another index first, or drop "
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
    """The concrete index that searches go to; None if there is none.

    Raises:
        ContractError: the alias stands for several.
    """
    _check_name(gallery)
    _check_is_alias(client, gallery)
    behind = _behind(client, gallery)
    if len(behind) > 1:
        raise ContractError(
            f"The alias {gallery} stands for {', '.join(behind)}, so a search would mix them: "
            f"run `camsearch gallery switch INDEX --force` with one of them."
        )
    return behind[0] if behind else None


def _behind(client: Elasticsearch, alias: str) -> list[str]:
    with answered(f"the alias {alias}"):
        if not client.indices.exists_alias(name=alias):
            return []
        return sorted(client.indices.get_alias(name=alias))


def _check_is_alias(client: Elasticsearch, gallery: str) -> None:
    """An index of the gallery's own name was made by hand, or by a write before `create`."""
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
            f"{gallery!r} cannot name a gallery: use lower-case letters, digits, - _ and ., "
            "at most 100, with a letter or digit first."
        )
