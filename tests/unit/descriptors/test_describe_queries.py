"""Several query pictures together, against each by itself."""

from __future__ import annotations

import pytest
import torch

from descriptors.arrays import Box
from descriptors.errors import RequestError
from descriptors.settings import RegionSettings
from tests.support.pictures import picture, shapes
from tests.support.tiny_network import tiny_method, tiny_settings

REGIONS = RegionSettings(n_classes=3, min_side=16)
PICTURES = [
    picture(shapes(width, height, seed=i))
    for i, (width, height) in enumerate([(64, 48), (48, 64), (64, 48), (200, 90), (64, 48)])
]
BOXES = [None, Box(4, 4, 40, 60), Box(8, 4, 50, 44), None, Box(0, 0, 64, 48)]


@pytest.fixture(scope="module", params=["default", "paper"])
def method(request):
    return tiny_method(tiny_settings(request.param))


def check_same(expected, found):
    torch.testing.assert_close(found.descriptor, expected.descriptor, atol=2e-6, rtol=0)
    torch.testing.assert_close(
        found.region_descriptor, expected.region_descriptor, atol=2e-6, rtol=0
    )
    assert found.classes.tolist() == expected.classes.tolist()
    assert (found.picture, found.box) == (expected.picture, expected.box)


def test_each_is_described_as_by_itself(method):
    together = method.describe_queries(list(zip(PICTURES, BOXES, strict=True)), REGIONS)
    assert len(together) == len(PICTURES)
    for one, box, found in zip(PICTURES, BOXES, together, strict=True):
        check_same(method.describe_query(one, REGIONS, box), found)


def test_they_are_different_queries(method):
    found = method.describe_queries(list(zip(PICTURES, BOXES, strict=True)), REGIONS)
    vectors = torch.stack([one.descriptor for one in found])
    assert (vectors @ vectors.T - torch.eye(len(found))).max() < 0.999


def test_one_picture_with_several_boxes(method):
    boxes = [Box(0, 0, 32, 32), None, Box(20, 10, 60, 44)]
    found = method.describe_queries([(PICTURES[0], box) for box in boxes], REGIONS)
    for box, query in zip(boxes, found, strict=True):
        check_same(method.describe_query(PICTURES[0], REGIONS, box), query)


def test_pictures_of_one_shape_run_together(method, monkeypatch):
    encode, batches = method.encoder.encode, []

    def noted(batch):
        batches.append(len(batch))
        return encode(batch)

    monkeypatch.setattr(method.encoder, "encode", noted)
    method.describe_queries([(PICTURES[i], None) for i in (0, 1, 2, 4)], REGIONS)
    assert sorted(batches) == [1, 3]


def test_the_classes_of_a_box_are_those_of_its_crop(method):
    box = Box(8, 4, 50, 44)
    (found,) = method.describe_queries([(PICTURES[2], box)], REGIONS)
    most = max(method.settings.n_classes, REGIONS.n_classes)
    scores = method.encode(PICTURES[2].crop(box)).scores[0]
    assert found.classes.tolist() == scores.argsort(descending=True)[:most].tolist()


def test_no_queries(method):
    assert method.describe_queries([], REGIONS) == []


def test_a_box_outside_its_picture_is_refused(method):
    with pytest.raises(RequestError, match="outside"):
        method.describe_queries([(PICTURES[0], None), (PICTURES[1], Box(900, 0, 950, 9))], REGIONS)
