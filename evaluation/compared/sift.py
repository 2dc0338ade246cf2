"""SIFT keypoints of photos, extracted once and kept, named by the photo's own bytes."""

from __future__ import annotations

import hashlib
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from descriptors.errors import RequestError
from evaluation.encoding import picture_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from descriptors.arrays import Box
    from evaluation.encoding import Progress
    from evaluation.trials import Photo

__all__ = ["KeypointStore", "Keypoints", "SiftSettings", "extract", "require_opencv"]

_THREADS = os.cpu_count() or 1


@dataclass(frozen=True)
class SiftSettings:
    """What changes a photo's keypoints.

    Attributes:
        most: keypoints of a photo, those of highest contrast.
        side: longer side in pixels to which a larger photo is brought; none is enlarged.
    """

    most: int = 1000
    side: int = 1024

    def digest(self) -> str:
        """16 hex digits that change with every number here."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Keypoints:
    """The keypoints of one photo.

    Attributes:
        places: x and y, in pixels of the upright photo at its full size.
        descriptors: SIFT's 128 numbers, which are whole and below 256.
    """

    places: Float[np.ndarray, "n 2"]
    descriptors: UInt8[np.ndarray, "n 128"]

    def inside(self, box: Box | None) -> Bool[np.ndarray, " n"]:
        """Which of them lie in a box; all without one."""
        if box is None:
            return np.ones(len(self.places), dtype=np.bool_)
        low, high = np.array([box.x0, box.y0]), np.array([box.x1, box.y1])
        return np.asarray(((self.places >= low) & (self.places < high)).all(axis=1))


def require_opencv() -> None:
    """Refuse to go on without OpenCV, which only BoW needs.

    Raises:
        RequestError: if it is not installed.
    """
    if find_spec("cv2") is None:
        raise RequestError(
            "BoW needs OpenCV: `pip install camsearch[evaluate]`, or name the compared systems "
            "without it, such as --systems SPoC,CroW,R-MAC."
        )


def extract(photo: Photo, settings: SiftSettings) -> Keypoints:
    """The keypoints of a photo.

    Raises:
        RequestError: if it is missing or cannot be read.

    Source:
        Lowe 2004, "Distinctive Image Features from Scale-Invariant Keypoints"; OpenCV's.
    """
    import cv2

    picture = picture_of(photo)
    grey = picture.image.convert("L")
    if max(grey.size) > settings.side:
        grey.thumbnail((settings.side, settings.side), Image.Resampling.LANCZOS)
    sift = cv2.SIFT.create(nfeatures=settings.most)
    found, descriptors = sift.detectAndCompute(np.asarray(grey), None)
    if descriptors is None:
        return Keypoints(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8))
    places = np.array([point.pt for point in found], dtype=np.float32)
    places *= np.float32(max(picture.size) / max(grey.size))
    return Keypoints(places, descriptors.astype(np.uint8))


class KeypointStore:
    """Keypoints kept in files, apart by settings."""

    def __init__(self, folder: Path, settings: SiftSettings) -> None:
        """Name the place; it is made when something is kept."""
        self.folder, self.settings = folder / f"sift-{settings.digest()}", settings

    def of(
        self, photos: Sequence[Photo], digests: Mapping[Path, str], progress: Progress
    ) -> dict[Path, Keypoints]:
        """The keypoints of photos by their files; only those not kept yet are extracted.

        Args:
            photos: each once.
            digests: SHA-256 of each photo's bytes.
            progress: told how many were extracted.

        Raises:
            RequestError: for a photo that is missing or cannot be read.
        """
        found = {photo.file: self._kept(digests[photo.file]) for photo in photos}
        missing = [photo for photo in photos if found[photo.file] is None]
        with ThreadPoolExecutor(_THREADS, "sift") as pool:
            extracted = pool.map(lambda photo: extract(photo, self.settings), missing)
            for done, (photo, points) in enumerate(zip(missing, extracted, strict=True), start=1):
                self._keep(digests[photo.file], points)
                found[photo.file] = points
                progress("SIFT", done, len(missing))
        return {file: points for file, points in found.items() if points is not None}

    def _path(self, digest: str) -> Path:
        return self.folder / digest[:2] / f"{digest}.safetensors"

    def _kept(self, digest: str) -> Keypoints | None:
        """What is kept under a digest; None where it is nothing whole."""
        try:
            tensors = load_file(self._path(digest))
            return Keypoints(tensors["places"].numpy(), tensors["descriptors"].numpy())
        except (FileNotFoundError, SafetensorError, KeyError):
            return None

    def _keep(self, digest: str, points: Keypoints) -> None:
        path = self._path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        # Under a name of its own first: a run that is stopped leaves nothing half written.
        part = path.with_name(f"{path.name}.{uuid4().hex}")
        tensors = {
            "places": torch.from_numpy(points.places).contiguous(),
            "descriptors": torch.from_numpy(points.descriptors).contiguous(),
        }
        save_file(tensors, part)
        part.replace(path)
