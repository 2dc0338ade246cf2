"""What only the local gallery does with windows: sizes, other connections, exactness."""

from __future__ import annotations

import numpy as np
import pytest

from galleries.filters import Term
from galleries.local import LocalGallery
from galleries.local_windows import WindowRows
from tests.support.documents import document, unit, windows

X, Z = unit([1, 0, 0, 0]), unit([0, 0, 1, 0])

# Too many for all windows to be compared, however few the documents.
MANY = 10_000_000


def create(folder, dims=4, count=5):
    return LocalGallery.create(folder, dims, "f", {"method": {"windows": count}})


def found(gallery, *args, **said):
    return [hit.id for hit in gallery.knn_windows(*args, **said)]


def test_in_a_large_gallery_whole_images_choose_what_is_compared(tmp_path):
    # The higher its number, the farther an image as a whole; two have a near window.
    near = {999: [1, 0.2, 0, 0], 1199: [1, 0, 0, 0]}
    made = []
    for i in range(1200):
        whole = [1, 1 + i / 99, 0, 0]
        parts = windows(whole, near.get(i, whole))
        made.append(document(f"{i:04d}", whole, meta={"n": i % 2}, windows=parts))
    with create(tmp_path / "few") as few, create(tmp_path / "many", count=MANY) as many:
        few.put(made)
        many.put(made)
        assert found(few, X, 3) == ["1199", "0999", "0000"]
        assert found(many, X, 2) == ["0999", "0000"]
        assert found(many, X, 3, Term("meta.n", 1)) == ["1199", "0999", "0001"]  # filtered first
        assert found(many, X, 2, among=["1198", "1199"]) == ["1199", "1198"]
        assert len(found(many, X, 1100)) == 1100


def test_the_windows_that_another_connection_writes_are_compared(tmp_path):
    with create(tmp_path) as reader, LocalGallery.open(tmp_path) as writer:
        assert found(reader, X, 9) == []
        writer.put([document(id_, Z, windows=windows(Z, X)) for id_ in "ab"])
        assert found(reader, X, 9) == ["a", "b"]
        writer.put([document("a", Z, windows=windows(Z))])
        assert found(reader, X, 9) == ["b", "a"]
        writer.delete(["b"])
        assert found(reader, X, 9) == ["a"]
        writer.put([document("a", Z)])
        assert found(reader, X, 9) == []


def test_windows_are_compared_as_float64_says(tmp_path):
    rng = np.random.default_rng(7)
    # More windows than are converted at a time; many are almost alike.
    near = rng.standard_normal(32)
    parts = [
        windows(*(near + 0.02 * rng.standard_normal((n, 32)))) for n in rng.integers(1, 9, 900)
    ]
    made = [document(f"{i:03d}", near, windows=w) for i, w in enumerate(parts)]
    query = rng.standard_normal(32).astype(np.float32)
    wide = query.astype(np.float64) / np.linalg.norm(query.astype(np.float64))
    exact = [
        (levels @ wide / np.linalg.norm(levels, axis=1)).max()
        for levels in (w.vectors.astype(np.float64) for w in parts)
    ]
    expected = [f"{i:03d}" for i in np.argsort(-np.array(exact), kind="stable")]
    with create(tmp_path, dims=32) as gallery:
        gallery.put(made)
        for k in (1, 20, 900):
            hits = gallery.knn_windows(query, k)
            assert [hit.id for hit in hits] == expected[:k]
            assert [hit.cosine for hit in hits] == pytest.approx(
                sorted(exact, reverse=True)[:k], abs=1e-12
            )


def test_rows_of_no_image_are_refused():
    with pytest.raises(ValueError, match="the windows of 'a' have 7 bytes, not 4 each"):
        WindowRows.gather(0, [(1, "a", b"1234567")], 4)
    assert WindowRows.gather(0, [], 4).nearest(X, 3) == []
