"""Compose demo images: objects cut from photos, pasted on clutter and relit."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from camsearch.demo_sources import CLUTTER, open_photo
from descriptors.arrays import Box

if TYPE_CHECKING:
    from camsearch.demo_sources import Fractions, Material, PackagedPhoto, SceneSource

__all__ = ["Light", "Pose", "clutter", "cover", "cut_out", "lay_on", "photo_part", "relight"]

_BICUBIC = Image.Resampling.BICUBIC
_VISIBLE = 128  # mask values from here on count as the object


@dataclass(frozen=True)
class Pose:
    """How an object is placed in an image.

    Attributes:
        share: area of its upright rectangle, as a share of the frame's.
        turn: degrees, counter-clockwise.
        tilt: shift of the corners for perspective, as a share of its sides.
    """

    share: float
    turn: float = 0
    tilt: float = 0.06


@dataclass(frozen=True)
class Light:
    """Light and camera; the defaults change nothing.

    Attributes:
        brightness, contrast, colour: factors.
        cast: factors of red, green and blue.
        slope: brightness gradient from left to right.
        blur: radius in pixels.
        noise: standard deviation in levels.
        quality: of the JPEG.
    """

    brightness: float = 1
    contrast: float = 1
    colour: float = 1
    cast: tuple[float, float, float] = (1, 1, 1)
    slope: float = 0
    blur: float = 0
    noise: float = 0
    quality: int = 85


@lru_cache(maxsize=32)
def _photo(photo: PackagedPhoto) -> Image.Image:
    return open_photo(photo)


def photo_part(photo: PackagedPhoto, part: Fractions, longer: int) -> Image.Image:
    """Crop a photo to a part, in fractions, and resize it to a longer side."""
    image = _photo(photo)
    left, top, right, bottom = (
        side * fraction for side, fraction in zip(image.size * 2, part, strict=True)
    )
    scale = longer / max(right - left, bottom - top)
    size = (round((right - left) * scale), round((bottom - top) * scale))
    return image.resize(size, Image.Resampling.LANCZOS, (left, top, right, bottom))


@lru_cache(maxsize=16)
def cut_out(source: SceneSource) -> Image.Image:
    """Cut an object out along its outline, as RGBA."""
    image = _photo(source.photo)
    corners = [(x * image.width, y * image.height) for x, y in source.outline]
    mask = Image.new("L", image.size)
    ImageDraw.Draw(mask).polygon(corners, fill=255)
    if not source.printed:
        mask = mask.filter(ImageFilter.MinFilter(3)).filter(ImageFilter.GaussianBlur(1.2))
    thing = image.convert("RGBA")
    thing.putalpha(mask)
    thing = thing.crop(mask.getbbox())
    if source.printed:  # with a white border
        return ImageOps.expand(thing, max(thing.size) // 28, (246, 245, 240, 255))
    return thing


def lay_on(
    background: Image.Image, thing: Image.Image, pose: Pose, random: np.random.Generator
) -> tuple[Image.Image, Box]:
    """Paste an object on a background with a shadow.

    Returns:
        The image, and the box around the visible part of the object.
    """
    frame = background.size
    corners = _corners(frame, thing.size, pose, random)
    laid = _warp(thing, corners, frame)
    mask = laid.getchannel("A")
    shadow = ImageChops.offset(mask, 5, 8).filter(ImageFilter.GaussianBlur(9))
    image = Image.composite(
        Image.new("RGB", frame, (12, 10, 14)), background, shadow.point(lambda v: v * 0.5)
    )
    image.paste(laid, mask=mask)
    return image, _box_of(mask)


def _box_of(mask: Image.Image) -> Box:
    seen = mask.point(lambda v: 255 if v >= _VISIBLE else 0).getbbox()
    return Box(*seen) if seen else Box(0, 0, *mask.size)


def _corners(
    frame: tuple[int, int], thing: tuple[int, int], pose: Pose, random: np.random.Generator
) -> Float[np.ndarray, "4 2"]:
    """Pixel positions of the object's corners, within the frame if possible."""
    scale = float(np.sqrt(pose.share * frame[0] * frame[1] / (thing[0] * thing[1])))
    half = np.array(thing) * scale / 2
    corners = half * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
    corners = corners + random.uniform(-1, 1, (4, 2)) * pose.tilt * half * 2
    angle = np.deg2rad(-pose.turn)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    corners = corners @ turn
    extent = np.ptp(corners, axis=0)
    corners = corners * min(1, *(0.97 * np.array(frame) / extent))
    low, high = corners.min(axis=0), corners.max(axis=0)
    margin = 0.01 * np.array(frame)
    # Away from the middle, so that the position is not predictable.
    place = random.beta(0.7, 0.7, 2)
    placed: Float[np.ndarray, "4 2"] = (
        corners - low + margin + place * (np.array(frame) - 2 * margin - (high - low))
    )
    return placed


