"""Right pixels or a typed reject, for files of many kinds by independent writers."""

from __future__ import annotations

import struct
import sys
import zlib
from functools import cache
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
import pytest

from descriptors.arrays import Size
from descriptors.errors import FeaturelessImage, ImageError, UnreadableImage, UnsupportedImage
from descriptors.images import ImageLimits, read_image, upright_size
from tests.support.image_variants import Variant, chunk, png, rgb, variants
from tests.support.images import noise

if TYPE_CHECKING:
    from pathlib import Path


@cache
def _variants() -> dict[str, Variant]:
    return {variant.name: variant for variant in variants()}


@pytest.mark.filterwarnings("ignore")
def test_right_pixels_or_a_reject(tmp_path: Path) -> None:
    for name, variant in _variants().items():
        (tmp_path / "a").write_bytes(variant.data)
        try:
            image = read_image(variant.data)
        except ImageError:
            assert not variant.readable, name
            continue
        read = np.asarray(image.image).astype(int)
        assert abs(read - variant.expected).max() <= variant.tolerance, name
        assert upright_size(tmp_path / "a") == image.size == Size(*read.shape[1::-1])


@pytest.mark.filterwarnings("ignore")
def test_truncated_files_of_more_than_eight_bits_are_refused() -> None:
    for name in ("tiff rgb 16 separate (16, 16) lzw", "tiff rgb 12 contig None None"):
        data = _variants()[name].data
        for share in (0.3, 0.6, 0.9):
            with pytest.raises(UnreadableImage):
                read_image(data[: int(len(data) * share)])


class TestJpegWithoutItsEnd:
    def test_a_truncated_one_stays_refused(self) -> None:
        for missing in [3, 5, 20, 300]:
            whole = imagecodecs.jpeg8_encode(np.asarray(noise(64, 64)), level=90)
            with pytest.raises(UnreadableImage, match="truncated"):
                read_image(whole[: -2 - missing])

    def test_at_a_reduced_size(self) -> None:
        whole = imagecodecs.jpeg8_encode(np.asarray(noise(640, 480)), level=90)
        assert read_image(whole[:-2], reduce_to=100).size == Size(640, 480)


class TestSentences:
    def test_which_kind_of_jpeg(self) -> None:
        data = imagecodecs.jpeg8_encode(rgb(np.uint16, 4095), level=98, bitspersample=12)
        with pytest.raises(UnsupportedImage, match="JPEG of 12 bits"):
            read_image(data)

    def test_white_on_nothing(self) -> None:
        alpha = rgb()[:, :, :1]
        data = png(np.concatenate([np.full_like(rgb(), 255), alpha], 2), 8, 6)
        with pytest.raises(FeaturelessImage, match="one colour on a white background"):
            read_image(data)

    def test_limits_name_their_setting(self) -> None:
        data = png(rgb(), 8, 2)
        with pytest.raises(ImageError, match="CAMSEARCH_MAX_BYTES"):
            read_image(data, ImageLimits(max_bytes=10))
        with pytest.raises(ImageError, match="CAMSEARCH_MAX_PIXELS"):
            read_image(data, ImageLimits(max_pixels=10))

    def test_a_broken_chunk_of_pixels_is_damage(self) -> None:
        data = bytearray(png(rgb(), 8, 2))
        data[data.index(b"IDAT") + 40] ^= 1
        with pytest.raises(UnreadableImage, match="checksum"):
            read_image(bytes(data))


def test_orientation_in_the_text_of_a_png() -> None:
    """As older programs write it."""
    block = b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, 0x0112, 3, 1, 6, 0, 0)
    profile = (
        f"\nexif\n{len(block) + 6:8}\n".encode() + (b"Exif\0\0" + block).hex().encode() + b"\n"
    )
    text = chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(profile))
    assert read_image(png(rgb(), 8, 2, text)).size == Size(40, 48)


class TestHeic:
    def test_read_where_pillow_heif_is_installed(self) -> None:
        pillow_heif = pytest.importorskip("pillow_heif")
        from io import BytesIO

        file = BytesIO()
        image = pillow_heif.from_bytes("RGB", (48, 40), rgb().tobytes())
        image.save(file, quality=-1, chroma=444)
        read = np.asarray(read_image(file.getvalue()).image).astype(int)
        assert abs(read - rgb()).max() <= 4

    def test_without_it_the_remedy_is_named(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "pillow_heif", None)
        data = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\0" * 200
        with pytest.raises(UnsupportedImage, match=r"camsearch\[heic\]"):
            read_image(data)
