"""What is refused, and that nothing else than an image or an `ImageError` ever comes out."""

from __future__ import annotations

import random
import struct
import tracemalloc
import zlib
from functools import cache

import numpy as np
import pytest
from PIL import Image

from descriptors.arrays import Size
from descriptors.errors import (
    FeaturelessImage,
    ImageError,
    ImageTooLarge,
    ImageTooSmall,
    UnreadableImage,
)
from descriptors.images import ImageLimits, read_image
from tests.support.image_variants import chunk
from tests.support.images import EVERY_FORMAT, animated, encoded, noise, shapes, uniform


class TestRefused:
    def test_an_empty_file(self) -> None:
        with pytest.raises(UnreadableImage, match="empty"):
            read_image(b"")

    def test_no_image_at_all(self) -> None:
        for data in (
            b"I am a text called photo.jpg\n" * 20,
            b"\0" * 500,
            b"<svg></svg>",
            b"%PDF-1",
        ):
            with pytest.raises(UnreadableImage, match="not an image in a supported format"):
                read_image(data)

    @pytest.mark.filterwarnings("ignore::UserWarning")
    def test_truncated(self) -> None:
        for file_format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"):
            data = encoded(noise(64, 64), file_format)
            for share in (0.1, 0.5, 0.9):
                with pytest.raises(UnreadableImage):
                    read_image(data[: int(len(data) * share)])

    def test_too_small(self) -> None:
        for width, height in ((1, 1), (15, 200)):
            with pytest.raises(ImageTooSmall, match=f"{width} x {height}.*needs 16"):
                read_image(encoded(noise(width, height), "PNG"))
        assert read_image(encoded(noise(16, 16), "PNG")).size == Size(16, 16)

    def test_too_many_bytes(self) -> None:
        data = encoded(noise(64, 64), "PNG")
        with pytest.raises(ImageTooLarge, match=f"{len(data):,} bytes"):
            read_image(data, ImageLimits(max_bytes=len(data) - 1))
        assert read_image(data, ImageLimits(max_bytes=len(data))).size == Size(64, 64)

    def test_too_many_pixels(self) -> None:
        data = encoded(noise(64, 64), "PNG")
        with pytest.raises(ImageTooLarge, match="64 x 64 pixels; 4,095"):
            read_image(data, ImageLimits(max_pixels=4095))
        assert read_image(data, ImageLimits(max_pixels=4096)).size == Size(64, 64)

    def test_one_colour(self) -> None:
        transparent = noise(64, 48).convert("RGBA")
        transparent.putalpha(0)
        for image in (uniform(64, 48, (40, 90, 200)), transparent):
            with pytest.raises(FeaturelessImage, match="one colour"):
                read_image(encoded(image, "PNG"))
        image = uniform(64, 48)
        image.putpixel((3, 3), (41, 90, 200))
        assert read_image(encoded(image, "PNG")).size == Size(64, 48)


class TestHuge:
    """Refused by the header: a few bytes must not cost gigabytes."""

    @pytest.mark.parametrize(("width", "height"), [(12_000, 9_000), (2**31 - 1, 1)])
    def test_a_header_that_promises_too_much(self, width: int, height: int) -> None:
        data = _png_header(width, height)
        tracemalloc.start()
        with pytest.raises(ImageTooLarge, match="store it smaller, or raise CAMSEARCH_MAX_PIXELS"):
            read_image(data)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2 * 2**20

    def test_in_other_formats(self) -> None:
        for data in (
            _patched("GIF", 6, struct.pack("<HH", 65_535, 65_535)),
            _patched("BMP", 18, struct.pack("<ii", 40_000, 40_000)),
            b"P6 40000 40000 255\n" + bytes(1000),
            _huge_webp(),
        ):
            with pytest.raises(ImageTooLarge):
                read_image(data)


