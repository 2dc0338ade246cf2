"""The indices of a gallery: made, switched, checked, dropped."""

from __future__ import annotations

import numpy as np
import pytest

from descriptors.errors import RequestError
from es_mappings import indices
from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_client import packaged_json
from es_mappings.verification import verify_gallery
from galleries.errors import ContractError, FingerprintMismatch, GalleryNotFound
from tests.support.documents import document

ABOUT = {"fingerprint": "a1b2c3d4" + "0" * 56, "dims": 4}
OTHER = {"fingerprint": "ffffffff" + "0" * 56, "dims": 4}
PLAN = indices.IndexPlan(replicas=0)


def opened(client, name, index):
    return ElasticGallery(client, index, indices.rejects_index(name), refresh=True)


def test_a_gallery_is_an_index_behind_two_aliases(client, name):
    index = indices.create_gallery(client, name, ABOUT, 4, PLAN)
    assert index == f"{name}-a1b2c3d4-1"
    assert indices.create_gallery(client, name, ABOUT, 4, PLAN) == index
    assert indices.live_index(client, name) == index
    aliases = client.indices.get_alias(index=index)[index]["aliases"]
    assert sorted(aliases) == [name, f"{name}-write"]
    mapping = client.indices.get_mapping(index=name)[index]["mappings"]
    assert mapping["_meta"]["camsearch"] == {"format": 1, **ABOUT}
    assert mapping["properties"]["descriptor"]["index_options"]["type"] == "int8_hnsw"
    assert verify_gallery(client, name) == []
    assert indices.create_beside(client, name, ABOUT, 4, PLAN).endswith("-a1b2c3d4-2")


def test_another_method_needs_a_rebuild(client, name):
    indices.create_gallery(client, name, ABOUT, 4, PLAN)
    with pytest.raises(FingerprintMismatch, match="gallery rebuild"):
        indices.create_gallery(client, name, OTHER, 4, PLAN)


def test_a_switch_moves_both_aliases_and_an_opened_gallery_stays(client, name):
    old = indices.create_gallery(client, name, ABOUT, 4, PLAN)
    gallery = opened(client, name, name)
    new = indices.create_beside(client, name, OTHER, 4, PLAN)
    assert indices.live_index(client, name) == old
    indices.switch_gallery(client, name, new)
    assert indices.live_index(client, name) == new
    assert (gallery.index, gallery.fingerprint) == (old, ABOUT["fingerprint"])
    assert opened(client, name, name).fingerprint == OTHER["fingerprint"]
    assert indices.indices_of(client, name) == sorted([old, new])
    with pytest.raises(ContractError, match="switch to another index first"):
        indices.drop_gallery(client, name, new)
    assert indices.drop_gallery(client, name, old) == [old]
    assert indices.drop_gallery(client, name) == [new, f"{name}-rejects"]
    with pytest.raises(GalleryNotFound):
        indices.drop_gallery(client, name)


def test_a_name_that_cannot_be_is_refused(client):
    for bad in ("", "Images", "_x", "a b", "a/b", "x" * 101):
        with pytest.raises(ContractError, match="not a valid gallery name"):
            indices.create_gallery(client, bad, ABOUT, 4)


def test_an_index_in_the_place_of_the_alias_is_named(client, name):
    client.indices.create(index=name)
    with pytest.raises(ContractError, match="is an index, where camsearch needs an alias"):
        indices.create_gallery(client, name, ABOUT, 4)


def test_fields_of_ones_own_may_be_mapped(client, name):
    plan = indices.IndexPlan(replicas=0, meta_mapping={"taken": {"type": "date"}})
    index = indices.create_gallery(client, name, ABOUT, 4, plan)
    gallery = opened(client, name, index)
    gallery.put([document("a", meta={"taken": "2024-05-01", "other": 1})])
    properties = client.indices.get_mapping(index=index)[index]["mappings"]["properties"]
    assert properties["meta"]["properties"]["taken"] == {"type": "date"}
    bad = indices.IndexPlan(replicas=0, meta_mapping={"taken": {"type": "nonsense"}})
    with pytest.raises(RequestError, match="nonsense"):
        indices.create_beside(client, name, ABOUT, 4, bad)


