"""Images of many kinds with the RGB pixels that must come out, written without Pillow.

TIFF, JPEG, JPEG 2000, AVIF by tifffile and imagecodecs; PNG chunk by chunk.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from io import BytesIO

import imagecodecs
import numpy as np
import tifffile

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


def variants() -> list[Variant]:
    """Every kind."""
    return [*_png(), *_tiff(), *_jpeg(), *_jpeg2000(), *_avif(), *_oriented()]


def _grey(depth: int) -> np.ndarray:
    top = 2**depth - 1
    return rgb(np.uint16, top)[:, :, 0]


def _png() -> list[Variant]:
    found = []
    for depth in (1, 2, 4, 8, 16):
        top, grey = 2**depth - 1, _grey(depth)
        seen = _eight(grey, top)
        found.append(Variant(f"png grey {depth}", png(grey, depth, 0), seen))
        key = int(grey[0, WIDTH // 3])
        clear = chunk(b"tRNS", struct.pack(">H", key))
        found.append(
            Variant(
                f"png grey {depth} tRNS",
                png(grey, depth, 0, clear),
                _over_white(seen, grey != key),
                readable=depth > 1,
            )
        )
    for depth in (1, 2, 4, 8):
        count = 2**depth
        index = _grey(depth)
        colours = np.stack(
            [np.arange(count), 255 - np.arange(count), np.arange(count) * 7 % 256], 1
        )
        colours = (colours * (200 // count + 1) % 256).astype(np.uint8)
        table = chunk(b"PLTE", colours.tobytes())
        seen = colours[index]
        found.append(Variant(f"png palette {depth}", png(index, depth, 3, table), seen))
        alphas = np.linspace(0, 255, count).astype(np.uint8)
        found.append(
            Variant(
                f"png palette {depth} tRNS",
                png(index, depth, 3, table + chunk(b"tRNS", alphas.tobytes())),
                _over_white(seen, alphas[index] / 255),
            )
        )
    for depth in (8, 16):
        top = 2**depth - 1
        colour = rgb(np.uint16, top)
        seen = _eight(colour, top)
        found.append(Variant(f"png rgb {depth}", png(colour, depth, 2), seen))
        keyed = colour.copy()
        keyed[5:20, 5:20] = keyed[3, 3]
        keyed[20:30, 5:20] = keyed[3, 3] + [0, 0, 1]  # next to the key, not the key
        clear = chunk(b"tRNS", struct.pack(">3H", *keyed[3, 3].tolist()))
        shown = (keyed != keyed[3, 3]).any(axis=2)
        found.append(
            Variant(
                f"png rgb {depth} tRNS",
                png(keyed, depth, 2, clear),
                _over_white(_eight(keyed, top), shown),
            )
        )
        alpha = _grey(depth)[:, ::-1, None]
        for name, kind, base in (("rgb", 6, colour), ("grey", 4, colour[:, :, 1:2])):
            found.append(
                Variant(
                    f"png {name} alpha {depth}",
                    png(np.concatenate([base, alpha], 2), depth, kind),
                    _over_white(
                        _eight(np.broadcast_to(base, colour.shape), top), alpha[:, :, 0] / top
                    ),
                )
            )
    plain, seen = rgb(), rgb()
    text = b"XML:com.adobe.xmp\0\0\0\0\0" + b"x" * 1_400_000
    noise = np.random.default_rng(1).bytes(1_400_000)
    extra = {
        "large iTXt": chunk(b"iTXt", text),
        "large compressed iTXt": chunk(
            b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(b"x" * 5_000_000)
        ),
        "large zTXt": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(noise)),
        "large tEXt": chunk(b"tEXt", b"Comment\0" + b"x" * 2_000_000),
        "large iCCP": chunk(b"iCCP", b"profile\0\0" + zlib.compress(noise)),
        "broken iCCP": chunk(b"iCCP", b"profile\0\0not zlib"),
    }
    for kind in (
        b"tEXt",
        b"zTXt",
        b"iTXt",
        b"pHYs",
        b"gAMA",
        b"iCCP",
        b"tIME",
        b"cHRM",
        b"eXIf",
        b"acTL",
    ):
        extra[f"bad CRC {kind.decode()}"] = chunk(kind, b"12345678\0", broken=True)
    found += [Variant(f"png {name}", png(plain, 8, 2, part), seen) for name, part in extra.items()]
    found += [
        Variant(f"png {name} behind", png(plain, 8, 2, b"", part), seen)
        for name, part in extra.items()
    ]
    broken = chunk(b"tRNS", b"\0\0\0\0\0\0", broken=True)
    return [*found, Variant("png bad CRC tRNS", png(plain, 8, 2, broken), seen, readable=False)]


def _tiff() -> list[Variant]:
    rgbs = [v for depth in (8, 10, 12, 16) for v in _tiff_rgb(depth)]
    alphas = [
        v
        for depth in (8, 16)
        for order in ("contig", "separate")
        for v in _tiff_alpha(depth, order)
    ]
    return [*_tiff_grey(), *rgbs, *alphas, *_tiff_other()]


def _tiff_grey() -> list[Variant]:
    found = []
    for depth in (1, 2, 4, 6, 8, 10, 12, 14, 16):
        top, grey = 2**depth - 1, _grey(depth)
        grey = grey if depth > 8 else grey.astype(np.uint8)
        for order in "<>":
            for zero in ("minisblack", "miniswhite"):
                seen = _eight(grey if zero == "minisblack" else top - grey, top)
                stored = (grey != 0) if depth == 1 else grey
                packed = {} if depth in (1, 8, 16) else {"bitspersample": depth}
                data = tiff(stored, photometric=zero, byteorder=order, **packed)
                found.append(Variant(f"tiff {zero} {depth} {order}", data, seen))
    return found


def _tiff_rgb(depth: int) -> list[Variant]:
    top = 2**depth - 1
    colour = rgb(np.uint8 if depth == 8 else np.uint16, top)
    seen = _eight(colour, top)
    planes = np.ascontiguousarray(colour.transpose(2, 0, 1))
    packed = {} if depth in (8, 16) else {"bitspersample": depth}
    kinds = [
        (tile, how) for tile in (None, (16, 16)) for how in (None, "deflate", "lzw", "zstd", "lzma")
    ]
    found = []
    for tile, how in [(None, None)] if packed else kinds:
        options = {"photometric": "rgb", "tile": tile, "compression": how, **packed}
        options |= {"predictor": True} if how in ("deflate", "lzw") else {}
        for order, samples in (("contig", colour), ("separate", planes)):
            data = tiff(samples, planarconfig=order, **options)
            readable = how not in ("zstd", "lzma")
            found.append(
                Variant(f"tiff rgb {depth} {order} {tile} {how}", data, seen, readable=readable)
            )
    return found


def _tiff_alpha(depth: int, order: str) -> list[Variant]:
    """Alpha beside RGB, grey and CMYK, and CMYK alone."""
    top = 2**depth - 1
    colour = rgb(np.uint8 if depth == 8 else np.uint16, top)
    seen = _eight(colour, top)
    alpha = np.round(rgb(np.float64, 1)[:, ::-1, :1] * top).astype(colour.dtype)
    share = alpha[:, :, 0] / top
    held = np.round(colour * share[:, :, None]).astype(colour.dtype)
    grey, over_grey = colour[:, :, :1], _over_white(_eight(colour[:, :, 0], top), share)
    inks = np.concatenate([top - colour, np.full_like(alpha, top // 4)], 2)
    printed = np.round(seen * (1 - top // 4 / top)).astype(np.uint8)
    found = []
    for name, photometric, kind, base, shown in (
        ("rgb", "rgb", "unassalpha", colour, _over_white(seen, share)),
        ("rgb", "rgb", "assocalpha", held, _over_white(seen, share)),
        ("rgb", "rgb", "unspecified", colour, seen),
        ("grey", "minisblack", "unassalpha", grey, over_grey),
        ("cmyk", "separated", "unassalpha", inks, _over_white(printed, share)),
        ("cmyk", "separated", None, inks, printed),
    ):
        samples = np.concatenate([base, alpha], 2) if kind else base
        samples = samples if order == "contig" else np.ascontiguousarray(samples.transpose(2, 0, 1))
        more = {"extrasamples": [kind]} if kind else {}
        data = tiff(samples, photometric=photometric, planarconfig=order, **more)
        found.append(Variant(f"tiff {name} {kind} {depth} {order}", data, shown))
    return found


def _tiff_other() -> list[Variant]:
    found = []
    for depth in (8, 16):
        count = 2**depth
        index = _grey(depth).astype(np.uint8 if depth == 8 else np.uint16)
        table = (np.arange(count) * 65535 // (count - 1)).astype(np.uint16)
        table = np.stack([table, table[::-1], np.roll(table, 1)])
        data = tiff(index, photometric="palette", colormap=table)
        seen = _eight(table.T[index], 65535)
        found.append(Variant(f"tiff palette {depth}", data, seen, readable=depth == 8))
    for kind in (np.float16, np.float32, np.float64, np.int16, np.int32, np.uint32, np.int8):
        samples = rgb(kind, 1 if np.dtype(kind).kind == "f" else 100)
        for name, values in (("grey", samples[:, :, 0]), ("rgb", samples)):
            photometric = "minisblack" if name == "grey" else "rgb"
            data = tiff(values, photometric=photometric)
            seen = _eight(values, 1 if np.dtype(kind).kind == "f" else np.iinfo(kind).max)
            found.append(Variant(f"tiff {name} {np.dtype(kind).name}", data, seen, readable=False))
    lab = tiff(rgb(), photometric="cielab")
    found.append(Variant("tiff lab", lab, rgb(), readable=False))
    for subsampling in ((1, 1), (2, 2)):
        data = tiff(
            rgb(),
            photometric="rgb",
            compression="jpeg",
            compressionargs={"level": 98},
            subsampling=subsampling,
        )
        found.append(Variant(f"tiff jpeg {subsampling}", data, rgb(), 14))
    return found


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


def _jpeg2000() -> list[Variant]:
    found = []
    for form in ("jp2", "j2k"):
        for depth in (8, 10, 12, 16):
            kind = np.uint8 if depth == 8 else np.uint16
            colour = rgb(kind, 2**depth - 1)
            for name, values in (("rgb", colour), ("grey", np.ascontiguousarray(colour[:, :, 0]))):
                data = imagecodecs.jpeg2k_encode(
                    values, level=0, codecformat=form, bitspersample=depth, reversible=True
                )
                found.append(
                    Variant(f"{form} {name} {depth}", data, _eight(values, 2**depth - 1), 1)
                )
    alpha = rgb()[:, ::-1, :1]
    values = np.ascontiguousarray(np.concatenate([rgb(), alpha], 2))
    over = _over_white(rgb(), alpha[:, :, 0] / 255)
    data = imagecodecs.jpeg2k_encode(values, level=0, codecformat="jp2", reversible=True)
    return [*found, Variant("jp2 rgb alpha", data, over, 1, readable=False)]


def _avif() -> list[Variant]:
    found = []
    for depth in (8, 10, 12):
        colour = rgb(np.uint8 if depth == 8 else np.uint16, 2**depth - 1)
        data = imagecodecs.avif_encode(
            colour, level=100, bitspersample=depth, pixelformat="444", speed=8
        )
        found.append(Variant(f"avif {depth}", data, _eight(colour, 2**depth - 1), 3))
    alpha = rgb()[:, ::-1, :1]
    values = np.ascontiguousarray(np.concatenate([rgb(), alpha], 2))
    data = imagecodecs.avif_encode(values, level=100, pixelformat="444", speed=8)
    return [*found, Variant("avif alpha", data, _over_white(rgb(), alpha[:, :, 0] / 255), 4)]


def _oriented() -> list[Variant]:
    found = []
    for turn in range(1, 9):
        stored = stored_for(rgb(), turn)
        block = exif_block(turn)
        for depth in (8, 16):
            wide = stored.astype(np.uint16) * 257 if depth == 16 else stored
            for order in ("contig", "separate"):
                samples = (
                    wide if order == "contig" else np.ascontiguousarray(wide.transpose(2, 0, 1))
                )
                data = tiff(
                    samples,
                    photometric="rgb",
                    planarconfig=order,
                    extratags=[(274, 3, 1, turn, True)],
                )
                found.append(Variant(f"tiff turn {turn} {depth} {order}", data, rgb()))
        found.append(Variant(f"png turn {turn}", png(stored, 8, 2, chunk(b"eXIf", block)), rgb()))
        behind = png(stored, 8, 2, b"", chunk(b"eXIf", block))
        found.append(Variant(f"png turn {turn} behind", behind, rgb()))
        whole = imagecodecs.jpeg8_encode(stored, level=98)
        marker = b"Exif\0\0" + block
        part = b"\xff\xe1" + struct.pack(">H", len(marker) + 2) + marker
        found.append(Variant(f"jpeg turn {turn}", whole[:2] + part + whole[2:], rgb(), 12))
    return found
