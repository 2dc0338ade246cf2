"""Streamed images count as any others, are made once, and are never held all at once."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from descriptors.errors import RequestError
from descriptors.method import Method
from descriptors.settings import RegionSettings
from evaluation import streaming
from evaluation.datasets.catalogue import FitOn, read_dataset
from evaluation.encoding import encode_images
from evaluation.ours import score_ours
from evaluation.searching import Stage, stage_of
from evaluation.streaming import StreamedGallery, StreamedVectors, stream_images
from evaluation.trials import DatasetImage, StreamedImages, all_images
from galleries.documents import Document
from tests.support.datasets import make_distractors, make_paris, make_revisited
from tests.support.images import letter, with_orientation
from tests.support.tiny_network import tiny_encoder, tiny_method, tiny_settings
from tests.support.tolerances import MIN_COSINE
from tests.unit.evaluation.miniature import tell_nobody

if TYPE_CHECKING:
    from evaluation.trials import Trial

REGIONS = RegionSettings(n_classes=4, min_side=8)
DISTRACTORS = 11


@pytest.fixture
def small_blocks(monkeypatch):
    monkeypatch.setattr(streaming, "BLOCK", 4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_distractors(tmp_path_factory.mktemp("distractors"), DISTRACTORS)


@pytest.fixture(scope="module")
def images(folder):
    return streamed(folder)


@pytest.fixture(scope="module")
def method():
    return tiny_method()


@pytest.fixture
def described(method, monkeypatch):
    """How many images each batch had that was described."""
    found: list[int] = []
    describe = method.describe_encoded
    monkeypatch.setattr(
        method, "describe_encoded", lambda maps: found.append(len(maps)) or describe(maps)
    )
    return found


def streamed(folder):
    names = sorted(f.relative_to(folder).as_posix() for f in folder.rglob("*.jpg"))
    return StreamedImages(folder, tuple(names), "+")


@pytest.mark.usefixtures("small_blocks")
class TestStreamImages:
    def test_vectors_are_those_that_images_of_a_gallery_have(self, images, method, tmp_path):
        found = stream_images(images, method, tmp_path, tell_nobody)
        assert [len(block) for block in found.blocks] == [4, 4, 3]
        assert {tuple(size) for size in found.sizes.tolist()} == {(96, 96), (96, 80)}
        assert found.unreadable == ()
        assert int(found.cosines(found.vector(6)).argmax()) == 6
        plain = [DatasetImage(n, (9, 9), images.file(row)) for row, n in enumerate(images.names)]
        encoded = encode_images(plain, method.encoder, tmp_path, tell_nobody)
        for row in (0, 7):
            [(_, maps)] = encoded.batches([plain[row]])
            kept = method.describe_encoded(maps).descriptors[0].numpy()
            assert float(kept @ found.vector(row)) > MIN_COSINE

    def test_goes_on_at_the_block_where_it_was_and_makes_nothing_twice(
        self, images, method, described, tmp_path
    ):
        def stop(_what, done, of):
            assert (done, of) == (4, DISTRACTORS)
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            stream_images(images, method, tmp_path, stop)
        first = stream_images(images, method, tmp_path, tell_nobody)
        assert sum(described) == DISTRACTORS
        again = stream_images(images, method, tmp_path, tell_nobody)
        assert sum(described) == DISTRACTORS
        vector = first.vector(0)
        np.testing.assert_array_equal(again.cosines(vector), first.cosines(vector))

    @pytest.mark.parametrize("changed", ["settings", "weights"])
    def test_what_changes_vectors_keeps_them_apart(self, images, method, tmp_path, changed):
        some = replace(images, names=images.names[:1])
        settings = tiny_settings(n_classes=2) if changed == "settings" else tiny_settings()
        encoder = tiny_encoder(settings, seed=1 if changed == "weights" else 0)
        whitening = replace(method.whitening, weights_digest=encoder.loaded.weights_digest)
        for one in (method, Method(encoder, whitening)):
            stream_images(some, one, tmp_path, tell_nobody)
        assert len(list(tmp_path.rglob("*.vectors.npy"))) == 2

    def test_a_changed_file_changes_its_block_alone(self, method, described, tmp_path):
        images = streamed(make_distractors(tmp_path / "images", DISTRACTORS))
        stream_images(images, method, tmp_path / "kept", tell_nobody)
        images.file(10).write_bytes(images.file(0).read_bytes())
        found = stream_images(images, method, tmp_path / "kept", tell_nobody)
        assert sum(described) == DISTRACTORS + 3
        np.testing.assert_array_equal(found.vector(10), found.vector(0))

    def test_a_file_that_is_no_image_is_never_found(self, method, tmp_path):
        folder = make_distractors(tmp_path / "d", 3)
        (folder / "0" / "000009.jpg").write_text("<html>gone</html>")
        images = streamed(folder)
        found = stream_images(images, method, tmp_path / "kept", tell_nobody)
        assert found.unreadable == ("0/000009.jpg",)
        row = images.names.index("0/000009.jpg")
        assert found.cosines(found.vector(0))[row] == -np.inf

    def test_a_file_that_went_missing(self, images, method, tmp_path):
        gone = replace(images, names=(*images.names, "none.jpg"))
        with pytest.raises(RequestError, match=r"none\.jpg cannot be read"):
            stream_images(gone, method, tmp_path, tell_nobody)

    def test_sizes_count_upright_pixels(self, method, tmp_path):
        (tmp_path / "turned.jpg").write_bytes(with_orientation(letter(50, 60), 6))
        found = stream_images(streamed(tmp_path), method, tmp_path / "kept", tell_nobody)
        assert found.sizes.tolist() == [[50, 60]]


class TestStreamedGallery:
    """Two images at hand, three streamed, on the circle."""

    @staticmethod
    def gallery(least, folder="/far"):
        def at(degrees):
            angles = np.radians(degrees)
            return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)

        rows = at([20, 60])
        documents = {
            name: Document(name, name, "", 9, 9, row) for name, row in zip("ab", rows, strict=True)
        }
        images = StreamedImages(Path(folder), ("x.jpg", "y.jpg", "z.jpg"), "+")
        blocks = (at([5, 30, 80]).astype(np.float16),)
        sizes = np.array([[4, 3]] * 3, np.int32)
        return StreamedGallery(documents, StreamedVectors(images, blocks, sizes), least)

    def test_both_kinds_are_ranked_together(self):
        gallery = self.gallery(least=5)
        hits = gallery.knn(np.array([1, 0], np.float32), 5)
        assert [hit.id for hit in hits] == ["+x.jpg", "a", "+y.jpg", "b", "+z.jpg"]
        assert hits[1].cosine == pytest.approx(np.cos(np.radians(20)))

    def test_an_answer_ends_with_the_last_right_one(self):
        gallery = self.gallery(least=1)
        gallery.look_for({"a", "not in the gallery"})
        hits = gallery.knn(np.array([1, 0], np.float32), 5)
        assert [hit.id for hit in hits] == ["+x.jpg", "a"]

    def test_it_has_as_many_as_a_stage_reads(self):
        gallery = self.gallery(least=3)
        gallery.look_for({"a"})
        assert len(gallery.knn(np.array([1, 0], np.float32), 5)) == 3
        assert len(gallery.knn(np.array([1, 0], np.float32), 2)) == 2

    def test_a_streamed_hit_says_where_its_image_lies_and_what_it_is(self, tmp_path):
        (tmp_path / "y.jpg").write_bytes(b"bytes")
        gallery = self.gallery(5, str(tmp_path))
        gallery.knn(np.array([1, 0], np.float32), 5)
        found = gallery.get(["+y.jpg", "b", "unknown"])
        assert set(found) == {"+y.jpg", "b"}
        hit = found["+y.jpg"]
        assert (hit.uri, hit.width, hit.height) == (str(tmp_path / "y.jpg"), 4, 3)
        assert hit.digest == hashlib.sha256(b"bytes").hexdigest()
        assert hit.descriptor == pytest.approx([np.cos(np.pi / 6), 0.5], abs=1e-3)


def test_streamed_images_score_as_plain_ones_of_the_gallery(tmp_path):
    """Re-ranking and expansion included; and they do count."""
    whole = Stage(name="w", window=5, by="images")
    stages = (stage_of(0, 0), stage_of(5, 0), stage_of(5, 3), whole)
    root, paris = make_revisited(tmp_path / "root"), make_paris(tmp_path / "paris")
    others = make_distractors(tmp_path / "others", 20)

    def scored(distractors, *, stream):
        trial: Trial
        (trial,) = read_dataset(
            "roxford5k",
            root,
            fit_on=FitOn("paris6k", paris),
            distractors=distractors,
            stream=stream,
        )
        encoded = encode_images(all_images([trial]), tiny_encoder(), tmp_path / "maps", tell_nobody)
        scores = score_ours(trial, encoded, REGIONS, tell_nobody, {"OfA": stages})
        return {(s.stage, s.query.name): s for s in scores}

    found, plain = scored(others, stream=True), scored(others, stream=False)
    assert len(found) == 12
    for key, score in plain.items():
        assert found[key].ranks == score.ranks, key
        assert found[key].precision == pytest.approx(score.precision), key
    without = scored(None, stream=False)
    assert any(found[key].ranks != without[key].ranks for key in without)
