"""Keypoints are extracted once, found again, and lie where the photo's pixels do."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from descriptors.arrays import Box, Size
from descriptors.errors import RequestError
from evaluation.baselines.keypoints import (
    Keypoints,
    KeypointStore,
    SiftSettings,
    extract,
    require_opencv,
)
from evaluation.trials import Photo
from tests.support.pictures import gradient, shapes

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image


def photo_of(image: Image.Image, file: Path) -> Photo:
    image.save(file)
    return Photo(file.name, Size(*image.size), file)


@pytest.fixture
def photo(tmp_path: Path) -> Photo:
    return photo_of(shapes(160, 120, seed=3, count=9), tmp_path / "one.png")


class Count:
    """How many photos were extracted."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, what: str, done: int, of: int) -> None:
        assert what == "SIFT"
        assert done <= of
        self.done = done


class TestExtract:
    def test_places_lie_in_the_photo_and_descriptors_are_bytes(self, photo: Photo):
        points = extract(photo, SiftSettings())
        assert len(points.places) == len(points.descriptors) > 10
        assert (points.places >= 0).all()
        assert (points.places < [160, 120]).all()
        # OpenCV's descriptors have a length of about 512.
        lengths = np.linalg.norm(points.descriptors.astype(float), axis=1)
        np.testing.assert_allclose(lengths, 512, atol=16)

    def test_no_more_than_asked_for(self, photo: Photo):
        # Keypoints with two orientations come on top.
        assert len(extract(photo, SiftSettings(most=5)).places) < 10

    def test_places_count_in_pixels_of_the_full_size(self, photo: Photo):
        small = extract(photo, SiftSettings(side=80))
        assert small.places[:, 0].max() > 80

    def test_nothing_to_see(self, tmp_path: Path):
        points = extract(photo_of(gradient(60, 60), tmp_path / "plain.png"), SiftSettings())
        assert points.places.shape == (0, 2)
        assert points.descriptors.shape == (0, 128)

    def test_a_photo_that_cannot_be_read(self, tmp_path: Path):
        with pytest.raises(RequestError, match="cannot be read"):
            extract(Photo("gone.png", Size(9, 9), tmp_path / "gone.png"), SiftSettings())


class TestInside:
    def test_half_open_box(self):
        places = np.array([[0, 0], [5, 5], [9, 9], [10, 5]], dtype=np.float32)
        points = Keypoints(places, np.zeros((4, 128), np.uint8))
        assert points.inside(Box(5, 5, 10, 10)).tolist() == [False, True, True, False]
        assert points.inside(None).all()


class TestKeypointStore:
    def test_a_second_run_extracts_nothing_and_agrees(self, photo: Photo, tmp_path: Path):
        count, digests = Count(), {photo.file: "ab" * 32}
        first = KeypointStore(tmp_path / "kept", SiftSettings()).of([photo], digests, count)
        assert count.done == 1
        again = Count()
        second = KeypointStore(tmp_path / "kept", SiftSettings()).of([photo], digests, again)
        assert again.done == 0
        for one, other in zip(first.values(), second.values(), strict=True):
            np.testing.assert_array_equal(one.places, other.places)
            np.testing.assert_array_equal(one.descriptors, other.descriptors)

    def test_other_settings_and_other_bytes_are_kept_apart(self, photo: Photo, tmp_path: Path):
        digests = {photo.file: "ab" * 32}
        KeypointStore(tmp_path, SiftSettings()).of([photo], digests, Count())
        for settings, digest in ((SiftSettings(most=9), "ab" * 32), (SiftSettings(), "cd" * 32)):
            count = Count()
            KeypointStore(tmp_path, settings).of([photo], {photo.file: digest}, count)
            assert count.done == 1

    def test_damaged_keypoints_are_made_again(self, photo: Photo, tmp_path: Path):
        store, digests = KeypointStore(tmp_path / "kept", SiftSettings()), {photo.file: "ab" * 32}
        store.of([photo], digests, Count())
        [file] = (tmp_path / "kept").rglob("*.safetensors")
        file.write_bytes(b"cut off")
        count = Count()
        assert len(store.of([photo], digests, count)[photo.file].places) > 10
        assert count.done == 1


class TestRequireOpencv:
    def test_installed(self):
        require_opencv()

    def test_missing(self, monkeypatch: pytest.MonkeyPatch):
        # Python's own mark of a module that cannot be imported.
        monkeypatch.setitem(sys.modules, "cv2", None)
        with pytest.raises(RequestError, match=r"pip install camsearch\[evaluate\]"):
            require_opencv()
