"""Made images: seeded, drawn with numpy alone, so that they are the same on every machine."""

from __future__ import annotations

from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from descriptors.arrays import Size
from descriptors.images import RgbImage

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

EVERY_FORMAT = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000", "MPO")

# The letter F in nothing but hard edges: no two of its eight orientations are alike.
_LETTER_F = ("#####", "#....", "###..", "#....", "#....", "#....")


def gradient(width: int, height: int) -> Image.Image:
    """Red rises to the right, green to the bottom, blue falls to the right."""
    across = np.linspace(0, 255, width)[None, :].repeat(height, axis=0)
    down = np.linspace(0, 255, height)[:, None].repeat(width, axis=1)
    return _image(np.stack([across, down, 255 - across], axis=2))


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """Every pixel drawn by itself."""
    random = np.random.default_rng(seed)
    return _image(random.integers(0, 256, (height, width, 3)))


def shapes(width: int, height: int, seed: int = 0, count: int = 5) -> Image.Image:
    """Coloured discs and rectangles over a faint gradient: most like a photo to a network."""
    random = np.random.default_rng(seed)
    pixels = np.asarray(gradient(width, height)).astype(float) * random.uniform(0.1, 0.5, 3)
    y, x = np.mgrid[0:height, 0:width]
    for _ in range(count):
        centre_x, centre_y = random.uniform(0, width), random.uniform(0, height)
        reach = random.uniform(0.08, 0.3) * min(width, height)
        if random.random() < 0.5:
            inside = (x - centre_x) ** 2 + (y - centre_y) ** 2 < reach**2
        else:
            inside = (abs(x - centre_x) < reach) & (abs(y - centre_y) < reach * 0.6)
        pixels[inside] = random.uniform(0, 255, 3)
    return _image(pixels)


def uniform(width: int, height: int, colour: tuple[int, int, int] = (40, 90, 200)) -> Image.Image:
    """One colour everywhere."""
    return Image.new("RGB", (width, height), colour)


def letter(width: int = 50, height: int = 60) -> Image.Image:
    """A dark F on a light ground, so that a turn or a flip shows."""
    pattern = np.array([[c == "#" for c in row] for row in _LETTER_F])
    rows = np.arange(height) * pattern.shape[0] // height
    columns = np.arange(width) * pattern.shape[1] // width
    dark = pattern[rows[:, None], columns[None, :]]
    return _image(np.where(dark[:, :, None], [20, 30, 60], [230, 220, 200]))


def encoded(image: Image.Image, file_format: str = "PNG", **options: Any) -> bytes:
    """The image as a file's bytes; `options` are Pillow's for that format."""
    buffer = BytesIO()
    image.save(buffer, file_format, **options)
    return buffer.getvalue()


def animated(frames: Sequence[Image.Image], file_format: str) -> bytes:
    """An animation of these frames."""
    rest = list(frames[1:])
    return encoded(frames[0], file_format, save_all=True, append_images=rest, duration=100)


def with_orientation(image: Image.Image, orientation: int, **options: Any) -> bytes:
    """A JPEG stored turned, whose EXIF orientation turns it back to `image`."""
    stored = image
    for step in _TURNED_AWAY[orientation]:
        stored = stored.transpose(step)
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(stored, "JPEG", exif=exif, **options)


_FLIP, _HALF = Image.Transpose.FLIP_LEFT_RIGHT, Image.Transpose.ROTATE_180
_LEFT, _RIGHT = Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_270

# What was done to the upright image, for each value of the EXIF tag (its specification's table:
# where row 0 and column 0 of the stored image lie on the upright one).
_TURNED_AWAY: dict[int, tuple[Image.Transpose, ...]] = {
    1: (),
    2: (_FLIP,),
    3: (_HALF,),
    4: (Image.Transpose.FLIP_TOP_BOTTOM,),
    5: (Image.Transpose.TRANSPOSE,),
    6: (_LEFT,),
    7: (Image.Transpose.TRANSVERSE,),
    8: (_RIGHT,),
}


def rgb_image(image: Image.Image) -> RgbImage:
    """What `read_image` would make of the image's file."""
    return RgbImage(image, Size(*image.size))


def collection(count: int, width: int = 64, height: int = 64, seed: int = 0) -> list[Image.Image]:
    """Many different images of one size: shapes, with every fourth one noise."""
    draw: tuple[Callable[..., Image.Image], ...] = (shapes, shapes, shapes, noise)
    return [draw[i % 4](width, height, seed=seed * 1000 + i) for i in range(count)]


def _image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.clip(np.round(pixels), 0, 255).astype(np.uint8))
