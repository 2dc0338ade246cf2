"""Read image files as upright RGB pixels."""

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

# Brands of HEIC files; AVIF files may also use the last two.
_HEIF_BRANDS = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

# The transposition that turns pixels upright, by EXIF orientation.
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
    """Limits on images, checked before decoding.

    Attributes:
        max_bytes: of the file.
        max_pixels: width x height in the header.
        min_side: pixels of the shorter side.
    """

    max_bytes: int = 100 * 2**20
    max_pixels: int = 89_478_485
    min_side: int = 16


@dataclass(frozen=True)
class RgbImage:
    """An upright RGB image.

    Attributes:
        image: the pixels, possibly at a reduced size.
        size: full size of the upright image; boxes refer to it.
    """

    image: Image.Image
    size: Size

    def crop(self, box: Box) -> RgbImage:
        """The part of the image in a box, at least one pixel.

        Raises:
            RequestError: the box lies outside the image.
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
        limits: checked on the header, before decoding.
        reduce_to: a JPEG may be decoded at a reduced size, with no side shorter than this.

    Raises:
        UnreadableImage: empty, damaged, or not an image.
        UnsupportedImage: a format or pixel type that is not supported.
        ImageTooSmall, ImageTooLarge: outside the limits.
        FeaturelessImage: all pixels have one colour.

    Convention:
        16-bit grey is scaled to 8 bit, not clipped.
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
        where = " on a white background" if ground else ""
        remedy = "use another background colour" if ground else "leave this image out"
        raise FeaturelessImage(
            f"All pixels have one colour{where}, so there is nothing to find: {remedy}."
        )
    return RgbImage(rgb if header.turn is None else rgb.transpose(header.turn), header.upright)


def upright_size(file: Path) -> Size:
    """Width and height of an image turned upright, from its header.

    Raises:
        UnreadableImage, UnsupportedImage, ImageTooLarge: see `read_image`.
        OSError: the file cannot be read.
    """
    with file.open("rb") as stream:
        try:
            return _header(stream, ImageLimits()).upright
        except UnreadableImage as error:
            raise UnreadableImage(f"{file.name}: {error.reason}") from error


@dataclass(frozen=True)
class _Header:
    """The header of an image.

    Attributes:
        size: as stored.
        turn: transposition that turns the decoded pixels upright.
        decode: returns RGB, possibly at a reduced size, and whether it was blended with white.
    """

    size: Size
    turn: Image.Transpose | None
    decode: Callable[[int | None], tuple[Image.Image, bool]]

    @property
    def upright(self) -> Size:
        """Size after turning."""
        return Size(*self.size[::-1]) if self.turn in _ON_ITS_SIDE else self.size


def check_size(size: int, limits: ImageLimits) -> None:
    """Raise ImageTooLarge for a file of more than `limits.max_bytes`."""
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
    # Pillow's own limit must not be below ours.
    Image.MAX_IMAGE_PIXELS = max(Image.MAX_IMAGE_PIXELS or 0, limits.max_pixels)
    try:
        magic = stream.read(12)
        stream.seek(0)
        if magic.startswith(TIFF_MAGICS) and (page := awkward_tiff(stream)):
            return _tiff_header(page)
        if magic.startswith(PNG_MAGIC):
            data = stream.read()
            # Checked before checksums, so that a large damaged image is reported as too large.
            width, height = unpack_from(">II", data.ljust(24, b"\0"), 16)
            _check_pixels(width, height, limits)
            stream = BytesIO(essential_png(data))
        image = _opened(stream, magic)
        # Pillow turns TIFFs upright itself.
        orientation = 1 if image.format == "TIFF" else _orientation(image)
    except (UnreadableImage, UnsupportedImage, ImageTooLarge):
        raise
    except Image.DecompressionBombError as error:
        raise _too_many_pixels(_first_line(error), limits) from error
    except UnidentifiedImageError as error:
        raise _not_read(stream) from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the file cannot be read
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
        Size(index(page.imagewidth), index(page.imagelength)),  # damaged tags may not be integers
        _TURNS.get(tag.value if tag else 1),
        lambda _: (tiff_pixels(page), bool(page.extrasamples)),
    )


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001 - damaged EXIF does not affect the pixels
        return 1


def _opened(stream: BytesIO | BufferedReader, magic: bytes) -> Image.Image:
    if magic[4:8] != b"ftyp" or magic[8:12] not in _HEIF_BRANDS:
        return Image.open(stream, formats=FORMATS)
    try:
        return Image.open(stream, formats=FORMATS)  # an AVIF with the brand of a HEIF
    except UnidentifiedImageError:
        stream.seek(0)
    try:
        import pillow_heif
    except ImportError as error:
        raise UnsupportedImage(
            "Reading HEIC images requires pillow-heif: install it "
            "(pip install 'camsearch[heic]'), or convert the image."
        ) from error
    pillow_heif.register_heif_opener()
    return Image.open(stream, formats=["HEIF"])


def _not_read(stream: BytesIO | BufferedReader) -> ImageError:
    """The error for a file that no decoder reads."""
    kind = None
    with suppress(Exception):  # too damaged to find its kind
        kind = unread_kind(stream)
    if kind:
        return UnsupportedImage(
            f"The image is {kind}, which is not supported: store it as RGB with 8 bits per channel."
        )
    return UnreadableImage(
        f"The file is not an image in a supported format ({', '.join(FORMATS)}): convert it."
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
