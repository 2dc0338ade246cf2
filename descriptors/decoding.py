"""Decode image files to RGB with Pillow, or with tifffile and imagecodecs where it fails.

The kinds of files concerned are listed in docs/adr/0015-decoding.md.
"""

from __future__ import annotations

import math
import struct
import zlib
from io import BufferedReader, BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from descriptors.errors import UnreadableImage, UnsupportedImage

__all__ = [
    "PNG_MAGIC",
    "TIFF_MAGICS",
    "awkward_tiff",
    "decoded",
    "essential_png",
    "tiff_pixels",
    "unread_kind",
]

PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
TIFF_MAGICS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

# Modes that Pillow converts to RGB correctly; LAB it would convert to wrong colours.
_CONVERTED = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")

# Pillow's 16-bit modes; its own conversion to 8 bit clips instead of scaling.
_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N")

# Chunks that affect pixels, and text that may contain the orientation.
_CRITICAL = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS")
_TEXT = (b"tEXt", b"zTXt", b"iTXt")
_UPRIGHT_TEXT = (b"XML:com.adobe.xmp\0", b"Raw profile type exif\0")
_LONGEST_TEXT = 2**20  # inflated bytes that Pillow accepts
_DEFLATE = 1032  # maximum ratio of inflation

# Colour channels of the supported photometric interpretations of TIFF.
_CHANNELS = {0: 1, 1: 1, 2: 3, 5: 4}
_WHITE_IS_ZERO = 0
_ASSOCIATED, _UNASSOCIATED = 1, 2

# Rows that are converted at a time, to limit memory.
_ROWS = 256

# Start-of-frame markers of JPEGs that are not a Huffman-coded DCT of 8 bit.
_FRAMES = {0xC3: "lossless", 0xC5: "hierarchical", 0xC6: "hierarchical", 0xC7: "lossless"}
_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def decoded(
    image: Image.Image, stream: BytesIO | BufferedReader, reduce_to: int | None
) -> tuple[Image.Image, bool]:
    """RGB of an image that Pillow has opened, and whether it was blended with white.

    Args:
        image: opened.
        stream: that it was opened from.
        reduce_to: a JPEG may be decoded at a reduced size, with no side shorter than this.
    """
    if image.format in ("PNG", "JPEG2000"):
        stream.seek(0)
        precise = _precise_pixels(stream.read(), image)
        stream.seek(0)
        if precise is not None:
            return precise, True
    if reduce_to:
        image.draft("RGB", (reduce_to, reduce_to))
    try:
        image.load()
    except OSError:
        stream.seek(0)
        whole = _complete_jpeg(stream.read()) if image.format in ("JPEG", "MPO") else None
        if whole is None:
            raise
        image = Image.open(BytesIO(whole), formats=["JPEG"])
        if reduce_to:
            image.draft("RGB", (reduce_to, reduce_to))
    return _to_rgb(image, image.format), _is_transparent(image)


def _to_rgb(image: Image.Image, kind: str | None) -> Image.Image:
    """8-bit RGB of a decoded image."""
    # Pillow gives a PGM of 16 bits as 32-bit numbers up to 65,535.
    if image.mode in _SIXTEEN_BIT or (kind == "PPM" and image.mode == "I"):
        grey = np.asarray(image).astype(np.uint16)
        return Image.fromarray((grey // 257).astype(np.uint8)).convert("RGB")
    if image.mode in ("I", "F"):
        raise UnsupportedImage(
            "The image has 32-bit pixels, whose range is not defined: "
            "store it with 8 or 16 bits per channel."
        )
    if _is_transparent(image):
        rgba = image.convert("RGBA")
        white = Image.new("RGBA", rgba.size, "white")
        return Image.alpha_composite(white, rgba).convert("RGB")
    if image.mode not in _CONVERTED:
        raise UnsupportedImage(
            f"The image's colour mode {image.mode} is not supported: store it as RGB."
        )
    return image.convert("RGB")


def _is_transparent(image: Image.Image) -> bool:
    return image.mode in ("RGBA", "LA", "PA", "La", "RGBa") or "transparency" in image.info


def essential_png(data: bytes) -> bytes:
    """A PNG reduced to its pixels and orientation.

    Large text, profiles and wrong checksums in other chunks are thus ignored. The orientation
    is moved before the pixels, where Pillow finds it in the header.

    Raises:
        UnreadableImage: a chunk that affects pixels has a wrong checksum.
    """
    parts: list[bytes] = []
    upright: list[bytes] = []
    at = len(PNG_MAGIC)
    while at + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, at)
        kind, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + length]
        end = at + 12 + length
        if end > len(data):
            break
        sound = data[end - 4 : end] == struct.pack(">I", zlib.crc32(kind + body))
        if kind in _CRITICAL or kind[:1].isupper():
            if not sound:
                raise UnreadableImage(
                    f"The PNG is damaged (checksum of {kind!r}): export it again."
                )
            parts.append(data[at:end])
        elif sound and (kind == b"eXIf" or _says_what_is_up(kind, body)):
            upright.append(data[at:end])
        at = end
        if kind == b"IEND":
            return PNG_MAGIC + b"".join([*parts[:1], *upright, *parts[1:]])
    return PNG_MAGIC + b"".join([*parts[:1], *upright, *parts[1:], data[at:]])


