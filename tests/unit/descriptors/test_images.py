"""Reading images: every format and mode we promise, and refusals that name the remedy."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from descriptors.arrays import Size
from descriptors.errors import UnsupportedImage
from descriptors.images import FORMATS, RgbImage, read_image
from tests.support.images import (
    EVERY_FORMAT,
    animated,
    encoded,
    gradient,
    letter,
    noise,
    shapes,
    uniform,
    with_orientation,
)

LOSSLESS = {"PNG": {}, "BMP": {}, "TIFF": {}, "PPM": {}, "WEBP": {"lossless": True}}
LOSSLESS |= {"JPEG2000": {}, "AVIF": {"quality": 100, "subsampling": "4:4:4"}}


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.convert("RGB")).astype(int)


def difference(expected: Image.Image, read: RgbImage) -> float:
    """Mean difference of the pixels, in levels of 255."""
    assert read.image.mode == "RGB"
    assert read.image.size == expected.size
    return float(abs(pixels(expected) - pixels(read.image)).mean())


class TestFormats:
    def test_every_format_is_read(self) -> None:
        for file_format in EVERY_FORMAT:
            image = shapes(48, 40, 1)
            read = read_image(encoded(image, file_format))
            assert read.size == Size(48, 40)
            assert difference(image, read) < 9

    def test_lossless_formats_keep_every_pixel(self) -> None:
        for file_format in LOSSLESS:
            image = noise(33, 29)
            read = read_image(encoded(image, file_format, **LOSSLESS[file_format]))
            assert difference(image, read) <= (1 if file_format == "AVIF" else 0)

    def test_formats_are_names_that_pillow_opens(self) -> None:
        Image.init()
        assert set(FORMATS) <= set(Image.OPEN)

    def test_progressive_jpeg(self) -> None:
        data = encoded(shapes(48, 40), "JPEG", progressive=True)
        assert read_image(data).size == Size(48, 40)

    def test_of_an_animation_the_first_frame(self) -> None:
        first = shapes(48, 40, 1)
        frames = [first, noise(48, 40, 2), uniform(48, 40)]
        for file_format in ("GIF", "WEBP", "PNG", "TIFF", "MPO"):
            assert difference(first, read_image(animated(frames, file_format))) < 9


class TestModes:
    def test_cmyk_jpeg_as_adobe_writes_it_inverted(self) -> None:
        image = shapes(48, 40, 1)
        data = encoded(image.convert("CMYK"), "JPEG", quality=95)
        assert b"Adobe" in data
        assert difference(image, read_image(data)) < 6

    def test_cmyk_jpeg_without_adobes_mark_is_read_somehow(self) -> None:
        data = encoded(shapes(48, 40, 1).convert("CMYK"), "JPEG")
        at = data.index(b"\xff\xee")
        length = int.from_bytes(data[at + 2 : at + 4], "big")
        assert read_image(data[:at] + data[at + 2 + length :]).size == Size(48, 40)

    def test_sixteen_bit_grey_is_scaled_not_clipped(self) -> None:
        """Of a PPM; other formats are in test_images_pixels.py."""
        levels = np.linspace(0, 65535, 32 * 24).astype(np.uint16).reshape(24, 32)
        data = b"P5 32 24 65535\n" + levels.astype(">u2").tobytes()
        read = pixels(read_image(data).image)
        assert abs(read - (levels / 257)[:, :, None]).max() <= 1

    def test_thirty_two_bit_is_not_read(self) -> None:
        for mode in ("F", "I"):
            with pytest.raises(UnsupportedImage, match="TIFF has 32-bit"):
                read_image(encoded(gradient(32, 24).convert("L").convert(mode), "TIFF"))

    def test_a_colour_space_without_a_way_to_rgb_is_not_read(self) -> None:
        image = Image.merge("LAB", gradient(32, 24).split())
        with pytest.raises(UnsupportedImage):
            read_image(encoded(image, "TIFF"))


class TestOrientation:
    UPRIGHT = letter(50, 60)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_at_a_reduced_size_too(self, orientation: int) -> None:
        size = (1600, 1200) if orientation % 2 else (999, 1000)
        upright = letter(*size)
        read = read_image(with_orientation(upright, orientation), reduce_to=100)
        assert read.size == Size(*size)
        assert read.image.width < size[0] / 4
        assert min(read.image.size) >= 100
        assert difference(upright.resize(read.image.size, Image.Resampling.BOX), read) < 4

    def test_of_webp(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 6
        stored = self.UPRIGHT.transpose(Image.Transpose.ROTATE_90)
        read = read_image(encoded(stored, "WEBP", exif=exif))
        assert read.size == Size(50, 60)
        assert difference(self.UPRIGHT, read) < 9

    def test_a_value_without_meaning_changes_nothing(self) -> None:
        exif = Image.Exif()
        exif[0x0112] = 9
        assert read_image(encoded(self.UPRIGHT, "JPEG", exif=exif)).size == Size(50, 60)

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_another_tag_of_a_wrong_type_does_not_matter(self) -> None:
        """The orientation is legible; nothing else of the EXIF data is ours to judge."""
        exif = Image.Exif()
        exif[0x010F] = "maker"
        exif[0x0112] = 6
        stored = self.UPRIGHT.transpose(Image.Transpose.ROTATE_90)
        data = bytearray(encoded(stored, "JPEG", exif=exif))
        data[data.index(b"\x01\x0f\x00\x02") + 1] = 7  # the text under a tag of whole numbers
        assert read_image(bytes(data)).size == Size(50, 60)
