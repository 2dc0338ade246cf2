"""Boxes, regions and maps."""

from __future__ import annotations

import pytest
import torch

from descriptors.arrays import (
    Box,
    Cells,
    Encoded,
    FeatureMaps,
    Grid,
    Region,
    Size,
    box_of_region,
    region_of_box,
)
from descriptors.errors import RequestError
from tests.support.checking import REFUSED
from tests.support.tiny_network import feature_maps

# An image of 640 x 480, seen at 512 x 384, in cells of 16: one cell is 20 pixels.
IMAGE, GRID = Size(640, 480), Grid(32, 24, 32.0, 24.0)


class TestBox:
    def test_without_area_or_with_a_coordinate_that_is_no_number_is_refused(self) -> None:
        for corners in ((0, 0, 0, 5), (0, 0, 5, 0), (5, 0, 4, 5), (0, 5, 5, 4)):
            with pytest.raises(RequestError, match="is empty"):
                Box(*map(float, corners))
        for position, bad in enumerate((float("nan"), float("inf"), -float("inf"), float("nan"))):
            corners = [0.0, 0.0, 10.0, 10.0]
            corners[position] = bad
            with pytest.raises(RequestError, match="not finite"):
                Box(*corners)

    def test_inside_keeps_what_lies_in_the_image(self) -> None:
        assert Box(-5, 10, 700, 900).inside(IMAGE) == Box(0, 10, 640, 480)
        box = Box(1.25, 2.5, 639.5, 480)
        assert box.inside(IMAGE) == box

    def test_outside_the_image_is_refused_with_its_size(self) -> None:
        for box in (Box(640, 0, 700, 10), Box(0, 480, 10, 500), Box(-10, 0, 0, 10)):
            with pytest.raises(RequestError, match=r"outside the image.*640 x 480"):
                box.inside(IMAGE)


class TestRegionOfBox:
    def test_by_hand(self) -> None:
        """Cells of 20 pixels; both ends rounded down."""
        for box, region in (
            (Box(45, 60, 199, 121), Region(2, 3, 9, 6)),
            (Box(60, 40, 80, 100), Region(3, 2, 4, 5)),  # edges on cell borders stay
            (Box(65, 45, 66, 46), Region(3, 2, 4, 3)),  # within one cell
            (Box(639.5, 479.5, 640, 480), Region(31, 23, 32, 24)),  # the last pixel
            (Box(-50, -50, 9999, 9999), Region(0, 0, 32, 24)),
        ):
            assert region_of_box(box, IMAGE, GRID) == region

    def test_a_last_cell_that_is_a_part_of_one(self) -> None:
        """As the published code, pixel // stride: the part of a cell at the end is left out."""
        grid = Grid(9, 6, 67 / 8, 48 / 8)
        assert region_of_box(Box(0, 0, 67, 48), Size(67, 48), grid) == Region(0, 0, 8, 6)
        assert region_of_box(Box(66, 0, 67, 48), Size(67, 48), grid) == Region(8, 0, 9, 6)

    def test_bad_input(self) -> None:
        with pytest.raises(REFUSED):
            region_of_box([0, 0, 1, 1], IMAGE, GRID)


class TestBoxOfRegion:
    def test_by_hand(self) -> None:
        assert box_of_region(Region(2, 3, 9, 6), IMAGE, GRID) == Box(40, 60, 180, 120)

    def test_ends_with_the_image(self) -> None:
        """The last cell reaches beyond the image, its box does not."""
        grid = Grid(9, 6, 67 / 8, 48 / 8)
        assert box_of_region(Region(8, 0, 9, 6), Size(67, 48), grid) == Box(64, 0, 67, 48)


class TestFeatureMaps:
    def test_values_are_levels_times_scale(self) -> None:
        maps = feature_maps(torch.tensor([[[0, 10]], [[255, 1]]], dtype=torch.uint8), 4, [0.5, 2])
        assert maps.values().tolist() == [[[[0.0, 5.0]], [[510.0, 2.0]]]]
        assert maps.values().dtype == torch.float32

    def test_cut_keeps_the_cells_of_the_region(self) -> None:
        maps = feature_maps(torch.arange(12.0).reshape(1, 3, 4), 16)
        cut = maps.cut(Region(1, 0, 3, 2))
        assert cut.levels.tolist() == [[[[1.0, 2.0], [5.0, 6.0]]]]
        assert cut.stride == 16

    def test_some_images_keep_their_scale(self) -> None:
        maps = FeatureMaps(
            torch.arange(6.0).reshape(3, 1, 1, 2), torch.tensor([[1.0], [2.0], [3.0]]), 8
        )
        assert maps[1:].values().flatten().tolist() == [4.0, 6.0, 12.0, 15.0]

    def test_bad_input(self) -> None:
        with pytest.raises(REFUSED):
            FeatureMaps(torch.zeros(2, 3, 4), torch.ones(2, 3), 8)


def encoded(count: int = 3) -> Encoded:
    """Two layers, the coarser of which is the evidence too."""
    fine = feature_maps(torch.rand(count, 2, 6, 8), 4)
    coarse = feature_maps(torch.rand(count, 3, 3, 4), 8)
    return Encoded((fine, coarse), coarse, torch.rand(count, 5), Size(31, 23))


class TestEncoded:
    def test_some_images(self) -> None:
        every = encoded(3)
        part = every[1:3]
        assert torch.equal(part.scores, every.scores[1:3])
        assert torch.equal(part.features[0].levels, every.features[0].levels[1:3])
        assert part.evidence is part.features[1]

    def test_evidence_of_its_own_is_sliced_too(self) -> None:
        every = encoded()
        own = feature_maps(torch.rand(3, 7, 3, 4), 8)
        part = Encoded(every.features, own, every.scores, every.working)[2:]
        assert torch.equal(part.evidence.levels, own.levels[2:])

    def test_averaged_maps_have_the_means_of_cells(self) -> None:
        levels = torch.arange(15, dtype=torch.float32).reshape(1, 1, 3, 5)
        coarse = feature_maps(levels, 8).averaged(16)
        # The last row and column are cut short: means of the cells that are there.
        expected = [[3.0, 5.0, 6.5], [10.5, 12.5, 14.0]]
        assert coarse.levels[0, 0].tolist() == expected
        assert (coarse.stride, coarse.averaged_from) == (16, Cells(8, 3, 5))
        assert coarse.averaged(16) is coarse
        assert coarse.averaged(32).averaged_from == Cells(8, 3, 5)
        assert coarse.cut(Region(0, 0, 1, 1)).averaged_from is None

    def test_regions_keep_the_finest_grid_where_its_maps_are_averaged(self) -> None:
        every = encoded()
        coarse = every.averaged()
        assert coarse.finest == every.finest
        assert {maps.stride for maps in coarse.features} == {every.evidence.stride}
        assert coarse.evidence is every.evidence
        assert coarse.features[1] is every.features[1]

    def test_eight_bit_levels_become_floating_once(self) -> None:
        levels = torch.tensor([[[3, 255]]], dtype=torch.uint8)
        kept = feature_maps(levels, 8, 0.5)
        every = Encoded((kept,), kept, torch.rand(1, 5), Size(16, 8))
        floating = every.floating(torch.bfloat16)
        assert floating.features[0].levels.dtype == torch.bfloat16
        assert floating.evidence is floating.features[0]
        assert floating.evidence.values().tolist() == [[[[1.5, 127.5]]]]
        assert floating.floating(torch.float32) is floating
