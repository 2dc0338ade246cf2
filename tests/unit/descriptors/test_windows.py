"""Windows of an image: where they are, and that each is described like the box of a query."""

from __future__ import annotations

import pytest
import torch

from descriptors.arrays import Box, Size, box_of_region, region_of_box
from descriptors.method import Method
from descriptors.refining import refine_box
from descriptors.settings import MethodSettings, RegionSettings
from descriptors.windows import PYRAMIDS, window_boxes
from tests.support.images import shapes
from tests.support.tiny_network import batch_of, tiny_method, tiny_settings
from tests.support.tolerances import WHITENED

SIZE = Size(96, 64)
IMAGES = [shapes(*SIZE, seed) for seed in (1, 2, 3)]


@pytest.fixture(scope="module")
def method() -> Method:
    return tiny_method(tiny_settings(windows=14))


class TestWhere:
    @pytest.mark.parametrize("count", PYRAMIDS)
    def test_the_whole_image_and_windows_within_it_that_cover_it(self, count: int) -> None:
        boxes = window_boxes(count, SIZE)
        assert len(boxes) == len({tuple(b.as_list()) for b in boxes}) == count
        assert boxes[0] == Box(0, 0, 96, 64)
        for box in boxes:
            assert box.inside(SIZE) == box
        for level in (boxes[1:5], boxes[5:14], boxes[14:30]):
            corners = {(b.x0 == 0, b.y0 == 0, b.x1 == 96, b.y1 == 64) for b in level}
            assert not level or {(True, True, False, False), (False, False, True, True)} <= corners

    def test_a_larger_pyramid_begins_with_a_smaller_one(self) -> None:
        assert window_boxes(30, SIZE)[:14] == window_boxes(14, SIZE)

    def test_an_image_of_one_pixel_has_windows(self) -> None:
        assert all(b.x1 > b.x0 and b.y1 > b.y0 for b in window_boxes(130, Size(1, 1)))


class TestDescribed:
    def test_each_is_the_query_with_that_box(self, method: Method) -> None:
        """The classes come from the evidence within, as `describe_kept_query` does it."""
        encoded = method.encoder.encode(batch_of(method.encoder, IMAGES))
        described = method.with_windows(method.describe_encoded(encoded))
        assert described.windows is not None
        assert described.windows.shape == (3, 14, method.settings.dims)
        assert torch.equal(described.windows[:, 0], described.descriptors)
        regions = RegionSettings()
        for row in range(3):
            one = encoded[row : row + 1]
            for number, box in enumerate(window_boxes(14, encoded.working)[1:], start=1):
                alone = method.describe_kept_query(one, encoded.working, regions, box)
                cosine = float(described.windows[row, number] @ alone.descriptor)
                WHITENED.check(1.0, cosine, f"{row} {number}")

    def test_the_index_gets_them_unless_they_are_off(self, method: Method) -> None:
        batch = batch_of(method.encoder, IMAGES)
        windows = method.describe_images(batch).windows
        assert windows is not None
        assert tiny_method(tiny_settings(windows=0)).describe_images(batch).windows is None

    def test_a_theme_stands_for_the_classes_of_every_window(self) -> None:
        themed = tiny_method(tiny_settings(windows=5, theme=(3,)))
        encoded = themed.encoder.encode(batch_of(themed.encoder, IMAGES[:1]))
        described = themed.with_windows(themed.describe_encoded(encoded))
        assert described.windows is not None
        box = window_boxes(5, encoded.working)[1]
        alone = themed.describe_kept_query(encoded, encoded.working, RegionSettings(), box)
        WHITENED.check(1.0, float(described.windows[0, 1] @ alone.descriptor), "")


class TestSettings:
    def test_a_gallery_made_before_has_none_and_keeps_its_fingerprint(self) -> None:
        stored = MethodSettings().model_dump(mode="json")
        del stored["windows"]
        old = MethodSettings.of_gallery(stored)
        assert old == MethodSettings(windows=0)
        # The digest of the default settings before there were windows.
        assert old.digest() == BEFORE
        assert MethodSettings(windows=5).digest() not in {BEFORE, MethodSettings().digest()}
        assert MethodSettings(windows=5).vector_digest() == old.vector_digest()


BEFORE = "973c88b59fde07bb6f2978eb32cff9a5c130892daff72af2b681505fb99c6843"


NO_REGIONS = RegionSettings(thresholds=(), whole_image=False)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("regions", [NO_REGIONS, RegionSettings()])
def test_a_refined_box_is_the_best_region_or_more_similar(
    method: Method, seed: int, regions: RegionSettings
) -> None:
    size = Size(512, 512)
    encoded = method.encoder.encode(batch_of(method.encoder, [shapes(512, 512, seed)]))
    query = method.describe_kept_query(encoded, size, regions, Box(96, 96, 320, 288))
    start = Box(64, 32, 480, 320)
    refined = refine_box(method, query, encoded, size, start, regions)

    def cosine(box: Box) -> float:
        of_box = tuple(
            torch.tensor([[region_of_box(box, size, encoded.grid(maps.cells))]])
            for maps in encoded.features
        )
        found = method.describe_classes(encoded, query.classes[None], of_box)
        return float(found[0, 0] @ query.region_descriptor)

    assert refined.inside(size) == refined
    [match] = method.match_regions(query, encoded, regions)
    region = match and box_of_region(match.region, size, encoded.grid(encoded.finest))
    if refined == region:
        return
    assert cosine(refined) > cosine(start)
    assert region is None or cosine(refined) > cosine(region) + 0.07
    cell = encoded.finest.stride * 512 / encoded.working.width
    assert min(refined.x1 - refined.x0, refined.y1 - refined.y0) >= 4 * cell
