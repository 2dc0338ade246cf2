"""Keypoints are extracted once, found again, and lie where the image's pixels do."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from descriptors.arrays import Box, Size
from descriptors.errors import RequestError
from evaluation.baselines import keypoints
from evaluation.baselines.keypoints import (
    Keypoints,
    extract,
    keypoints_of,
    require_opencv,
)
from evaluation.trials import DatasetImage
from tests.support.images import gradient, shapes


def image_of(image, file):
    image.save(file)
    return DatasetImage(file.name, Size(*image.size), file)


@pytest.fixture
def image(tmp_path):
    return image_of(shapes(160, 120, seed=3, count=9), tmp_path / "one.png")


class Count:
    def __init__(self):
        self.done = 0

    def __call__(self, what, done, of):
        assert what == "SIFT"
        assert done <= of
        self.done = done


class TestExtract:
    def test_places_lie_in_the_image_and_descriptors_are_bytes(self, image):
        points = extract(image)
        assert len(points.places) == len(points.descriptors) > 10
        assert (points.places >= 0).all()
        assert (points.places < [160, 120]).all()
        # OpenCV's descriptors have a length of about 512.
        lengths = np.linalg.norm(points.descriptors.astype(float), axis=1)
        np.testing.assert_allclose(lengths, 512, atol=16)

    def test_no_more_than_asked_for(self, image, monkeypatch):
        monkeypatch.setattr(keypoints, "MAX_KEYPOINTS", 5)
        # Keypoints with two orientations come on top.
        assert len(extract(image).places) < 10

    def test_places_count_in_pixels_of_the_full_size(self, image, monkeypatch):
        monkeypatch.setattr(keypoints, "SIDE", 80)
        assert extract(image).places[:, 0].max() > 80

    def test_nothing_to_see(self, tmp_path):
        points = extract(image_of(gradient(60, 60), tmp_path / "plain.png"))
        assert points.places.shape == (0, 2)
        assert points.descriptors.shape == (0, 128)

    def test_an_image_that_cannot_be_read(self, tmp_path):
        with pytest.raises(RequestError, match="cannot be read"):
            extract(DatasetImage("gone.png", Size(9, 9), tmp_path / "gone.png"))


class TestInside:
    def test_half_open_box(self):
        places = np.array([[0, 0], [5, 5], [9, 9], [10, 5]], dtype=np.float32)
        points = Keypoints(places, np.zeros((4, 128), np.uint8))
        assert points.inside(Box(5, 5, 10, 10)).tolist() == [False, True, True, False]
        assert points.inside(None).all()


class TestKeypointsOf:
    def test_a_second_run_extracts_nothing_and_agrees(self, image, tmp_path):
        digests = {image.file: "ab" * 32}
        count, again = Count(), Count()
        first = keypoints_of([image], digests, tmp_path / "kept", count)
        second = keypoints_of([image], digests, tmp_path / "kept", again)
        assert (count.done, again.done) == (1, 0)
        for one, other in zip(first.values(), second.values(), strict=True):
            np.testing.assert_array_equal(one.places, other.places)
            np.testing.assert_array_equal(one.descriptors, other.descriptors)

    def test_other_bytes_and_damaged_keypoints_are_extracted(self, image, tmp_path):
        keypoints_of([image], {image.file: "ab" * 32}, tmp_path / "kept", Count())
        count = Count()
        keypoints_of([image], {image.file: "cd" * 32}, tmp_path / "kept", count)
        assert count.done == 1
        for file in (tmp_path / "kept").rglob("*.safetensors"):
            file.write_bytes(b"cut off")
        count = Count()
        found = keypoints_of([image], {image.file: "ab" * 32}, tmp_path / "kept", count)
        assert len(found[image.file].places) > 10
        assert count.done == 1


class TestRequireOpencv:
    def test_missing(self, monkeypatch):
        # Python's own mark of a module that cannot be imported.
        monkeypatch.setitem(sys.modules, "cv2", None)
        with pytest.raises(RequestError, match=r"pip install camsearch\[evaluate\]"):
            require_opencv()
