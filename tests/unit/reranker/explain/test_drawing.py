"""Boxes are seen on any ground, heat maps read in grey too, thumbnails are never enlarged."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from descriptors.arrays import Box, Size
from reranker.explain.drawing import draw_box, heat_colours, heat_layer, thumbnail


class TestHeat:
    def test_hotter_is_lighter_and_less_transparent(self):
        colours = heat_colours(np.linspace(0, 1, 50, dtype=np.float32)[None]).astype(int)[0]
        light = colours[:, :3] @ [0.299, 0.587, 0.114]
        assert (np.diff(light) > 0).all()
        assert (np.diff(colours[:, 3]) > 0).all()
        assert colours[0, 3] == 0

    def test_odd_values_are_harmless(self):
        odd = np.array([[np.nan, -1, 2, np.inf]], dtype=np.float32)
        assert heat_colours(odd)[0, :, 3].tolist() == [0, 0, 200, 200]

    def test_the_layer_has_the_shape_of_the_grid(self):
        assert heat_layer(np.zeros((8, 10), dtype=np.float32)).size == (96, 77)
        assert heat_layer(np.ones((1, 1), dtype=np.float64)).size == (96, 96)


def test_a_thumbnail_is_never_enlarged():
    for size, shown in (((400, 300), (320, 240)), ((100, 50), (100, 50)), ((100, 4000), (16, 640))):
        assert thumbnail(Image.new("RGB", size)).size == shown


class TestBox:
    @pytest.mark.parametrize("ground", ["black", "white", (255, 214, 51)])
    def test_a_box_is_seen_on_any_ground(self, ground):
        image = Image.new("RGB", (100, 80), ground)
        draw_box(image, Box(40, 40, 160, 120), Size(200, 160))
        across = np.asarray(image.convert("L"), dtype=int)[40]
        assert np.ptp(across[15:30]) > 150
        assert np.ptp(across[30:70]) == 0

    @pytest.mark.parametrize("box", [Box(0, 0, 1, 1), Box(199, 159, 300, 200), Box(0, 0, 200, 160)])
    def test_a_box_at_the_edge_stays_in_the_image(self, box):
        image = Image.new("RGB", (100, 80))
        draw_box(image, box, Size(200, 160))
        assert image.getbbox() is not None
