"""What every gallery does with the windows of its images."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from descriptors.errors import RequestError
from galleries.errors import MalformedDocument, NoWindows
from galleries.filters import Term
from tests.support.documents import DIMS, document, told_apart, unit, windows

if TYPE_CHECKING:
    from tests.contracts.conftest import Gallery, NewGallery

X, Y, Z = unit([1, 0, 0, 0]), unit([0, 1, 0, 0]), unit([0, 0, 1, 0])

# A gallery may round the query to 8 bits too: half a step of 127 in each dimension.
NEAR = 0.01

TWO = windows(X, Y)
MALFORMED = {
    "no window": replace(TWO, vectors=TWO.vectors[:0], boxes=TWO.boxes[:0]),
    "other dimensions": windows([1, 0, 0]),
    "a window without a direction": replace(TWO, vectors=TWO.vectors * np.int8([[1], [0]])),
}


@pytest.fixture
def windowed(new_gallery: NewGallery) -> Gallery:
    """A gallery with windows; each image as a whole is like Z."""
    gallery = new_gallery(DIMS, windows=5)
    gallery.put(
        [
            document("x", Z, windows=windows(Z, X), meta={"city": "Paris"}),
            document("near x", Z, windows=windows(Z, [1, 1, 0, 0], [0, 0, 0, 1])),
            document("y", Z, windows=windows(Z, Y, Y), meta={"city": "Paris"}),
            document("z", Z, windows=windows(Z)),
        ]
    )
    return gallery


def found(gallery, vector, k, *args, **said):
    return [hit.id for hit in gallery.knn_windows(vector, k, *args, **said)]


def test_an_image_is_as_similar_as_its_most_similar_window(windowed):
    hits = windowed.knn_windows(X, 4)
    assert [hit.id for hit in hits] == ["x", "near x", "y", "z"]
    assert [hit.cosine for hit in hits] == pytest.approx([1, 0.5**0.5, 0, 0], abs=NEAR)
    assert [hit.id for hit in windowed.knn_windows(X, 2)] == ["x", "near x"]
    assert [hit.id for hit in windowed.knn_windows(Y, 1)] == ["y"]
    assert windowed.knn_windows(X, 0) == []


def test_only_images_among_the_ids_are_compared(windowed):
    assert found(windowed, X, 9, among=["z", "near x", "nobody", "z", "\ud800"]) == ["near x", "z"]
    assert found(windowed, X, 1, among=["y", "near x"]) == ["near x"]
    assert found(windowed, X, 9, among=[]) == []


def test_only_images_that_match_the_filter_are_compared(windowed):
    paris = Term("meta.city", "Paris")
    assert found(windowed, Y, 9, paris) == ["y", "x"]
    assert found(windowed, X, 1, paris) == ["x"]
    assert found(windowed, X, 9, paris, among=["near x", "y"]) == ["y"]
    assert found(windowed, X, 9, Term("meta.city", "Rome")) == []


def test_windows_come_back_as_they_went_in(windowed):
    one = document("a", X, windows=windows([0.1, -0.7, 0.3, 1e-7], Y, Z))
    windowed.put([one])
    assert told_apart(one, windowed.get(["a"])["a"]) == []
    assert told_apart(one, next(windowed.documents())) == []


def test_a_document_is_read_without_its_windows_if_they_are_not_wanted(windowed):
    one = document("a", X, windows=TWO, meta={"city": "Rome"})
    windowed.put([one])
    read = windowed.get(["a", "nobody"], windows=False)
    assert list(read) == ["a"]
    assert told_apart(replace(one, windows=None), read["a"]) == []


def test_windows_change_with_their_image_only(windowed):
    windowed.put([document("x", Z, windows=windows(Y)), document("a", Z, windows=windows(X))])
    windowed.put_meta({"a": {"city": "Paris"}})
    windowed.delete(["y"])
    assert found(windowed, X, 9) == ["a", "near x", "x", "z"]
    assert found(windowed, Y, 2, Term("meta.city", "Paris")) == ["a"]
    assert found(windowed, Y, 9, among=["x", "y"]) == ["x"]


def test_an_image_without_windows_is_not_found_by_them(windowed):
    windowed.put([document("x", X)])
    assert windowed.get(["x"])["x"].windows is None
    assert found(windowed, X, 9) == ["near x", "y", "z"]
    assert found(windowed, X, 9, among=["x", "z"]) == ["z"]


def test_windows_of_copies_come_in_order_of_their_ids(new_gallery):
    gallery = new_gallery(37, windows=5)
    kinds = np.random.default_rng(5).standard_normal((6, 37))
    ids = [f"{i * 211 % 400:03d}" for i in range(400)]
    parts = [windows(*kinds[[i % 3, 3 + i % 3]]) for i in range(400)]
    gallery.put([document(i, kinds[0], windows=w) for i, w in zip(ids, parts, strict=True)])
    for k in (1, 7, 100):
        assert found(gallery, unit(kinds[4]), k) == sorted(ids[1::3])[:k]
        assert found(gallery, unit(kinds[4]), k, among=ids[:350]) == sorted(ids[1:350:3])[:k]


def test_malformed_windows_are_refused(windowed):
    for bad in MALFORMED.values():
        with pytest.raises(MalformedDocument, match="windows"):
            windowed.put([document("a", Z, windows=bad)])
    assert windowed.get(["a"]) == {}


def test_a_vector_without_a_cosine_is_not_compared_with_windows(windowed):
    for vector in ([1.0], [0.0] * 4, [np.nan] * 4):
        with pytest.raises(RequestError, match="query vector"):
            windowed.knn_windows(np.array(vector, dtype=np.float32), 1)


def test_a_gallery_whose_method_has_no_windows_says_so(gallery):
    gallery.put([document("a")])
    for among in (None, ["a"]):
        with pytest.raises(NoWindows, match="has no windows: index its images again"):
            gallery.knn_windows(X, 1, among=among)
