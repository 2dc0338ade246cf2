"""Images of many kinds with the RGB pixels that must come out, written without Pillow.

TIFF, JPEG, JPEG 2000, AVIF by tifffile and imagecodecs; PNG chunk by chunk.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO
from itertools import product
from typing import TYPE_CHECKING

import imagecodecs
import numpy as np
import tifffile

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Variant", "chunk", "exif_block", "png", "rgb", "stored_for", "variants"]

HEIGHT, WIDTH = 40, 48


@dataclass(frozen=True)
class Variant:
    """A file, and what it shows.

    Attributes:
        name: of the kind.
        data: the file.
        expected: RGB, 8 bit, upright, over white.
        tolerance: greatest difference of a pixel, in levels of 255.
        readable: it must be read; else a typed reject is right as well.
    """

    name: str
    data: bytes
    expected: np.ndarray
    tolerance: float = 1
    readable: bool = True


def rgb(dtype: type = np.uint8, top: int = 255) -> np.ndarray:
    """Smooth colours that no flip, exchange of planes or wrong scale leaves as they are."""
    down, across = np.mgrid[0:HEIGHT, 0:WIDTH]
    red, green = across / (WIDTH - 1), down / (HEIGHT - 1)
    blue = (across + 2 * down) / (WIDTH + 2 * HEIGHT - 3) * 0.5
    return np.round(np.stack([red, green, blue], axis=2) * top).astype(dtype)


def _eight(values: np.ndarray, top: float) -> np.ndarray:
    """RGB of 8 bit of samples up to `top`."""
    values = values if values.ndim == 3 else np.repeat(values[:, :, None], 3, axis=2)
    return np.round(values.astype(float) / top * 255).astype(np.uint8)


def _over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """8-bit colours under a share from 0 to 1."""
    share = alpha[:, :, None]
    return np.round(colour * share + 255 * (1 - share)).astype(np.uint8)


def chunk(kind: bytes, data: bytes, *, broken: bool = False) -> bytes:
    """A chunk of a PNG; `broken` gives it a wrong checksum."""
    check = zlib.crc32(kind + data) ^ broken
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", check)


def png(
    samples: np.ndarray, depth: int, colour: int, before: bytes = b"", after: bytes = b""
) -> bytes:
    """A PNG of samples (H W or H W C); `before` and `after` are chunks round the pixels."""
    height, width = samples.shape[:2]
    flat = samples.reshape(height, -1)
    if depth == 16:
        rows = [row.astype(">u2").tobytes() for row in flat]
    else:
        shifts = np.arange(depth - 1, -1, -1)
        bits = (flat[:, :, None] >> shifts & 1).astype(np.uint8).reshape(height, -1)
        rows = [np.packbits(row).tobytes() for row in bits]
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    body = chunk(b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows)))
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + body + after + chunk(b"IEND", b"")
    )


def exif_block(orientation: int) -> bytes:
    """EXIF data that says nothing else."""
    entry = struct.pack(">HHIHH", 0x0112, 3, 1, orientation, 0)
    return b"MM\0*" + struct.pack(">IH", 8, 1) + entry + struct.pack(">I", 0)


def stored_for(upright: np.ndarray, orientation: int) -> np.ndarray:
    """How pixels lie in a file of this orientation."""
    turns = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: np.rot90(upright, 2).swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }
    return np.ascontiguousarray(turns[orientation])


def tiff(samples: np.ndarray, **options: object) -> bytes:
    """A TIFF by tifffile."""
    file = BytesIO()
    tifffile.imwrite(file, samples, metadata=None, **options)
    data = file.getvalue()
    if options.get("byteorder") == ">" and options.get("bitspersample", 0) > 8:
        # tifffile packs big-endian samples with their bytes exchanged; packed bits have no order.
        right = tiff(samples, **(options | {"byteorder": "<"}))
        with tifffile.TiffFile(BytesIO(right)) as read, tifffile.TiffFile(BytesIO(data)) as wrong:
            (start,), (length,) = read.pages[0].dataoffsets, read.pages[0].databytecounts
            (place,) = wrong.pages[0].dataoffsets
        data = data[:place] + right[start : start + length] + data[place + length :]
    return data


def variants() -> Iterator[Variant]:
    """Every kind."""
    for depth in (1, 2, 4, 8, 16):
        yield from _png_grey(depth)
    for depth in (1, 2, 4, 8):
        yield from _png_palette(depth)
    for depth in (8, 16):
        yield from _png_rgb(depth)
    yield from _png_chunks()
    yield from _tiff_grey()
    for depth in (8, 10, 12, 16):
        yield from _tiff_rgb(depth)
    for depth, order in product((8, 16), ("contig", "separate")):
        yield from _tiff_alpha(depth, order)
    yield from _tiff_other()
    yield from _jpeg()
    yield from _jpeg2000()
    yield from _avif()
    for turn in range(1, 9):
        yield from _oriented(turn)


def _grey(depth: int) -> np.ndarray:
    return rgb(np.uint16, 2**depth - 1)[:, :, 0]


def _colour(depth: int) -> np.ndarray:
    return rgb(np.uint8 if depth == 8 else np.uint16, 2**depth - 1)


def _png_grey(depth: int) -> Iterator[Variant]:
    grey = _grey(depth)
    seen = _eight(grey, 2**depth - 1)
    yield Variant(f"png grey {depth}", png(grey, depth, 0), seen)
    key = int(grey[0, WIDTH // 3])
    data = png(grey, depth, 0, chunk(b"tRNS", struct.pack(">H", key)))
    over = _over_white(seen, grey != key)
    yield Variant(f"png grey {depth} tRNS", data, over, readable=depth > 1)


def _png_palette(depth: int) -> Iterator[Variant]:
    index, number = _grey(depth), np.arange(2**depth)
    colours = np.stack([number, 255 - number, number * 7 % 256], 1)
    colours = (colours * (200 // 2**depth + 1) % 256).astype(np.uint8)
    table, seen = chunk(b"PLTE", colours.tobytes()), colours[index]
    yield Variant(f"png palette {depth}", png(index, depth, 3, table), seen)
    alphas = np.linspace(0, 255, 2**depth).astype(np.uint8)
    data = png(index, depth, 3, table + chunk(b"tRNS", alphas.tobytes()))
    yield Variant(f"png palette {depth} tRNS", data, _over_white(seen, alphas[index] / 255))


def _png_rgb(depth: int) -> Iterator[Variant]:
    """Three colours, with one that is clear, and with alpha, which grey may have too."""
    top = 2**depth - 1
    colour = rgb(np.uint16, top)
    yield Variant(f"png rgb {depth}", png(colour, depth, 2), _eight(colour, top))
    keyed, key = colour.copy(), colour[3, 3]
    keyed[5:20, 5:20] = key
    keyed[20:30, 5:20] = key
    keyed[20:30, 5:20, 2] += 1  # next to the key, not the key
    data = png(keyed, depth, 2, chunk(b"tRNS", struct.pack(">3H", *key.tolist())))
    over = _over_white(_eight(keyed, top), (keyed != key).any(axis=2))
    yield Variant(f"png rgb {depth} tRNS", data, over)
    alpha = _grey(depth)[:, ::-1, None]
    for name, kind, base in (("rgb", 6, colour), ("grey", 4, colour[:, :, 1:2])):
        data = png(np.concatenate([base, alpha], 2), depth, kind)
        shown = _eight(np.broadcast_to(base, colour.shape), top)
        over = _over_white(shown, alpha[:, :, 0] / top)
        yield Variant(f"png {name} alpha {depth}", data, over)


def _png_chunks() -> Iterator[Variant]:
    """Large and broken chunks beside the pixels."""
    plain, noise = rgb(), zlib.compress(np.random.default_rng(1).bytes(1_400_000))
    xmp = b"XML:com.adobe.xmp\0"
    extra = {
        "large iTXt": chunk(b"iTXt", xmp + b"\0\0\0\0" + b"x" * 1_400_000),
        "large compressed iTXt": chunk(
            b"iTXt", xmp + b"\1\0\0\0" + zlib.compress(b"x" * 5_000_000)
        ),
        "large zTXt": chunk(b"zTXt", b"Comment\0\0" + noise),
        "large tEXt": chunk(b"tEXt", b"Comment\0" + b"x" * 2_000_000),
        "large iCCP": chunk(b"iCCP", b"profile\0\0" + noise),
        "broken iCCP": chunk(b"iCCP", b"profile\0\0not zlib"),
    }
    for kind in ("tEXt", "zTXt", "iTXt", "pHYs", "gAMA", "iCCP", "tIME", "cHRM", "eXIf", "acTL"):
        extra[f"bad CRC {kind}"] = chunk(kind.encode(), b"12345678\0", broken=True)
    for name, part in extra.items():
        yield Variant(f"png {name}", png(plain, 8, 2, part), plain)
        yield Variant(f"png {name} behind", png(plain, 8, 2, b"", part), plain)
    broken = chunk(b"tRNS", b"\0\0\0\0\0\0", broken=True)
    yield Variant("png bad CRC tRNS", png(plain, 8, 2, broken), plain, readable=False)


def _tiff_grey() -> Iterator[Variant]:
    kinds = product((1, 2, 4, 6, 8, 10, 12, 14, 16), "<>", ("minisblack", "miniswhite"))
    for depth, order, zero in kinds:
        top, grey = 2**depth - 1, _grey(depth)
        grey = grey if depth > 8 else grey.astype(np.uint8)
        seen = _eight(grey if zero == "minisblack" else top - grey, top)
        stored = (grey != 0) if depth == 1 else grey
        packed = {} if depth in (1, 8, 16) else {"bitspersample": depth}
        data = tiff(stored, photometric=zero, byteorder=order, **packed)
        yield Variant(f"tiff {zero} {depth} {order}", data, seen)


def _tiff_rgb(depth: int) -> Iterator[Variant]:
    colour = _colour(depth)
    seen = _eight(colour, 2**depth - 1)
    packed = {} if depth in (8, 16) else {"bitspersample": depth}
    kinds = product((None, (16, 16)), (None, "deflate", "lzw", "zstd", "lzma"))
    for tile, how in [(None, None)] if packed else kinds:
        options = {"photometric": "rgb", "tile": tile, "compression": how, **packed}
        options |= {"predictor": True} if how in ("deflate", "lzw") else {}
        for order in ("contig", "separate"):
            data = tiff(_laid(colour, order), planarconfig=order, **options)
            name = f"tiff rgb {depth} {order} {tile} {how}"
            yield Variant(name, data, seen, readable=how not in ("zstd", "lzma"))


def _laid(samples: np.ndarray, order: str) -> np.ndarray:
    """Samples with their channels last ("contig") or first ("separate")."""
    return samples if order == "contig" else np.ascontiguousarray(samples.transpose(2, 0, 1))


def _tiff_alpha(depth: int, order: str) -> Iterator[Variant]:
    """Alpha beside RGB, grey and CMYK, and CMYK alone."""
    top, colour = 2**depth - 1, _colour(depth)
    seen = _eight(colour, top)
    alpha = np.round(rgb(np.float64, 1)[:, ::-1, :1] * top).astype(colour.dtype)
    share = alpha[:, :, 0] / top
    held = np.round(colour * share[:, :, None]).astype(colour.dtype)
    grey, over_grey = colour[:, :, :1], _over_white(_eight(colour[:, :, 0], top), share)
    inks = np.concatenate([top - colour, np.full_like(alpha, top // 4)], 2)
    printed = np.round(seen * (1 - top // 4 / top)).astype(np.uint8)
    for name, photometric, kind, base, shown in (
        ("rgb", "rgb", "unassalpha", colour, _over_white(seen, share)),
        ("rgb", "rgb", "assocalpha", held, _over_white(seen, share)),
        ("rgb", "rgb", "unspecified", colour, seen),
        ("grey", "minisblack", "unassalpha", grey, over_grey),
        ("cmyk", "separated", "unassalpha", inks, _over_white(printed, share)),
        ("cmyk", "separated", None, inks, printed),
    ):
        samples = _laid(np.concatenate([base, alpha], 2) if kind else base, order)
        more = {"extrasamples": [kind]} if kind else {}
        data = tiff(samples, photometric=photometric, planarconfig=order, **more)
        yield Variant(f"tiff {name} {kind} {depth} {order}", data, shown)


def _tiff_other() -> Iterator[Variant]:
    for depth in (8, 16):
        index = _grey(depth).astype(np.uint8 if depth == 8 else np.uint16)
        table = (np.arange(2**depth) * 65535 // (2**depth - 1)).astype(np.uint16)
        table = np.stack([table, table[::-1], np.roll(table, 1)])
        data = tiff(index, photometric="palette", colormap=table)
        seen = _eight(table.T[index], 65535)
        yield Variant(f"tiff palette {depth}", data, seen, readable=depth == 8)
    for kind in (np.float16, np.float32, np.float64, np.int16, np.int32, np.uint32, np.int8):
        of_floats = np.dtype(kind).kind == "f"
        samples = rgb(kind, 1 if of_floats else 100)
        for name, photometric, values in (
            ("grey", "minisblack", samples[:, :, 0]),
            ("rgb", "rgb", samples),
        ):
            data = tiff(values, photometric=photometric)
            seen = _eight(values, 1 if of_floats else np.iinfo(kind).max)
            yield Variant(f"tiff {name} {np.dtype(kind).name}", data, seen, readable=False)
    yield Variant("tiff lab", tiff(rgb(), photometric="cielab"), rgb(), readable=False)
    jpeg = {"photometric": "rgb", "compression": "jpeg", "compressionargs": {"level": 98}}
    for subsampling in ((1, 1), (2, 2)):
        data = tiff(rgb(), subsampling=subsampling, **jpeg)
        yield Variant(f"tiff jpeg {subsampling}", data, rgb(), 14)


def _jpeg() -> list[Variant]:
    whole = imagecodecs.jpeg8_encode(rgb(), level=98)
    grey = rgb()[:, :, 0].copy()
    twelve = imagecodecs.jpeg8_encode(rgb(np.uint16, 4095), level=98, bitspersample=12)
    lossless = imagecodecs.ljpeg_encode(_grey(12), bitspersample=12)
    return [
        Variant("jpeg", whole, rgb(), 12),
        Variant("jpeg grey", imagecodecs.jpeg8_encode(grey, level=98), _eight(grey, 255), 5),
        Variant("jpeg without its end", whole[:-2], rgb(), 12),
        Variant("jpeg without half its end", whole[:-1], rgb(), 12),
        Variant("jpeg and more behind", whole + b"\0" * 500, rgb(), 12),
        Variant("jpeg 12 bit", twelve, rgb(), 12, readable=False),
        Variant("jpeg lossless", lossless, _eight(_grey(12), 4095), 2, readable=False),
    ]


def _jpeg2000() -> Iterator[Variant]:
    options = {"level": 0, "reversible": True}
    for form, depth in product(("jp2", "j2k"), (8, 10, 12, 16)):
        colour = _colour(depth)
        for name, values in (("rgb", colour), ("grey", np.ascontiguousarray(colour[:, :, 0]))):
            data = imagecodecs.jpeg2k_encode(
                values, codecformat=form, bitspersample=depth, **options
            )
            yield Variant(f"{form} {name} {depth}", data, _eight(values, 2**depth - 1), 1)
    values, over = _with_alpha()
    data = imagecodecs.jpeg2k_encode(values, codecformat="jp2", **options)
    yield Variant("jp2 rgb alpha", data, over, 1, readable=False)


def _with_alpha() -> tuple[np.ndarray, np.ndarray]:
    """RGBA of 8 bit, and what it shows."""
    alpha = rgb()[:, ::-1, :1]
    over = _over_white(rgb(), alpha[:, :, 0] / 255)
    return np.ascontiguousarray(np.concatenate([rgb(), alpha], 2)), over


def _avif() -> Iterator[Variant]:
    options = {"level": 100, "pixelformat": "444", "speed": 8}
    for depth in (8, 10, 12):
        data = imagecodecs.avif_encode(_colour(depth), bitspersample=depth, **options)
        yield Variant(f"avif {depth}", data, _eight(_colour(depth), 2**depth - 1), 3)
    values, over = _with_alpha()
    yield Variant("avif alpha", imagecodecs.avif_encode(values, **options), over, 4)


def _oriented(turn: int) -> Iterator[Variant]:
    stored, block = stored_for(rgb(), turn), exif_block(turn)
    for depth, order in product((8, 16), ("contig", "separate")):
        wide = stored.astype(np.uint16) * 257 if depth == 16 else stored
        tag = {"photometric": "rgb", "extratags": [(274, 3, 1, turn, True)]}
        data = tiff(_laid(wide, order), planarconfig=order, **tag)
        yield Variant(f"tiff turn {turn} {depth} {order}", data, rgb())
    part = chunk(b"eXIf", block)
    yield Variant(f"png turn {turn}", png(stored, 8, 2, part), rgb())
    yield Variant(f"png turn {turn} behind", png(stored, 8, 2, b"", part), rgb())
    whole = imagecodecs.jpeg8_encode(stored, level=98)
    marker = b"Exif\0\0" + block
    segment = b"\xff\xe1" + struct.pack(">H", len(marker) + 2) + marker
    yield Variant(f"jpeg turn {turn}", whole[:2] + segment + whole[2:], rgb(), 12)
