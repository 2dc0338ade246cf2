"""What every gallery does with documents, rejects and vectors; for filters see test_gallery_filters."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from descriptors.errors import RequestError
from galleries.documents import ImageClass, Known
from galleries.errors import MalformedDocument
from galleries.filters import Ids, Term
from tests.contracts.conftest import FINGERPRINT
from tests.support.documents import DIMS, document, ids_of, reject, told_apart, unit

ODD_IDS = [
    "ü/Ω/写真 01.jpg",
    "🏰",
    "e\u0301 is not \u00e9",
    "a' OR 1=1 --",
    '"quoted" \\ %_*?',
    "../../etc/passwd",
    " ",
    "x" * 512,
    "é" * 256,
]

MALFORMED = {
    "no id": document(""),
    "id of 513 bytes": document("x" * 513),
    "id of 514 bytes in 257 characters": document("é" * 257),
    "id that is no Unicode": document("\ud800"),
    "uri that is no Unicode": document("a", uri="\udcff"),
    "metadata that is no Unicode": document("a", meta={"name": "\udcff"}),
    "other dimensions": document("a", [1, 2, 3]),
    "not of unit length": replace(document("a"), descriptor=np.ones(DIMS, np.float32)),
    "zero": replace(document("a"), descriptor=np.zeros(DIMS, np.float32)),
    "not a number": replace(document("a"), descriptor=np.full(DIMS, math.nan, np.float32)),
    "metadata that is no JSON": document("a", meta={"when": object()}),
    "metadata that is not finite": document("a", meta={"ratio": math.inf}),
    "revision beyond 64 bits": document("a", revision=2**63),
}


def test_it_knows_dimensions_and_fingerprint(gallery):
    assert (gallery.dims, gallery.fingerprint) == (DIMS, FINGERPRINT)


def test_an_empty_gallery_answers_with_nothing(gallery):
    assert gallery.get(["a"]) == {}
    assert gallery.known(["a"]) == ({}, {})
    assert list(gallery.documents()) == []
    assert list(gallery.rejects()) == []
    assert gallery.count() == 0
    assert gallery.knn(unit([1, 0, 0, 0]), 5) == []
    assert gallery.delete(["a"]) == []
    gallery.put([])
    gallery.put_rejects([])
    gallery.put_meta({})
    assert gallery.count() == 0


def test_a_document_comes_back_as_it_went_in(gallery):
    full = document(
        "a",
        [0.1, -0.7, 0.3, 1e-7],
        uri="s3://bucket/ü.jpg",
        classes=(ImageClass("château", 0.1 + 0.2), ImageClass("tower", 0.01)),
        meta={"city": "Paris", "year": 1889, "rating": 4.5, "tags": ["a", "b"], "by": {"x": None}},
        source_tag="123:456",
        revision=7,
    )
    gallery.put([full])
    found = gallery.get(["a"])["a"]
    assert told_apart(full, found) == []
    found.descriptor[:] = 0  # which is the caller's to change
    assert told_apart(full, gallery.get(["a"])["a"]) == []
    assert told_apart(full, next(gallery.documents())) == []


def test_any_text_of_at_most_512_bytes_is_an_id(gallery):
    gallery.put([document(id_, [1, n, 0, 0]) for n, id_ in enumerate(ODD_IDS)])
    assert list(gallery.get(ODD_IDS)) == ODD_IDS
    assert ids_of(gallery.documents(Ids(tuple(ODD_IDS)))) == sorted(ODD_IDS)
    assert [hit.id for hit in gallery.knn(unit([1, 0, 0, 0]), 9)] == ODD_IDS
    for id_ in ODD_IDS:
        assert ids_of(gallery.documents(Term("_id", id_))) == [id_]
    assert gallery.delete(ODD_IDS) == ODD_IDS
    gallery.put_rejects(list(map(reject, ODD_IDS)))
    assert list(gallery.known(ODD_IDS)[1]) == ODD_IDS


def test_unknown_ids_are_left_out(gallery):
    gallery.put([document("a"), document("b")])
    asked = ["b", "nobody", "\ud800", "b", ""]
    assert list(gallery.get(asked)) == ["b"]
    assert list(gallery.known(asked)[0]) == ["b"]
    gallery.put_meta({"nobody": {"x": 1}})
    assert gallery.count() == 2


def test_a_second_write_replaces_the_whole_document(gallery):
    gallery.put([document("a", [1, 0, 0, 0], meta={"city": "Paris"}, source_tag="old")])
    changed = document("a", [0, 1, 0, 0], meta={"town": "Rome"})
    gallery.put([changed])
    assert told_apart(changed, gallery.get(["a"])["a"]) == []
    assert gallery.count(Term("meta.city", "Paris")) == 0
    (hit,) = gallery.knn(unit([0, 1, 0, 0]), 5)
    assert (hit.id, hit.cosine) == ("a", pytest.approx(1, abs=1e-6))


def test_a_lower_revision_never_replaces_a_higher(gallery):
    gallery.put([document(id_, revision=5, width=1) for id_ in "abc"])
    gallery.put([document(id_, revision=n, width=2) for n, id_ in enumerate("abc", start=4)])
    assert [one.width for one in gallery.documents()] == [1, 2, 2]


def test_a_malformed_document_is_refused_and_nothing_of_its_call_is_written(gallery):
    gallery.put([document("there")])
    for case, bad in MALFORMED.items():
        with pytest.raises(MalformedDocument):
            gallery.put([document("first"), document("there", width=1), bad, document(case)])
    assert ids_of(gallery.documents()) == ["there"]
    assert gallery.get(["there"])["there"].width == 640


def test_a_malformed_reject_is_refused_and_nothing_of_its_call_is_written(gallery):
    gallery.put([document("a")])
    for id_ in ("", "x" * 513, "\ud800"):
        with pytest.raises(MalformedDocument):
            gallery.put_rejects([reject("a"), reject(id_)])
    assert ids_of(gallery.documents()) == ["a"]
    assert list(gallery.rejects()) == []


def test_documents_can_be_made_ready_ahead_and_are_written_later(gallery):
    gallery.put_rejects([reject("a"), reject("b")])
    made = [document("a", meta={"city": "Paris"}), document("c"), document("a", width=2)]
    ready = gallery.make_ready(made)
    assert [one.document for one in ready] == made
    assert list(gallery.documents()) == []
    gallery.put_ready(ready, ["a"])
    assert ids_of(gallery.documents()) == ["a", "c"]
    assert gallery.get(["a"])["a"].width == 2
    assert ids_of(gallery.rejects()) == ["b"]
    gallery.put_ready([], [])


def test_a_reject_leaves_the_document_of_its_id(gallery):
    gallery.put([document("a"), document("b")])
    refused = reject("a", source_tag="7", rejected_at="2024-01-01T00:00:00+00:00")
    gallery.put_rejects([refused])
    assert ids_of(gallery.documents()) == ["a", "b"]
    assert [hit.id for hit in gallery.knn(unit([1, 1, 1, 1]), 5)] == ["a", "b"]
    assert list(gallery.rejects()) == [refused]
    gallery.put([document("a")])
    assert list(gallery.rejects()) == []
    assert gallery.count() == 2


def test_a_reject_replaces_a_reject_and_they_come_in_order_of_ids(gallery):
    gallery.put_rejects([reject("b"), reject("a", reason="Old."), reject("ä"), reject("B")])
    gallery.put_rejects([reject("a", reason="New.")])
    assert ids_of(gallery.rejects()) == ["B", "a", "b", "ä"]
    assert next(one for one in gallery.rejects() if one.id == "a").reason == "New."


def test_metadata_changes_alone(gallery):
    before = document("a", meta={"city": "Paris"}, classes=(ImageClass("tower", 0.5),), revision=9)
    gallery.put([before, document("b", meta={"city": "Rome"})])
    gallery.put_meta({"a": {"year": 1889, "tags": ["x"]}})
    expected = replace(before, meta={"year": 1889, "tags": ["x"]})
    assert told_apart(expected, gallery.get(["a"])["a"]) == []
    assert gallery.count(Term("meta.city", "Paris")) == 0
    assert ids_of(gallery.documents(Term("meta.year", 1889))) == ["a"]
    assert ids_of(gallery.documents(Term("classes", "tower"))) == ["a"]


def test_metadata_that_is_no_json_changes_nothing(gallery):
    gallery.put([document("a"), document("b")])
    with pytest.raises(MalformedDocument):
        gallery.put_meta({"a": {"ok": 1}, "b": {"bad": math.nan}})
    assert gallery.get(["a"])["a"].meta == {}


def test_delete_removes_documents_and_rejects_and_says_which(gallery):
    gallery.put([document("a"), document("b"), document("c")])
    gallery.put_rejects([reject("d"), reject("e")])
    assert gallery.delete(["d", "nobody", "a", "a", "\ud800", "c"]) == ["d", "a", "c"]
    assert ids_of(gallery.documents()) == ["b"]
    assert ids_of(gallery.rejects()) == ["e"]
    assert gallery.delete(["a"]) == []


def test_known_tells_what_decides_on_describing_again(gallery):
    gallery.put([document("a", digest="1" * 64, source_tag="7", meta={"x": [1]}), document("b")])
    gallery.put_rejects([reject("c", source_tag="8"), reject("d")])
    assert gallery.known(["a", "c", "z"]) == ({"a": Known("1" * 64, "7", {"x": [1]})}, {"c": "8"})


def test_any_number_of_ids_can_be_asked_for(gallery):
    gallery.put([document(f"{i:03d}") for i in range(600)])
    gallery.put_rejects([reject(f"r{i:03d}", source_tag=str(i)) for i in range(600)])
    ids = [f"{i:03d}" for i in range(500, 700)] + [f"r{i:03d}" for i in range(300, 700)]
    known, tags = gallery.known([*ids, "", "x" * 513, "\ud800", "500"])
    assert sorted(known) == [f"{i:03d}" for i in range(500, 600)]
    assert tags == {f"r{i:03d}": str(i) for i in range(300, 600)}


def test_documents_come_in_order_of_their_ids_however_many(gallery):
    ids = [f"{i * 7919 % 1201:04d}" for i in range(1201)]
    gallery.put([document(id_) for id_ in ids])
    assert ids_of(gallery.documents()) == sorted(ids)
    assert gallery.count() == 1201


def test_documents_may_be_changed_while_they_are_listed(gallery):
    gallery.put([document(f"{i:04d}") for i in range(1100)])
    listed = 0
    for one in gallery.documents():
        listed += 1
        if one.id.endswith("00"):
            gallery.put_meta({one.id: {"seen": True}})
    assert listed == 1100
    assert gallery.count(Term("meta.seen", True)) == 11


def test_the_nearest_come_first_with_their_cosines(gallery):
    gallery.put(
        [
            document("same", [1, 0, 0, 0]),
            document("near", [1, 1, 0, 0]),
            document("across", [0, 0, 1, 0]),
            document("opposite", [-1, 0, 0, 0]),
        ]
    )
    hits = gallery.knn(unit([1, 0, 0, 0]), 4)
    assert [hit.id for hit in hits] == ["same", "near", "across", "opposite"]
    cosines = [1, math.sqrt(0.5), 0, -1]
    assert [hit.cosine for hit in hits] == pytest.approx(cosines, abs=1e-6)
    assert gallery.knn(unit([1, 0, 0, 0]), 2) == hits[:2]


def test_k_beyond_the_count_gives_all_and_k_of_nothing_none(gallery):
    gallery.put([document("b", [1, 0, 0, 0]), document("a", [0, 1, 0, 0])])
    assert [hit.id for hit in gallery.knn(unit([0, 1, 0, 0]), 100)] == ["a", "b"]
    assert gallery.knn(unit([0, 1, 0, 0]), 0) == []


def test_copies_of_an_image_come_in_order_of_their_ids(new_gallery):
    gallery = new_gallery(37)
    rng = np.random.default_rng(5)
    kinds = rng.standard_normal((3, 37))
    gallery.put([document(f"{i * 211 % 400:03d}", kinds[i % 3]) for i in range(400)])
    of_first = sorted(f"{i * 211 % 400:03d}" for i in range(0, 400, 3))
    for k in (1, 7, 100):
        assert [hit.id for hit in gallery.knn(unit(kinds[0]), k)] == of_first[:k]


def test_search_is_what_float64_says(new_gallery):
    gallery = new_gallery(64)
    vectors = np.random.default_rng(6).standard_normal((300, 64))
    made = [document(f"{i:03d}", row) for i, row in enumerate(vectors)]
    gallery.put(made)
    rows = np.stack([one.descriptor for one in made]).astype(np.float64)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    for query in made[:5]:
        cosines = rows @ query.descriptor / np.linalg.norm(query.descriptor.astype(np.float64))
        expected = [f"{i:03d}" for i in np.argsort(-cosines, kind="stable")[:20]]
        hits = gallery.knn(query.descriptor, 20)
        assert [hit.id for hit in hits] == expected
        assert [hit.cosine for hit in hits] == pytest.approx(np.sort(-cosines)[:20] * -1, abs=1e-5)


def test_a_filtered_search_finds_k_wherever_k_match(gallery):
    gallery.put([document(f"near{i}", [1, i / 99, 0, 0]) for i in range(50)])
    gallery.put([document(f"far{i}", [i / 99, 0, 1, 0], meta={"far": True}) for i in range(5)])
    hits = gallery.knn(unit([1, 0, 0, 0]), 4, Term("meta.far", True))
    assert [hit.id for hit in hits] == ["far4", "far3", "far2", "far1"]
    assert gallery.knn(unit([1, 0, 0, 0]), 4, Term("meta.near", "nothing")) == []


def test_a_search_sees_every_change_before_it(gallery):
    query = unit([1, 0, 0, 0])
    for step in range(3):
        gallery.put([document(f"{step}", [1, 0, 0, 0])])
        assert len(gallery.knn(query, 9)) == step + 1
    gallery.delete(["1"])
    assert [hit.id for hit in gallery.knn(query, 9)] == ["0", "2"]


def test_a_vector_without_a_cosine_is_refused(gallery):
    gallery.put([document("a")])
    for vector in ([1.0], [1.0] * 5, [0.0] * 4, [math.nan] * 4, [math.inf] * 4):
        with pytest.raises(RequestError, match="query vector"):
            gallery.knn(np.array(vector, dtype=np.float32), 1)


def test_new_metadata_carries_its_revision(gallery):
    gallery.put([document("a", revision=5), document("b", revision=9)])
    gallery.put_meta({"a": {"x": 1}, "b": {"x": 1}}, 7)
    assert {i: one.revision for i, one in gallery.get(["a", "b"]).items()} == {"a": 7, "b": 9}
