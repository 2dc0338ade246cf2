"""What the gallery says of itself as a cluster with one index."""

from __future__ import annotations

from typing import Any

from es_mappings.indices import IndexPlan
from es_mappings.local import LocalGallery

__all__ = ["aliases", "health", "index_rows", "index_settings", "info", "mapping"]

# Whose dialect is spoken: that of the Elasticsearch that the contract suite compares with.
_VERSION = {
    "number": "9.5.3",
    "build_flavor": "default",
    "build_type": "camsearch",
    "build_hash": "local",
    "build_date": "2026-09-01T00:00:00.000Z",
    "build_snapshot": False,
    "lucene_version": "10.5.1",
    "minimum_wire_compatibility_version": "8.19.0",
    "minimum_index_compatibility_version": "8.0.0",
}
_NAME = "camsearch"
_ID_DIGITS = 22


def info(gallery: LocalGallery) -> dict[str, Any]:
    """The answer to ``GET /``, which clients ask for a version."""
    return {
        "name": _NAME,
        "cluster_name": _NAME,
        "cluster_uuid": _uuid(gallery),
        "version": _VERSION,
        "tagline": "You Know, for Search",
    }


def mapping(gallery: LocalGallery) -> dict[str, Any]:
    """The mapping that an index of these documents has, with what is known of the method."""
    about = {
        **gallery.settings,
        "fingerprint": gallery.fingerprint,
        "dims": gallery.dims,
    }
    # Every vector is looked at, as in a flat index.
    body = IndexPlan(graph="flat", replicas=0).body(about, gallery.dims)
    mappings: dict[str, Any] = body["mappings"]
    return mappings


def index_settings(gallery: LocalGallery, index: str) -> dict[str, Any]:
    """The settings of an index with one shard and no copy."""
    settings = {
        "number_of_shards": "1",
        "number_of_replicas": "0",
        "provided_name": index,
        "uuid": _uuid(gallery),
    }
    return {"index": settings}


def aliases(index: str) -> dict[str, Any]:
    """The index is its own name; it has no other."""
    return {index: {"aliases": {}}}


def health() -> dict[str, Any]:
    """The health of one node that is there."""
    nothing = (
        "relocating_shards",
        "initializing_shards",
        "unassigned_shards",
        "unassigned_primary_shards",
        "delayed_unassigned_shards",
        "number_of_pending_tasks",
        "number_of_in_flight_fetch",
        "task_max_waiting_in_queue_millis",
    )
    return {
        "cluster_name": _NAME,
        "status": "green",
        "timed_out": False,
        "number_of_nodes": 1,
        "number_of_data_nodes": 1,
        "active_primary_shards": 1,
        "active_shards": 1,
        **dict.fromkeys(nothing, 0),
        "active_shards_percent_as_number": 100.0,
    }


def index_rows(gallery: LocalGallery, index: str) -> list[dict[str, str]]:
    """The answer to ``GET /_cat/indices?format=json``."""
    row = {
        "health": "green",
        "status": "open",
        "index": index,
        "uuid": _uuid(gallery),
        "pri": "1",
        "rep": "0",
        "docs.count": str(gallery.count()),
        "docs.deleted": "0",
    }
    return [row]


def _uuid(gallery: LocalGallery) -> str:
    return gallery.fingerprint[:_ID_DIGITS]
