"""Draw thumbnails, boxes that are visible on any background, and heat maps."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from descriptors.arrays import Box, Size

__all__ = [
    "BOX_COLOUR",
    "data_url",
    "draw_box",
    "heat_colours",
    "heat_layer",
    "thumbnail",
    "with_heat",
]

BOX_COLOUR, _BOX_RIM = (255, 214, 51), (18, 18, 20)

# From cold to hot, with increasing lightness, so that the ramp is readable in greyscale.
_RAMP = np.array(
    [
        (20, 10, 45),
        (74, 20, 108),
        (142, 36, 110),
        (205, 58, 84),
        (242, 112, 46),
        (252, 184, 56),
        (252, 246, 190),
    ],
    dtype=np.float32,
)
# Opacity of the hottest cell, through which the image stays visible.
_MAX_ALPHA = 200
# Longer side of the coloured layer, which is smooth and can be enlarged by its viewer.
_LAYER_SIDE = 96


def thumbnail(image: Image.Image, width: int = 320) -> Image.Image:
    """Reduce an image to a width and at most twice that height; never enlarge it."""
    small = image.convert("RGB")
    small.thumbnail((width, 2 * width), Image.Resampling.LANCZOS, reducing_gap=3)
    return small


def data_url(image: Image.Image) -> str:
    """Encode an image as a data URL: JPEG, or PNG if it has transparency."""
    transparent = image.mode == "RGBA"
    file = BytesIO()
    if transparent:
        image.save(file, "PNG", optimize=True)
    else:
        image.save(file, "JPEG", quality=82, optimize=True)
    text = base64.b64encode(file.getvalue()).decode("ascii")
    return f"data:image/{'png' if transparent else 'jpeg'};base64,{text}"


def heat_colours(heat: Float[np.ndarray, "H W"]) -> UInt8[np.ndarray, "H W 4"]:
    """Colour a heat map as RGBA: hotter is lighter and less transparent.

    Args:
        heat: 0..1; other values are clipped, NaN is cold.
    """
    warm = np.nan_to_num(heat.astype(np.float32), nan=0.0).clip(0, 1)
    steps = np.linspace(0, 1, len(_RAMP))
    channels = [np.interp(warm, steps, _RAMP[:, i]) for i in range(3)]
    channels.append(_MAX_ALPHA * warm**0.75)
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def heat_layer(heat: Float[np.ndarray, "H W"]) -> Image.Image:
    """Colour a heat map as a small transparent image, to be enlarged over the original.

    Convention:
        Enlarged before it is coloured, so that all colours are of the ramp.
    """
    height, width = heat.shape
    scale = max(1, _LAYER_SIDE / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # A copy, since arrays of tensors may be read-only or not contiguous.
    cells = Image.fromarray(np.array(heat, dtype=np.float32))
    return Image.fromarray(heat_colours(np.asarray(cells.resize(size, Image.Resampling.BICUBIC))))


def with_heat(image: Image.Image, heat: Float[np.ndarray, "H W"]) -> Image.Image:
    """Overlay a heat map on the image in greyscale."""
    grey = image.convert("L").point(lambda v: v * 0.75).convert("RGBA")
    layer = heat_layer(heat).resize(image.size, Image.Resampling.BICUBIC)
    return Image.alpha_composite(grey, layer).convert("RGB")


def draw_box(image: Image.Image, box: Box, full: Size, *, thick: int = 3) -> None:
    """Draw a box into an image: a light line between two dark ones.

    Args:
        image: modified; may be a reduced copy.
        box: in pixels of the full-size image.
        full: size of that image.
        thick: width of the light line in pixels.
    """
    across, down = image.width / full.width, image.height / full.height
    rim = max(1, thick // 2)
    corners = (
        max(round(box.x0 * across), rim),
        max(round(box.y0 * down), rim),
        min(round(box.x1 * across), image.width - rim) - 1,
        min(round(box.y1 * down), image.height - rim) - 1,
    )
    x0, y0 = corners[:2]
    x1, y1 = max(corners[2], x0), max(corners[3], y0)
    pen = ImageDraw.Draw(image)
    pen.rectangle((x0 - rim, y0 - rim, x1 + rim, y1 + rim), outline=_BOX_RIM, width=thick + 2 * rim)
    pen.rectangle((x0, y0, x1, y1), outline=BOX_COLOUR, width=thick)