def _warp(
    thing: Image.Image, corners: Float[np.ndarray, "4 2"], frame: tuple[int, int]
) -> Image.Image:
    """Warp the object so that its corners are at these pixels of an empty frame."""
    shrink = np.ptp(corners, axis=0).max() / max(thing.size)
    if shrink < 1:
        size = (max(1, round(thing.width * shrink)), max(1, round(thing.height * shrink)))
        thing = thing.resize(size, Image.Resampling.LANCZOS)
    here = np.array([(0, 0), (thing.width, 0), thing.size, (0, thing.height)], dtype=float)
    rows = []
    for (x, y), (u, v) in zip(corners, here, strict=True):
        rows.append([x, y, 1, 0, 0, 0, -u * x, -u * y])
        rows.append([0, 0, 0, x, y, 1, -v * x, -v * y])
    to_thing = np.linalg.solve(np.array(rows), here.reshape(-1))
    return thing.transform(frame, Image.Transform.PERSPECTIVE, to_thing.tolist(), _BICUBIC)


def clutter(size: tuple[int, int], pieces: int, random: np.random.Generator) -> Image.Image:
    """Make a background of one material with pieces of others on it."""
    image = _material(CLUTTER[random.integers(len(CLUTTER))], size, random)
    for _ in range(pieces):
        _strew(image, random.uniform(0.02, 0.13), random)
    return image


def _strew(image: Image.Image, share: float, random: np.random.Generator) -> None:
    """Paste a rectangular or round piece of a random material at a random angle."""
    side = np.sqrt(share * image.width * image.height)
    stretch = random.uniform(0.6, 1.6)
    size = (max(8, round(side * stretch)), max(8, round(side / stretch)))
    piece = _material(CLUTTER[random.integers(len(CLUTTER))], size, random).convert("RGBA")
    if random.random() < 0.4:  # noqa: PLR2004 - 40 % are round
        mask = Image.new("L", (size[0] * 2, size[1] * 2))
        ImageDraw.Draw(mask).ellipse((2, 2, mask.width - 3, mask.height - 3), fill=255)
        piece.putalpha(mask.resize(size, Image.Resampling.BOX))
    piece = piece.rotate(random.uniform(0, 360), _BICUBIC, expand=True)
    where = (random.random(2) * image.size - np.array(piece.size) / 2).astype(int)
    at = (int(where[0]), int(where[1]))
    alpha = piece.getchannel("A")
    shade = alpha.filter(ImageFilter.GaussianBlur(5)).point(lambda v: v * 0.35)
    image.paste((10, 10, 12), (at[0] + 3, at[1] + 5), shade)
    image.paste(piece, at, alpha)


def _material(
    material: Material, size: tuple[int, int], random: np.random.Generator
) -> Image.Image:
    """Cut a piece of a material at a random scale; tinted ones get a random colour."""
    left, top, right, bottom = material.part
    photo = _photo(material.photo)
    across, down = (right - left) * photo.width, (bottom - top) * photo.height
    # The largest part of this shape, then a random zoom as far as the resolution allows.
    fit = 0.99 * min(across / size[0], down / size[1])
    fit /= random.uniform(1, np.clip(fit * 1.5, 1, 2.5))
    width, height = size[0] * fit / photo.width, size[1] * fit / photo.height
    x, y = random.uniform(left, right - width), random.uniform(top, bottom - height)
    piece = photo_part(material.photo, (x, y, x + width, y + height), max(size)).resize(size)
    if not material.tinted:
        return piece
    dark = tuple(int(c) for c in random.integers(0, 70, 3))
    light = tuple(int(c) for c in random.integers(150, 256, 3))
    return ImageOps.colorize(piece.convert("L"), dark, light)


def cover(image: Image.Image, box: Box, share: float, random: np.random.Generator) -> Image.Image:
    """Cover about a share of the object's box by a piece of material at its edge."""
    width, height = box.x1 - box.x0, box.y1 - box.y0
    if width > height:
        size = (round(width * share * 1.6), round(height * 1.05))
        x, y = box.x0 - size[0] * 0.35, box.y0
    else:
        size = (round(width * 1.05), round(height * share * 1.6))
        x, y = box.x0, box.y1 - size[1] * 0.65
    piece = _material(CLUTTER[random.integers(len(CLUTTER))], size, random).convert("RGBA")
    piece = piece.rotate(random.uniform(-18, 18), _BICUBIC, expand=True)
    covered = image.copy()
    covered.paste(piece, (round(x), round(y)), piece)
    return covered


def relight(image: Image.Image, light: Light, random: np.random.Generator) -> Image.Image:
    """Change light, colour and sharpness."""
    for enhance, factor in (
        (ImageEnhance.Brightness, light.brightness),
        (ImageEnhance.Contrast, light.contrast),
        (ImageEnhance.Color, light.colour),
    ):
        image = enhance(image).enhance(factor)
    if light.blur:
        image = image.filter(ImageFilter.GaussianBlur(light.blur))
    levels = _cast(np.asarray(image, dtype=np.float32), light, random)
    return Image.fromarray(levels.round().clip(0, 255).astype(np.uint8))


def _cast(
    levels: Float[np.ndarray, "h w 3"], light: Light, random: np.random.Generator
) -> Float[np.ndarray, "h w 3"]:
    """Apply the light's colour and gradient, and the sensor's noise."""
    across = np.linspace(1 - light.slope, 1 + light.slope, levels.shape[1], dtype=np.float32)
    lit = levels * np.array(light.cast, dtype=np.float32) * across[None, :, None]
    if light.noise:
        lit = lit + random.normal(0, light.noise, levels.shape).astype(np.float32)
    return lit