def _says_what_is_up(kind: bytes, body: bytes) -> bool:
    packed = kind == b"zTXt" or (kind == b"iTXt" and b"\0\1" in body[:80])
    most = _LONGEST_TEXT // (_DEFLATE if packed else 1)
    return kind in _TEXT and body.startswith(_UPRIGHT_TEXT) and len(body) < most


def _precise_pixels(data: bytes, image: Image.Image) -> Image.Image | None:
    """RGB of a PNG or JPEG 2000 whose samples Pillow would truncate; None for others."""
    import imagecodecs

    if image.format == "PNG":
        depth, colour = data[24], data[25]
        keyed = colour in (0, 2) and "transparency" in image.info
        if keyed or (depth == 16 and colour != 0):  # noqa: PLR2004 - bits
            return _flattened(imagecodecs.png_decode(data))
    if image.format == "JPEG2000" and image.mode != "I;16":
        # 40 bytes after the size marker: the depth of the first channel, minus 1.
        depth = (data[data.index(b"\xff\x4f\xff\x51") + 42] & 0x7F) + 1
        if depth > 8:  # noqa: PLR2004 - bits
            return _flattened(imagecodecs.jpeg2k_decode(data), bits=depth)
    return None


def awkward_tiff(stream: BytesIO | BufferedReader) -> Any:
    """The first page of a TIFF that Pillow decodes wrongly; None for others."""
    from tifffile import TiffFile

    page: Any = TiffFile(stream).pages[0]
    stream.seek(0)
    usual = page.bitspersample in (1, 2, 4, 8) and page.sampleformat == 1
    interleaved = page.planarconfig == 1 or page.samplesperpixel == 1
    channels = _CHANNELS.get(int(page.photometric))
    odd = channels == 4 and page.samplesperpixel != channels  # noqa: PLR2004 - CMYK
    odd = odd or (channels == 1 and page.samplesperpixel > 1)
    if channels is None or (usual and interleaved and not odd):
        return None
    return page


def tiff_pixels(page: Any) -> Image.Image:
    """RGB of a page from `awkward_tiff`, in its stored orientation.

    Raises:
        UnsupportedImage: the range of the samples is not defined, or there are further bands.
        UnreadableImage: the file is truncated.
    """
    bits, channels = page.bitspersample, _CHANNELS[int(page.photometric)]
    if page.sampleformat != 1 or bits > 16:  # noqa: PLR2004 - bits
        raise UnsupportedImage(
            f"The TIFF has {bits}-bit signed, float or wide samples, whose range is not defined"
            f" (32-bit and others): store it with 8 or 16 bits per channel."
        )
    extra = page.extrasamples[:1]
    if channels == 1 and page.samplesperpixel > 1 and not extra:
        raise UnsupportedImage(
            f"The TIFF has {page.samplesperpixel} bands without colour: store it as RGB."
        )
    ends = [o + n for o, n in zip(page.dataoffsets, page.databytecounts, strict=True) if n]
    if len(ends) < math.prod(page.chunked) or max(ends) > page.parent.filehandle.size:
        raise UnreadableImage("The TIFF is truncated: export it again.")
    samples = page.asarray(maxworkers=1)
    if page.planarconfig != 1 and page.samplesperpixel > 1:
        samples = np.moveaxis(samples, 0, -1)
    samples = samples.reshape(page.imagelength, page.imagewidth, -1)
    alpha = int(extra[0]) if extra and int(extra[0]) in (_ASSOCIATED, _UNASSOCIATED) else 0
    samples = samples[:, :, : channels + bool(alpha)]
    return _flattened(
        samples,
        bits=bits,
        ink=channels == 4 or int(page.photometric) == _WHITE_IS_ZERO,  # noqa: PLR2004
        associated=alpha == _ASSOCIATED,
        channels=channels,
    )


