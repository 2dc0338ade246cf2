"""Windows in real indices: profiles, shards, deletions, findings."""

from __future__ import annotations

import re

import numpy as np
import pytest

from es_mappings import elastic_nearest, indices
from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_client import Server
from es_mappings.verification import verify_gallery
from es_mappings.windows import EARLY_TERMINATION
from galleries.errors import NoWindows
from tests.support.documents import document, unit, windows

DIMS, COUNT, MANY = 64, 120, 14
ABOUT = {"fingerprint": "a1b2c3d4" + "0" * 56, "dims": DIMS, "method": {"windows": MANY}}


def images(seed=3):
    """Documents, each with 14 random windows."""
    rows = np.random.default_rng(seed).standard_normal((COUNT, MANY, DIMS))
    return {
        f"{i:03d}": document(f"{i:03d}", one.mean(axis=0), windows=windows(*one))
        for i, one in enumerate(rows)
    }


def created(client, name, profile, shards=1):
    plan = indices.IndexPlan(shards=shards, replicas=0, profile=profile)
    index = indices.create_gallery(client, name, ABOUT, DIMS, plan)
    return ElasticGallery(client, index, indices.rejects_index(name), refresh=True)


def ranked(documents, vector, k):
    """Ids in the order of their most similar window, for the query as 8-bit levels."""
    levels = np.rint(vector * (127 / np.abs(vector).max())).astype(np.float32)
    levels /= np.linalg.norm(levels)
    best = {id_: one.windows.cosines(levels).max() for id_, one in documents.items()}
    return sorted(best, key=lambda id_: (-best[id_], id_))[:k]


@pytest.mark.parametrize("shards", [1, 3])
@pytest.mark.parametrize("profile", ["rerank", "search"])
def test_among_ids_windows_are_compared_exactly(client, name, profile, shards):
    there = images()
    gallery = created(client, name, profile, shards)
    gallery.put(list(there.values()))
    gallery.put([one for id_, one in images(4).items() if id_ < "050"])
    there |= {id_: one for id_, one in images(4).items() if id_ < "050"}
    for id_ in gallery.delete(["060", "061"]):
        del there[id_]
    for seed in range(5):
        vector = unit(np.random.default_rng(100 + seed).standard_normal(DIMS))
        asked = {id_: one for id_, one in there.items() if int(id_) % 7 != seed}
        hits = gallery.knn_windows(vector, 40, among=list(asked))
        assert [hit.id for hit in hits] == ranked(asked, vector, 40)
        if profile == "rerank":
            hits = gallery.knn_windows(vector, 40)
            assert [hit.id for hit in hits] == ranked(there, vector, 40)


def test_a_large_gallery_compares_the_windows_of_its_first_hits(client, name, monkeypatch):
    there = images()
    gallery = created(client, name, "rerank")
    gallery.put(list(there.values()))
    monkeypatch.setattr(elastic_nearest, "_ALL_WINDOWS", MANY * COUNT - 1)
    monkeypatch.setattr(elastic_nearest, "FIRST_DOCUMENTS", 20)
    vector = unit(np.random.default_rng(9).standard_normal(DIMS))
    first = {hit.id: there[hit.id] for hit in gallery.knn(vector, 20)}
    hits = gallery.knn_windows(vector, 5)
    assert [hit.id for hit in hits] == ranked(first, vector, 5)


def test_an_index_says_how_windows_are_stored(client, name):
    gallery = created(client, name, "search")
    mapping = client.indices.get_mapping(index=gallery.index)[gallery.index]["mappings"]
    assert mapping["_meta"]["camsearch"]["profile"] == "search"
    vector = mapping["properties"]["regions"]["properties"]["vector"]
    assert (vector["element_type"], vector["index_options"]["type"]) == ("byte", "hnsw")
    assert verify_gallery(client, name) == []


def test_early_termination_is_found(client, name):
    if not Server.of(client).may_terminate_early:
        pytest.skip("this version has no early termination")
    gallery = created(client, name, "search")
    client.indices.put_settings(index=gallery.index, settings={EARLY_TERMINATION: True})
    (finding,) = verify_gallery(client, name)
    assert "searches of windows stop early" in finding.problem
    assert not finding.fatal


@pytest.mark.parametrize(
    ("change", "problem", "fatal"),
    [
        ("similarity", r"is not mapped as camsearch maps it \(similarity\)", True),
        ("object", "is of type object, not nested", True),
        ("missing", "is missing, not nested", True),
        ("graph", r"is not mapped as camsearch maps it \(index_options\)", False),
    ],
    ids=["similarity", "object", "missing", "graph"],
)
def test_another_mapping_of_windows_is_found(client, name, change, problem, fatal):
    body = indices.IndexPlan(replicas=0).body(ABOUT, DIMS)
    properties = body["mappings"]["properties"]
    if change == "object":
        properties["regions"] = {"properties": {}}
    elif change == "missing":
        del properties["regions"]
    elif change == "graph":
        options = {"type": "hnsw", "m": 4, "ef_construction": 50}
        properties["regions"]["properties"]["vector"]["index_options"] = options
        if Server.of(client).may_terminate_early:
            body["settings"][EARLY_TERMINATION] = False
    else:
        properties["regions"]["properties"]["vector"]["similarity"] = "l2_norm"
    index = f"{name}-a1b2c3d4-1"
    client.indices.create(index=index, **body)
    indices.create_beside(client, name, ABOUT, DIMS, indices.IndexPlan(replicas=0))
    indices.switch_gallery(client, name, index)
    (finding,) = verify_gallery(client, name)
    assert finding.fatal == fatal
    assert re.search(problem, finding.problem)


def test_an_older_gallery_has_no_windows_until_it_is_rebuilt(client, name):
    old = {**ABOUT, "method": {}}
    index = indices.create_gallery(client, name, old, DIMS, indices.IndexPlan(replicas=0))
    gallery = ElasticGallery(client, index, indices.rejects_index(name), refresh=True)
    gallery.put([document("a", np.ones(DIMS))])
    assert verify_gallery(client, name) == []
    assert [hit.id for hit in gallery.knn(unit(np.ones(DIMS)), 5)] == ["a"]
    with pytest.raises(NoWindows):
        gallery.knn_windows(unit(np.ones(DIMS)), 5)
    new = {**ABOUT, "fingerprint": "b" * 64}
    beside = indices.create_beside(client, name, new, DIMS, indices.IndexPlan(replicas=0))
    rebuilt = ElasticGallery(client, beside, indices.rejects_index(name), refresh=True)
    rebuilt.put([document("a", np.ones(DIMS), windows=windows(np.ones(DIMS)))])
    indices.switch_gallery(client, name, beside)
    opened = indices.open_gallery(client, name)
    assert [hit.id for hit in opened.knn_windows(unit(np.ones(DIMS)), 5)] == ["a"]