def _png_header(width: int, height: int) -> bytes:
    """A PNG that promises so many pixels and holds a thousand bytes of them."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    body = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


def _huge_webp() -> bytes:
    data = bytearray(encoded(shapes(48, 40), "WEBP", lossless=True))
    at = data.index(b"VP8L") + 9
    rest = struct.unpack("<I", data[at : at + 4])[0] & ~0x0FFF_FFFF
    data[at : at + 4] = struct.pack("<I", rest | 16_382 | 16_382 << 14)
    return bytes(data)


def _patched(kind: str, at: int, size: bytes) -> bytes:
    data = bytearray(encoded(shapes(48, 40), kind))
    data[at : at + len(size)] = size
    return bytes(data)


@cache
def _corpus() -> dict[str, bytes]:
    """Small valid files of many kinds, to be damaged."""
    image = shapes(48, 40, 1)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "maker"
    frames = [image, noise(48, 40), image]
    grey16 = Image.fromarray(np.arange(48 * 40, dtype=np.uint16).reshape(40, 48) * 30)
    files = {kind: encoded(image, kind) for kind in EVERY_FORMAT}
    files |= {
        f"{kind} exif": encoded(image, kind, exif=exif) for kind in ("JPEG", "PNG", "WEBP", "TIFF")
    }
    files |= {
        f"{kind} frames": animated(frames, kind) for kind in ("GIF", "WEBP", "PNG", "TIFF", "MPO")
    }
    return files | {
        "TIFF lzw": encoded(image, "TIFF", compression="tiff_lzw"),
        "TIFF jpeg": encoded(image, "TIFF", compression="jpeg"),
        "TIFF deflate": encoded(image, "TIFF", compression="tiff_adobe_deflate"),
        "JPEG progressive": encoded(image, "JPEG", progressive=True),
        "JPEG cmyk": encoded(image.convert("CMYK"), "JPEG"),
        "JPEG2000 raw": encoded(image, "JPEG2000", no_jp2=True),
        "PNG palette": encoded(image.quantize(32), "PNG", transparency=3),
        "PNG 16": encoded(grey16, "PNG"),
        "BMP palette": encoded(image.quantize(32), "BMP"),
    }


def _damaged(data: bytes, draw: random.Random) -> bytes:
    """Cut short, with bytes missing, with bytes added, or with a few bytes changed."""
    at = draw.randrange(len(data))
    way = draw.random()
    if way < 0.2:
        return data[:at]
    if way < 0.35:
        return data[:at] + data[at + draw.randrange(1, 20) :]
    if way < 0.45:
        return data[:at] + draw.randbytes(draw.randrange(1, 20)) + data[at:]
    changed = bytearray(data)
    # Headers and tables stand in front and break in more ways than pixels do.
    reach = min(len(data), 400) if draw.random() < 0.6 else len(data)
    for _ in range(draw.choice([1, 1, 2, 4, 16])):
        i = draw.randrange(reach)
        changed[i] = draw.choice([0, 255, 127, 128, draw.randrange(256)])
    return bytes(changed)


def _outcome(data: bytes, reduce_to: int | None) -> str:
    """What became of a file: a name from the list, or what should never come out."""
    try:
        read = read_image(data, reduce_to=reduce_to)
    except ImageError as error:
        return error.kind if error.reason.endswith(".") else f"no sentence: {error.reason}"
    except Exception as error:  # noqa: BLE001 - whatever the decoders let through is the finding
        return f"{type(error).__name__}: {error}"
    return "image" if read.image.mode == "RGB" else f"mode {read.image.mode}"


_ALLOWED = {"image", "unreadable_image", "unsupported_image", "image_too_small"}
_ALLOWED |= {"image_too_large", "featureless_image"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "seeds", [range(40), pytest.param(range(40, 1500), marks=pytest.mark.slow)]
)
def test_a_damaged_file_gives_an_image_or_an_image_error(seeds: range) -> None:
    for kind, whole in _corpus().items():
        for seed in seeds:
            draw = random.Random(f"{kind} {seed}")
            data = _damaged(whole, draw)
            outcome = _outcome(data, draw.choice([None, 16]))
            assert outcome in _ALLOWED, f"{kind}, seed {seed}"


@pytest.mark.filterwarnings("ignore")
def test_noise_behind_every_magic_number() -> None:
    for length in [1, 2, 3, 7, 20, 300]:
        draw = random.Random(length)
        for data in _corpus().values():
            for magic in (2, 4, 8, 12, 16):
                outcome = _outcome(data[:magic] + draw.randbytes(length), None)
                assert outcome in _ALLOWED - {"image"}