def _flattened(
    samples: NDArray[Any],
    *,
    bits: int | None = None,
    ink: bool = False,
    associated: bool = False,
    channels: int | None = None,
) -> Image.Image:
    """8-bit RGB over white.

    Args:
        samples: unsigned, ``H W`` or ``H W C``; a channel after the colours is alpha.
        bits: of a sample; by default those of its type.
        ink: 0 is white: white-is-zero, CMYK.
        associated: the colours are multiplied by alpha.
        channels: of colour; by default grey or RGB, depending on the number of samples.
    """
    samples = samples if samples.ndim == 3 else samples[:, :, None]  # noqa: PLR2004
    channels = channels or (1 if samples.shape[2] < 3 else 3)  # noqa: PLR2004
    top = np.float32(2 ** (bits or samples.dtype.itemsize * 8) - 1)
    out = np.empty((*samples.shape[:2], 3), np.uint8)
    for start in range(0, len(samples), _ROWS):
        part = samples[start : start + _ROWS].astype(np.float32) / top
        colour, alpha = part[:, :, :channels], part[:, :, channels : channels + 1]
        if associated:
            colour = np.divide(colour, alpha, out=np.zeros_like(colour), where=alpha > 0)
        colour = 1 - np.minimum(colour, 1) if ink else np.minimum(colour, 1)
        if channels == 4:  # noqa: PLR2004 - CMYK: each ink, and black
            colour = colour[:, :, :3] * colour[:, :, 3:]
        if alpha.size:
            colour = colour * alpha + (1 - alpha)
        out[start : start + _ROWS] = np.rint(colour * 255)
    return Image.fromarray(out)


def _complete_jpeg(data: bytes) -> bytes | None:
    """A JPEG completed with its end marker, if only that is missing; None if pixels are.

    Pixels are complete if the bytes after the last coded one do not change them.
    """
    body = data.rstrip(b"\xff")
    if not data.startswith(b"\xff\xd8") or body.endswith(b"\xff\xd9"):
        return None
    pixels = []
    for filling in (b"\xa5", b"\x5a", b"\x00"):
        with Image.open(BytesIO(body + filling * 4096 + b"\xff\xd9"), formats=["JPEG"]) as image:
            pixels.append(image.tobytes())
    return body + b"\xff\xd9" if len(set(pixels)) == 1 else None


def unread_kind(stream: BytesIO | BufferedReader) -> str | None:
    """The kind of an unsupported JPEG or TIFF; None for other formats."""
    stream.seek(0)
    data = stream.read()
    if data.startswith(TIFF_MAGICS):
        from tifffile import TiffFile

        page: Any = TiffFile(BytesIO(data)).pages[0]
        return (
            f"a TIFF of {page.samplesperpixel} x {page.bitspersample} bits "
            f"({_name(page.photometric)}, compression {_name(page.compression)})"
        )
    at = 2
    while data.startswith(b"\xff\xd8") and at + 5 < len(data) and data[at] == 0xFF:  # noqa: PLR2004
        marker = data[at + 1]
        if marker in _FRAME_MARKERS:
            kind = _FRAMES.get(marker, "arithmetic" if marker > 0xC8 else "DCT")  # noqa: PLR2004
            return f"a JPEG of {data[at + 4]} bits ({kind} coding)"
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return None


def _name(value: Any) -> str:
    return str(getattr(value, "name", value))
