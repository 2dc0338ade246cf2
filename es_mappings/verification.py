"""Find common mistakes in an index of vectors, with their remedies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from es_mappings.elastic_client import Server, answered, packaged_json
from es_mappings.fields import DESCRIPTOR
from es_mappings.indices import live_index, rejects_index, write_alias
from es_mappings.windows import (
    EARLY_TERMINATION,
    PROFILES,
    REGIONS,
    VECTOR,
    regions_mapping,
)
from galleries.gallery import windows_count

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from elasticsearch import Elasticsearch

__all__ = ["Finding", "verify_gallery"]


@dataclass(frozen=True)
class Finding:
    """A mistake and its remedy, a sentence each.

    Attributes:
        fatal: whether searches are wrong or fail, not just slow or incomplete.
    """

    problem: str
    remedy: str
    fatal: bool = True


_REBUILD = "Run `camsearch gallery rebuild` and `camsearch gallery switch`."


def verify_gallery(client: Elasticsearch, gallery: str) -> list[Finding]:
    """Check a gallery for common mistakes.

    Raises:
        GalleryUnreachable: the server does not respond.
        ContractError: an index has the gallery's name, or the alias points to several.
    """
    index = live_index(client, gallery)
    if index is None:
        return [Finding(f"There is no gallery {gallery}.", "Run `camsearch gallery create`.")]
    with answered(f"the gallery {gallery}"):
        mappings = client.indices.get_mapping(index=index)[index]["mappings"]
    return [
        *_of_aliases(client, gallery, index),
        *_of_method(mappings),
        *_of_vectors(mappings),
        *_of_windows(mappings),
        *_of_early_termination(client, index, mappings),
        *_of_documents(client, index),
    ]


def _of_aliases(client: Elasticsearch, gallery: str, index: str) -> Iterator[Finding]:
    alias = write_alias(gallery)
    with answered(f"the alias {alias}"):
        there = client.indices.exists_alias(name=alias)
        behind = sorted(client.indices.get_alias(name=alias)) if there else []
        has_rejects = client.indices.exists(index=rejects_index(gallery))
    if behind != [index]:
        yield Finding(
            f"Workers write to {', '.join(behind) or 'nothing'}, searches read {index}.",
            f"Run `camsearch gallery switch {index}`.",
        )
    if not has_rejects:
        yield Finding(
            f"There is no index {rejects_index(gallery)} for rejects.",
            "Run `camsearch gallery create` again: it creates the missing index.",
        )


def _of_method(mappings: Mapping[str, Any]) -> Iterator[Finding]:
    if "fingerprint" not in mappings.get("_meta", {}).get("camsearch", {}):
        yield Finding(
            "The index does not say which method made its descriptors (_meta.camsearch).",
            _REBUILD,
        )
    if mappings.get("dynamic") != "strict":
        yield Finding(
            "The mapping accepts unknown fields (`dynamic` is not strict), so misspelt ones are "
            "not noticed.",
            _REBUILD,
            fatal=False,
        )


def _of_vectors(mappings: Mapping[str, Any]) -> Iterator[Finding]:
    field = mappings.get("properties", {}).get(DESCRIPTOR)
    if field is None or field.get("type") != "dense_vector":
        kind = "missing" if field is None else f"of type {field.get('type')}"
        yield Finding(f"The field {DESCRIPTOR} is {kind}, not a dense_vector.", _REBUILD)
        return
    expected = packaged_json("images.json")["mappings"]["properties"][DESCRIPTOR]
    about = mappings.get("_meta", {}).get("camsearch", {})
    dims = about.get("dims", expected["dims"])
    if field.get("dims") != dims:
        yield Finding(
            f"The field {DESCRIPTOR} has {field.get('dims')} dimensions, the method has {dims}.",
            _REBUILD,
        )
    if field.get("index") is False:
        yield Finding(
            f"The field {DESCRIPTOR} is not indexed (`index: false`), so no kNN search finds it.",
            _REBUILD,
        )
    elif field.get("similarity") != expected["similarity"]:
        yield Finding(
            f"The field {DESCRIPTOR} has the similarity {field.get('similarity')}, camsearch needs "
            f"{expected['similarity']}.",
            _REBUILD,
        )
    yield from _of_graph(field.get("index_options", {}))


def _of_graph(options: Mapping[str, Any]) -> Iterator[Finding]:
    kind = options.get("type")
    if kind is None:
        yield Finding(
            "The field has no index_options: from 384 dimensions on Elasticsearch then uses "
            "bbq_hnsw, which has a lower recall.",
            _REBUILD,
            fatal=False,
        )
    elif kind.startswith("bbq") and not options.get("rescore_vector", {}).get("oversample"):
        yield Finding(
            f"The vectors are stored as {kind} without rescoring.",
            "Search with `rescore_vector: {oversample: 3}`, or rebuild, which puts it into the "
            "mapping.",
            fatal=False,
        )


def _of_windows(mappings: Mapping[str, Any]) -> Iterator[Finding]:
    """Whether `regions` is mapped as `IndexPlan` maps it."""
    about = mappings.get("_meta", {}).get("camsearch", {})
    field = mappings.get("properties", {}).get(REGIONS)
    if not windows_count(about):
        return
    if field is None or field.get("type") != "nested":
        kind = "missing" if field is None else f"of type {field.get('type', 'object')}"
        yield Finding(f"The field {REGIONS} is {kind}, not nested, so windows are lost.", _REBUILD)
        return
    made = regions_mapping(about["dims"], about.get("profile", "rerank"))["properties"]["vector"]
    there = field.get("properties", {}).get("vector", {})
    changed = [name for name, value in made.items() if there.get(name, True) != value]
    if changed:
        yield Finding(
            f"The field {VECTOR} is not mapped as camsearch maps it ({', '.join(changed)}). With "
            "another index type the score of a hit may be lower than that of its `inner_hits` "
            "(Elasticsearch issues 138011 and 138496).",
            _REBUILD,
            fatal=bool({"type", "element_type", "dims", "similarity", "index"} & set(changed)),
        )


def _of_early_termination(
    client: Elasticsearch, index: str, mappings: Mapping[str, Any]
) -> Iterator[Finding]:
    """Whether searches of a graph of windows stop too early."""
    regions = mappings.get("properties", {}).get(REGIONS, {})
    options = regions.get("properties", {}).get("vector", {}).get("index_options", {})
    has_graph = options.get("type") == PROFILES["search"]["type"]
    if not has_graph or not Server.of(client).may_terminate_early:
        return
    with answered(f"the settings of {index}"):
        found = client.indices.get_settings(
            index=index, name=EARLY_TERMINATION, flat_settings=True, include_defaults=True
        )[index]
    if str({**found.get("defaults", {}), **found["settings"]}.get(EARLY_TERMINATION)) == "true":
        yield Finding(
            f"{EARLY_TERMINATION} is true: searches of windows stop early and miss images "
            "(recall .70 in the place of .98).",
            f'Set it to false: `PUT /{index}/_settings` with `{{"{EARLY_TERMINATION}": false}}`.',
            fatal=False,
        )


def _of_documents(client: Elasticsearch, index: str) -> Iterator[Finding]:
    with answered(f"a count of {index}"):
        client.indices.refresh(index=index)
        total = client.count(index=index)["count"]
        held = client.count(index=index, query={"exists": {"field": DESCRIPTOR}})["count"]
        ignored = client.count(index=index, query={"exists": {"field": "_ignored"}})["count"]
    if held != total:
        yield Finding(
            f"{total - held} of {total} documents have no descriptor, so no search finds them: "
            "they were written by another program, or copied without their vectors.",
            "Index those images again: `camsearch gallery reconcile` lists and enqueues them.",
        )
    if ignored:
        yield Finding(
            f"{ignored} of {total} documents have values that filters cannot find: of another "
            "type than the first of that field, or longer than 8,191 characters.",
            "Give the field a mapping with `--meta-mapping`, and rebuild.",
            fatal=False,
        )
