"""Several query images together, against each by itself."""

from __future__ import annotations

import pytest
import torch

from descriptors.arrays import Box
from descriptors.errors import RequestError
from descriptors.settings import RegionSettings
from tests.support.images import rgb_image, shapes
from tests.support.tiny_network import tiny_method, tiny_settings

REGIONS = RegionSettings(n_classes=3, min_side=16)
IMAGES = [
    rgb_image(shapes(width, height, seed=i))
    for i, (width, height) in enumerate([(64, 48), (48, 64), (64, 48), (200, 90), (64, 48)])
]
BOXES = [None, Box(4, 4, 40, 60), Box(8, 4, 50, 44), None, Box(0, 0, 64, 48)]


@pytest.fixture(scope="module", params=["default", "paper"])
def method(request):
    return tiny_method(tiny_settings(request.param))


def test_each_is_described_as_by_itself(method):
    queries = [*zip(IMAGES, BOXES, strict=True), (IMAGES[0], Box(20, 10, 60, 44))]
    together = method.describe_queries(queries, REGIONS)
    for (image, box), found in zip(queries, together, strict=True):
        expected = method.describe_query(image, REGIONS, box)
        for part in ("descriptor", "region_descriptor"):
            one, other = getattr(found, part), getattr(expected, part)
            torch.testing.assert_close(one, other, atol=2e-6, rtol=0)
        assert found.classes.tolist() == expected.classes.tolist()
        assert (found.image, found.box) == (expected.image, expected.box)


def test_images_of_one_shape_run_together(method, monkeypatch):
    encode, batches = method.encoder.encode, []

    def noted(batch):
        batches.append(len(batch))
        return encode(batch)

    monkeypatch.setattr(method.encoder, "encode", noted)
    method.describe_queries([(IMAGES[i], None) for i in (0, 1, 2, 4)], REGIONS)
    assert sorted(batches) == [1, 3]


def test_the_classes_of_a_box_are_those_of_its_crop(method):
    box = Box(8, 4, 50, 44)
    (found,) = method.describe_queries([(IMAGES[2], box)], REGIONS)
    most = max(method.settings.n_classes, REGIONS.n_classes)
    scores = method.encode(IMAGES[2].crop(box)).scores[0]
    assert found.classes.tolist() == scores.argsort(descending=True)[:most].tolist()


def test_no_queries(method):
    assert method.describe_queries([], REGIONS) == []


def test_a_box_outside_its_image_is_refused(method):
    with pytest.raises(RequestError, match="outside"):
        method.describe_queries([(IMAGES[0], None), (IMAGES[1], Box(900, 0, 950, 9))], REGIONS)
