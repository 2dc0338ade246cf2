"""Bytes in, upright RGB pixels out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from operator import index
from pathlib import Path
from struct import unpack_from
from typing import Any

from PIL import ExifTags, Image, UnidentifiedImageError

from descriptors.arrays import Box, Size
from descriptors.decoding import (
    PNG_MAGIC,
    TIFF_MAGICS,
    awkward_tiff,
    decoded,
    essential_png,
    tiff_pixels,
    unread_kind,
)
from descriptors.errors import (
    FeaturelessImage,
    ImageError,
    ImageTooLarge,
    ImageTooSmall,
    UnreadableImage,
    UnsupportedImage,
)

__all__ = ["FORMATS", "ImageLimits", "RgbImage", "check_size", "read_image", "upright_size"]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "JPEG2000")

# How a HEIC begins; AVIF files may call themselves by the last two as well.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# EXIF orientation 1 to 8, and what brings the stored pixels upright.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_ON_ITS_SIDE = frozenset(_TURNS[orientation] for orientation in (5, 6, 7, 8))


@dataclass(frozen=True)
class ImageLimits:
    """What is refused before a pixel is decoded, and what is too small to use.

    Attributes:
        max_bytes: of the file.
        max_pixels: width x height as the header says it.
        min_side: pixels of the shorter side.
    """

    max_bytes: int = 100 * 2**20
    max_pixels: int = 89_478_485
    min_side: int = 16


@dataclass(frozen=True)
class RgbImage:
    """An upright RGB image.

    Attributes:
        image: the pixels, perhaps at a reduced size.
        size: full size of the upright image; boxes count in its pixels.
    """

    image: Image.Image
    size: Size

    def crop(self, box: Box) -> RgbImage:
        """The part of the image in a box, at least one pixel.

        Raises:
            RequestError: if the box lies outside the image.
        """
        box = box.inside(self.size)
        across, down = self.image.width / self.size.width, self.image.height / self.size.height
        x0 = min(int(box.x0 * across), self.image.width - 1)
        y0 = min(int(box.y0 * down), self.image.height - 1)
        x1, y1 = max(round(box.x1 * across), x0 + 1), max(round(box.y1 * down), y0 + 1)
        part = self.image.crop((x0, y0, x1, y1))
        return RgbImage(part, Size(part.width, part.height))


def read_image(
    data: bytes, limits: ImageLimits | None = None, *, reduce_to: int | None = None
) -> RgbImage:
    """Decode an image: first frame, turned upright, RGB, transparency over white.

    Args:
        data: the file.
        limits: what to refuse; checked on the header, before decoding.
        reduce_to: a JPEG may be decoded at a reduced size, with no side shorter than
            this or than it is.

    Raises:
        UnreadableImage: empty, damaged, or no image.
        UnsupportedImage: an image of a kind that is not read.
        ImageTooSmall, ImageTooLarge: outside the limits.
        FeaturelessImage: all pixels have one colour.

    Convention:
        16-bit grey is scaled to 8 bit, not clipped. The size counts after the EXIF
        orientation has been applied.
    """
    limits = limits or ImageLimits()
    header = _checked_header(data, limits)
    try:
        rgb, ground = header.decode(reduce_to)
    except UnsupportedImage:
        raise
    except Exception as error:
        raise UnreadableImage(
            f"The image is damaged ({_first_line(error)}): export it again."
        ) from error
    if all(band.getextrema()[0] == band.getextrema()[1] for band in rgb.split()):
        where = " once white is laid under what is transparent" if ground else ""
        remedy = "lay another colour under it" if ground else "leave this image out"
        raise FeaturelessImage(
            f"All pixels have one colour{where}, so there is nothing to find: {remedy}."
        )
    return RgbImage(rgb if header.turn is None else rgb.transpose(header.turn), header.upright)


def upright_size(file: Path) -> Size:
    """Width and height of an image turned upright, from its header alone.

    Raises:
        UnreadableImage: for a file that is no image.
        UnsupportedImage, ImageTooLarge: for an image that `read_image` would refuse so.
        OSError: for a file that cannot be read.
    """
    with file.open("rb") as stream:
        try:
            return _header(stream, ImageLimits()).upright
        except UnreadableImage as error:
            raise UnreadableImage(f"{file.name}: {error.reason}") from error


@dataclass(frozen=True)
class _Header:
    """What is known before a pixel is decoded.

    Attributes:
        size: as stored.
        turn: what brings the decoded pixels upright.
        decode: gives RGB, perhaps at a reduced size, and whether white was laid under.
    """

    size: Size
    turn: Image.Transpose | None
    decode: Callable[[int | None], tuple[Image.Image, bool]]

    @property
    def upright(self) -> Size:
        """Size once it is turned."""
        return Size(*self.size[::-1]) if self.turn in _ON_ITS_SIDE else self.size


def check_size(size: int, limits: ImageLimits) -> None:
    """Refuse a file of more bytes than allowed.

    Raises:
        ImageTooLarge: it has more than `limits.max_bytes`.
    """
    if size > limits.max_bytes:
        raise ImageTooLarge(
            f"The file has {size:,} bytes, more than the {limits.max_bytes:,} allowed: "
            "store it smaller, or raise CAMSEARCH_MAX_BYTES."
        )


def _checked_header(data: bytes, limits: ImageLimits) -> _Header:
    if not data:
        raise UnreadableImage("The file is empty: copy it again from its source.")
    check_size(len(data), limits)
    header = _header(BytesIO(data), limits)
    width, height = header.size
    _check_pixels(width, height, limits)
    if min(width, height) < limits.min_side:
        raise ImageTooSmall(
            f"The image has {width} x {height} pixels; the shorter side needs "
            f"{limits.min_side}: use a larger copy."
        )
    return header


def _header(stream: BytesIO | BufferedReader, limits: ImageLimits) -> _Header:
    """The header of any format, and how its pixels are decoded."""
    # Whoever raised our limit means it; Pillow's own stands a little above twice its number.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, limits.max_pixels)
    try:
        magic = stream.read(12)
        stream.seek(0)
        if magic.startswith(TIFF_MAGICS) and (page := awkward_tiff(stream)):
            return _tiff_header(page)
        if magic.startswith(PNG_MAGIC):
            data = stream.read()
            # Before the check sums, as of every other format: the size is told, not the damage.
            width, height = unpack_from(">II", data.ljust(24, b"\0"), 16)
            _check_pixels(width, height, limits)
            stream = BytesIO(essential_png(data))
        image = _opened(stream, magic)
        # Pillow turns a TIFF itself, and says the size after that.
        orientation = 1 if image.format == "TIFF" else _orientation(image)
    except (UnreadableImage, UnsupportedImage, ImageTooLarge):
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(_first_line(error), limits) from error
    except UnidentifiedImageError as error:
        raise _not_read(stream) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file, not what is in it
        raise UnreadableImage(
            f"The image's header is damaged ({_first_line(error)}): export it again."
        ) from error
    return _Header(
        Size(*image.size),
        _TURNS.get(orientation),
        lambda reduce_to: decoded(image, stream, reduce_to),
    )


def _tiff_header(page: Any) -> _Header:
    tag = page.tags.get(int(ExifTags.Base.Orientation))
    return _Header(
        Size(index(page.imagewidth), index(page.imagelength)),  # of a damaged tag: anything
        _TURNS.get(tag.value if tag else 1),
        lambda _: (tiff_pixels(page), bool(page.extrasamples)),
    )


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - whatever is wrong with it, the pixels are not at fault
        return 1


def _opened(stream: BytesIO | BufferedReader, magic: bytes) -> Image.Image:
    if magic[4:8] != b"ftyp" or magic[8:12] not in _HEIF_BRANDS:
        return Image.open(stream, formats=FORMATS)
    try:
        return Image.open(stream, formats=FORMATS)  # an AVIF that calls itself a general HEIF
    except UnidentifiedImageError:
        stream.seek(0)
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedImage(
            "The image is a HEIC, which is read only with pillow-heif: install it "
            "(pip install 'camsearch[heic]'), or convert the image."
        ) from error
    pillow_heif.register_heif_opener()
    return Image.open(stream, formats=["HEIF"])


def _not_read(stream: BytesIO | BufferedReader) -> ImageError:
    """What is said of a file that no decoder takes."""
    kind = None
    with suppress(Exception):  # damaged so far that it is no image
        kind = unread_kind(stream)
    if kind:
        return UnsupportedImage(
            f"The image is {kind}, which is not read: store it as RGB with 8 bits a channel."
        )
    return UnreadableImage(
        "This is no image in a format that is read "
        f"({', '.join(FORMATS)}): convert it, whatever its name ends in."
    )


def _check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    if width * height > limits.max_pixels:
        raise _too_many_pixels(f"The image has {width:,} x {height:,} pixels", limits)


def _too_many_pixels(what: str, limits: ImageLimits) -> ImageTooLarge:
    return ImageTooLarge(
        f"{what}; {limits.max_pixels:,} pixels are allowed: store it smaller, or raise "
        "CAMSEARCH_MAX_PIXELS."
    )


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