@pytest.mark.parametrize(
    "graph", ["int8_hnsw", "hnsw", "int4_hnsw", "bbq_hnsw", "flat", "int8_flat"]
)
def test_every_graph_can_be_made_and_searched(client, name, graph):
    about = {**ABOUT, "dims": 64}
    index = indices.create_gallery(client, name, about, 64, indices.IndexPlan(graph, replicas=0))
    gallery = opened(client, name, index)
    vectors = np.random.default_rng(1).standard_normal((50, 64))
    gallery.put([document(f"{i:02d}", row) for i, row in enumerate(vectors)])
    (first, *_) = gallery.knn(document("q", vectors[7]).descriptor, 5)
    assert first.id == "07"
    assert first.cosine == pytest.approx(1, abs=0.05)


def test_the_packaged_files_stand_as_they_are(client, name):
    client.indices.create(index=f"{name}-plain", **packaged_json("images.json"))
    template = packaged_json("images-template.json")
    assert template["template"]["mappings"] == packaged_json("images.json")["mappings"]
    assert template["template"]["settings"] == packaged_json("images.json")["settings"]
    client.indices.simulate_template(**template)


def spoiled(change):
    body = packaged_json("images.json")
    body["settings"]["index"]["number_of_replicas"] = 0
    body["mappings"]["_meta"]["camsearch"] |= {"fingerprint": ABOUT["fingerprint"]}
    change(body["mappings"])
    return body


MISTAKES = {
    "dims": (lambda m: m["properties"]["descriptor"].update(dims=64), "has 64 dimensions"),
    "similarity": (lambda m: m["properties"]["descriptor"].update(similarity="l2_norm"), "l2_norm"),
    "not indexed": (
        lambda m: m["properties"].update(descriptor={"type": "dense_vector", "dims": 512, "index": False}),
        "is not indexed",
    ),
    "no vector": (lambda m: m["properties"].update(descriptor={"type": "float"}), "of type float"),
    "bbq": (
        lambda m: m["properties"]["descriptor"].update(index_options={"type": "bbq_hnsw", "rescore_vector": {"oversample": 0}}),
        "bbq_hnsw",
    ),
    "dynamic": (lambda m: m.update(dynamic=True), "accepts unknown fields"),
    "no method": (lambda m: m["_meta"].clear(), "does not say which method"),
}  # fmt: skip


def test_every_mistake_is_named_with_its_remedy(client, name):
    client.indices.create(index=f"{name}-rejects")
    for number, (change, complaint) in enumerate(MISTAKES.values()):
        index = f"{name}-a1b2c3d4-{number}"
        client.indices.create(index=index, **spoiled(change))
        client.indices.put_alias(index=index, name=name)
        client.indices.put_alias(index=index, name=f"{name}-write")
        found = verify_gallery(client, name)
        assert any(complaint in finding.problem for finding in found), (complaint, found)
        assert all(finding.remedy for finding in found)
        client.indices.delete(index=index)


def test_missing_things_are_named(client, name):
    assert "There is no gallery" in verify_gallery(client, name)[0].problem
    index = indices.create_gallery(client, name, ABOUT, 4, PLAN)
    client.index(index=index, id="a", document={"id": "a", "uri": "/a"})
    client.indices.delete_alias(index=index, name=f"{name}-write")
    client.indices.delete(index=f"{name}-rejects")
    problems = " ".join(finding.problem for finding in verify_gallery(client, name))
    assert "Workers write to nothing" in problems
    assert "no index" in problems
    assert "1 of 1 documents have no descriptor" in problems


def test_values_that_cannot_be_filtered_by_are_named(client, name):
    gallery = opened(client, name, indices.create_gallery(client, name, ABOUT, 4, PLAN))
    gallery.put([document("a", meta={"year": 1889}), document("b", meta={"year": "unknown"})])
    (finding,) = verify_gallery(client, name)
    assert "1 of 2 documents have values that filters cannot find" in finding.problem
    assert not finding.fatal


def test_documents_without_a_descriptor_are_told_apart(client, name):
    gallery = opened(client, name, indices.create_gallery(client, name, ABOUT, 4, PLAN))
    gallery.put([document("a")])
    source = client.get(index=gallery.index, id="a")["_source"]
    broken = {key: value for key, value in source.items() if key != "descriptor"} | {"id": "b"}
    client.index(index=gallery.index, id="b", document=broken, refresh=True)
    assert list(gallery.without_descriptor()) == ["b"]
    assert [one.id for one in gallery.documents()] == ["a"]
    assert list(gallery.get(["a", "b"])) == ["a"]
