"""A gallery with its method, maps and images, and images of every bad kind."""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL import Image

from descriptors.images import ImageLimits
from galleries.features import FeatureStore
from galleries.local import LocalGallery
from indexer.pipeline import index_sources
from indexer.reading import IndexingPlan
from indexer.sources import find_images
from tests.support.images import (
    animated,
    encoded,
    gradient,
    noise,
    shapes,
    uniform,
    with_orientation,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from descriptors.method import Method
    from galleries.documents import Document, Reject
    from galleries.gallery import Writable
    from indexer.progress import Progress
    from indexer.sources import Source

# Small, so that an image "too large" is quickly made.
LIMITS = ImageLimits(max_bytes=60_000, max_pixels=40_000)


@dataclass
class House:
    """A folder of images and the gallery they go to."""

    root: Path
    method: Method
    gallery: LocalGallery = field(init=False)
    features: FeatureStore = field(init=False)

    def __post_init__(self) -> None:
        self.photos = self.root / "photos"
        self.photos.mkdir()
        fingerprint = self.method.fingerprint()
        dims = self.method.settings.dims
        self.gallery = LocalGallery.create(self.root / "gallery", dims, fingerprint, {})
        self.features = FeatureStore(str(self.root / "maps"), fingerprint)

    def close(self) -> None:
        self.gallery.close()
        self.features.close()

    def add(self, name: str, image: Image.Image | bytes) -> str:
        """Write an image's file, later than any before, and return its id."""
        path = self.photos / name
        path.write_bytes(image if isinstance(image, bytes) else encoded(image))
        self._later(path)
        return str(path)

    def _later(self, path: Path) -> None:
        # Files written within one tick of the clock would have one time.
        self.ticks = getattr(self, "ticks", 0) + 1
        os.utime(path, ns=(self.ticks, self.ticks))

    def touch(self, id_: str) -> None:
        """Change a file's time and nothing else."""
        self._later(Path(id_))

    def add_some(self, count: int, prefix: str = "p", seed: int = 0) -> list[str]:
        """Add good images of three shapes and return their ids."""
        sizes = ((64, 48), (48, 64), (64, 64))
        return [
            self.add(f"{prefix}{i:03d}.png", shapes(*sizes[i % 3], seed=seed + i))
            for i in range(count)
        ]

    def index(
        self,
        sources: Iterable[Source] | None = None,
        *,
        features: FeatureStore | str | None = "its own",
        gallery: Writable | None = None,
        on_progress: Any = lambda _: None,
        **plan: Any,
    ) -> Progress:
        """Index the folder, or other sources."""
        filled: dict[str, Any] = {"batch_size": 4, "readers": 2, "limits": LIMITS} | plan
        return index_sources(
            find_images([self.photos]) if sources is None else sources,
            self.method,
            gallery or self.gallery,
            self.features if isinstance(features, str) else features,
            IndexingPlan(**filled),
            on_progress,
        )

    @property
    def documents(self) -> dict[str, Document]:
        return {document.id: document for document in self.gallery.documents()}

    @property
    def rejects(self) -> dict[str, Reject]:
        return {reject.id: reject for reject in self.gallery.rejects()}

    def assert_consistent(self) -> None:
        """Documents have the maps of their own bytes, and what was only refused has none."""
        documents = self.documents
        kept = self.features.get({i: document.digest for i, document in documents.items()})
        assert kept.keys() == documents.keys()
        assert not [i for i in self.rejects if i not in documents and self.features.has(i)]


def good_images() -> dict[str, bytes]:
    """Images of odd kinds that can be read."""
    square = shapes(64, 64, seed=9)
    palette = square.convert("P")
    palette.info["transparency"] = 0
    grey16 = Image.frombytes("I;16", (32, 32), noise(64, 32).convert("L").tobytes())
    odd = {
        "cmyk.jpg": encoded(square.convert("CMYK"), "JPEG"),
        "grey.jpg": encoded(square.convert("L"), "JPEG"),
        "sixteen-bit.png": encoded(grey16),
        "palette.png": encoded(palette, transparency=0),
        "alpha.png": encoded(square.convert("RGBA")),
        "two-tone.png": encoded(noise(64, 64).convert("1")),
        "animated.gif": animated([shapes(48, 48, seed=i) for i in range(3)], "GIF"),
        "really-a-png.jpg": encoded(square, "PNG"),
        "long.png": encoded(gradient(300, 20)),
    }
    turned = {
        f"turned-{orientation}.jpg": with_orientation(shapes(64, 48, seed=5), orientation)
        for orientation in range(1, 9)
    }
    return odd | turned


def bad_images() -> dict[str, tuple[bytes, str]]:
    """Images that are refused: their bytes, and the kind of their reject."""
    whole = encoded(noise(64, 64), "JPEG")
    broken = bytearray(encoded(noise(64, 64)))
    broken[60:300] = bytes(240)
    return {
        "empty.jpg": (b"", "unreadable_image"),
        "text.jpg": (b"I am a text called text.jpg\n" * 40, "unreadable_image"),
        "page.png": (b"<!DOCTYPE html><html><body>404</body></html>", "unreadable_image"),
        "cut.jpg": (whole[: len(whole) // 2], "unreadable_image"),
        "cut-header.jpg": (whole[:30], "unreadable_image"),
        "broken.png": (bytes(broken), "unreadable_image"),
        "drawing.png": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unreadable_image"),
        "one-pixel.png": (encoded(noise(1, 1)), "image_too_small"),
        "thin.png": (encoded(noise(200, 3)), "image_too_small"),
        "bomb.png": (png_header(20_000, 20_000), "image_too_large"),
        "many-pixels.png": (encoded(uniform(300, 300)), "image_too_large"),
        "many-bytes.png": (encoded(noise(170, 170)), "image_too_large"),
        "black.png": (encoded(uniform(64, 64, (0, 0, 0))), "featureless_image"),
        "white.jpg": (encoded(uniform(64, 64, (255, 255, 255)), "JPEG"), "featureless_image"),
        "clear.png": (encoded(Image.new("RGBA", (64, 64))), "featureless_image"),
        "float.tiff": (encoded(gradient(64, 64).convert("F"), "TIFF"), "unsupported_image"),
    }


def png_header(width: int, height: int) -> bytes:
    """A PNG that says this size and holds no pixel."""
    body = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    file = io.BytesIO()
    file.write(b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(body) - 4) + body)
    file.write(struct.pack(">I", zlib.crc32(body)))
    return file.getvalue() + struct.pack(">I", 100) + b"IDAT" + b"\0" * 104
