"""Sizes of images: reduced while decoding, cropped to a box, and as the network sees them."""

from __future__ import annotations

import pytest

from descriptors.arrays import Box, Size
from descriptors.encoder import to_working_size
from descriptors.errors import RequestError
from descriptors.images import RgbImage, read_image
from tests.support.checking import REFUSED
from tests.support.images import encoded, gradient, letter, noise, rgb_image, uniform
from tests.support.tiny_network import tiny_settings


class TestReducing:
    def test_no_side_is_shorter_than_asked_for(self) -> None:
        data = encoded(gradient(1600, 900), "JPEG")
        assert read_image(data, reduce_to=200).image.size == (400, 225)
        assert read_image(data, reduce_to=901).image.size == (1600, 900)

    def test_an_image_smaller_than_that_stays(self) -> None:
        assert read_image(encoded(gradient(64, 48), "JPEG"), reduce_to=512).image.size == (64, 48)

    def test_other_modes_of_jpeg(self) -> None:
        for mode in ("L", "CMYK"):
            image = gradient(800, 800).convert(mode)
            read = read_image(encoded(image, "JPEG"), reduce_to=100).image
            assert (read.size, read.mode) == ((100, 100), "RGB")

    def test_a_box_counts_full_pixels_on_a_reduced_image(self) -> None:
        read = read_image(encoded(letter(800, 960), "JPEG"), reduce_to=100)
        assert read.crop(Box(400, 480, 800, 960)).image.size == (50, 60)


class TestWorkingSize:
    def test_by_hand_channels_first(self) -> None:
        image = uniform(64, 64, (1, 2, 3))
        prepared = to_working_size(rgb_image(image), tiny_settings(side=64))
        assert [prepared[i].unique().tolist() for i in range(3)] == [[1], [2], [3]]

    def test_sides(self) -> None:
        for size, changes, expected in [
            ((640, 480), {"side": 512}, (512, 384)),
            ((480, 640), {"side": 512}, (384, 512)),
            ((100, 75), {"side": 512}, (512, 384)),  # enlarged
            ((640, 470), {"side": 512}, (512, 376)),
            ((640, 470), {"side": 512, "side_multiple": 32}, (512, 384)),
            ((4000, 20), {"side": 512, "side_multiple": 32}, (512, 32)),
            ((640, 480), {"side": 720, "side_is": "shorter", "side_multiple": 1}, (960, 720)),
            ((500, 375), {"side": 333, "side_is": "shorter", "side_multiple": 1}, (444, 333)),
            ((5000, 100), {"side": 64, "side_is": "shorter", "side_multiple": 1}, (256, 64)),
        ]:
            image = RgbImage(gradient(size[0] // 5, size[1] // 5), Size(*size))
            prepared = to_working_size(image, tiny_settings(**changes))
            assert (prepared.shape[2], prepared.shape[1]) == expected

    @pytest.mark.parametrize(("side", "side_is"), [(100, "longer"), (500, "shorter")])
    def test_both_sides_are_multiples(self, side: int, side_is: str) -> None:
        settings = tiny_settings(side=side, side_is=side_is, side_multiple=32)
        for size in ((3000, 20), (317, 211)):
            prepared = to_working_size(RgbImage(noise(20, 20), Size(*size)), settings)
            assert [side % 32 for side in prepared.shape[1:]] == [0, 0]

    def test_bad_input(self) -> None:
        with pytest.raises(REFUSED):
            to_working_size(gradient(64, 64), tiny_settings())


class TestCrop:
    def test_by_hand(self) -> None:
        image = gradient(40, 30)
        part = rgb_image(image).crop(Box(10, 5, 30, 25))
        assert part.size == Size(20, 20)
        assert part.image.getpixel((0, 0)) == image.getpixel((10, 5))

    def test_what_lies_outside_is_left_out(self) -> None:
        assert rgb_image(gradient(40, 30)).crop(Box(-10, 20, 15, 99)).size == Size(15, 10)

    def test_never_empty(self) -> None:
        for box in (Box(10.2, 5.2, 10.4, 5.4), Box(39.9, 29.9, 40, 30)):
            assert rgb_image(gradient(40, 30)).crop(box).size == Size(1, 1)

    def test_outside_is_refused(self) -> None:
        with pytest.raises(RequestError, match="outside"):
            rgb_image(gradient(40, 30)).crop(Box(40, 0, 50, 10))
