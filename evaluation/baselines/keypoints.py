"""SIFT keypoints of images, cached by the digest of the file; matching of two images."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from descriptors.errors import RequestError
from evaluation.encoding import pixels_of, write_whole

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from descriptors.arrays import Box
    from evaluation.trials import DatasetImage, Progress

__all__ = [
    "MAX_KEYPOINTS",
    "SIDE",
    "Keypoints",
    "PlacedWords",
    "extract",
    "inliers",
    "keypoints_of",
    "matches",
    "require_opencv",
]

_THREADS = os.cpu_count() or 1
# Keypoints per image, those of highest contrast; the longer side to which images are reduced.
MAX_KEYPOINTS, SIDE = 1000, 1024


@dataclass(frozen=True)
class Keypoints:
    """The keypoints of one image.

    Attributes:
        places: x and y, in pixels of the upright image at its full size.
        descriptors: SIFT's 128 integers below 256.
    """

    places: Float[np.ndarray, "n 2"]
    descriptors: UInt8[np.ndarray, "n 128"]

    def inside(self, box: Box | None) -> Bool[np.ndarray, " n"]:
        """Which of them are in a box; all without one."""
        if box is None:
            return np.ones(len(self.places), dtype=np.bool_)
        low, high = np.array([box.x0, box.y0]), np.array([box.x1, box.y1])
        return np.asarray(((self.places >= low) & (self.places < high)).all(axis=1))


def require_opencv() -> None:
    """Refuse BoW if OpenCV is missing.

    Raises:
        RequestError: if OpenCV is not installed.
    """
    if find_spec("cv2") is None:
        raise RequestError(
            "BoW needs OpenCV: `pip install camsearch[evaluate]`, or name the baselines "
            "without it, such as --systems SPoC,CroW,R-MAC."
        )


def extract(image: DatasetImage) -> Keypoints:
    """The keypoints of an image.

    Raises:
        RequestError: if it is missing or cannot be read.

    Source:
        Lowe 2004, "Distinctive Image Features from Scale-Invariant Keypoints"; OpenCV's.
    """
    import cv2

    pixels = pixels_of(image)
    grey = pixels.image.convert("L")
    if max(grey.size) > SIDE:
        grey.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    sift = cv2.SIFT.create(nfeatures=MAX_KEYPOINTS)
    found, descriptors = sift.detectAndCompute(np.asarray(grey), None)
    if descriptors is None:
        return Keypoints(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8))
    places = np.array([point.pt for point in found], dtype=np.float32)
    places *= np.float32(max(pixels.size) / max(grey.size))
    return Keypoints(places, descriptors.astype(np.uint8))


def keypoints_of(
    images: Sequence[DatasetImage], digests: Mapping[Path, str], cache: Path, progress: Progress
) -> dict[Path, Keypoints]:
    """The keypoints of images by file; extracts only those that are not in `cache`.

    Args:
        digests: SHA-256 of each image's bytes.

    Raises:
        RequestError: for an image that is missing or cannot be read, or if `cache` is not writable.
    """
    folder = cache / f"sift-{MAX_KEYPOINTS}-{SIDE}"
    places = {
        image.file: folder / digests[image.file][:2] / f"{digests[image.file]}.safetensors"
        for image in images
    }
    found = {file: _kept(place) for file, place in places.items()}
    missing = [image for image in images if found[image.file] is None]
    with ThreadPoolExecutor(_THREADS, "sift") as pool:
        extracted = pool.map(extract, missing)
        for done, (image, points) in enumerate(zip(missing, extracted, strict=True), start=1):
            _keep(places[image.file], points)
            found[image.file] = points
            progress("SIFT", done, len(missing))
    return {file: points for file, points in found.items() if points is not None}


def _kept(path: Path) -> Keypoints | None:
    """Keypoints from a file; None if it is missing or damaged."""
    try:
        tensors = load_file(path)
        return Keypoints(tensors["places"].numpy(), tensors["descriptors"].numpy())
    except (FileNotFoundError, SafetensorError, KeyError):
        return None


def _keep(path: Path, points: Keypoints) -> None:
    tensors = {
        "places": torch.from_numpy(points.places).contiguous(),
        "descriptors": torch.from_numpy(points.descriptors).contiguous(),
    }
    write_whole(path, save(tensors))


# A word that is more frequent in an image (foliage, windows) does not locate anything.
_MAX_ALIKE = 2
# RANSAC: pixels for a longer side of 1000, iterations, confidence.
_APART, _TRIES, _SURE = 10.0, 500, 0.99
# Fewer inliers may be chance; a transform with a larger scale is degenerate.
_MIN, _MAX_SCALE = 6, 6.0


@dataclass(frozen=True)
class PlacedWords:
    """The words of one image and their places, sorted by word.

    Attributes:
        words: ascending.
        places: x and y of each, in pixels.
        side: the longer side of the image.
    """

    words: Int[np.ndarray, " n"]
    places: Float[np.ndarray, "n 2"]
    side: int

    @classmethod
    def of(cls, words: Int[np.ndarray, " n"], places: Float[np.ndarray, "n 2"], side: int) -> Self:
        """Sort the words."""
        order = np.argsort(words, kind="stable")
        return cls(words[order], places[order], side)

    def rare(self) -> PlacedWords:
        """Words that are rare enough in the image to tell where something is."""
        _, at, counts = np.unique(self.words, return_inverse=True, return_counts=True)
        rare = counts[at] <= _MAX_ALIKE
        return PlacedWords(self.words[rare], self.places[rare], self.side)


def matches(
    one: PlacedWords, other: PlacedWords
) -> tuple[Float[np.ndarray, "m 2"], Float[np.ndarray, "m 2"]]:
    """The places of every pair of equal words, one of each image."""
    first = np.searchsorted(other.words, one.words, side="left")
    counts = np.searchsorted(other.words, one.words, side="right") - first
    rows = np.repeat(np.arange(len(one.words)), counts)
    # 0, 1, ... within the matches of each word.
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return one.places[rows], other.places[first[rows] + within]


def inliers(one: PlacedWords, other: PlacedWords) -> int:
    """How many matches agree on one rotation, shift and scale; 0 if they are too few.

    Source:
        Philbin et al. 2007, "Object Retrieval with Large Vocabularies and Fast Spatial
        Matching", section 5: RANSAC on words in common. Theirs uses the keypoints' shapes and
        one match per trial; ours uses two matches and OpenCV's RANSAC.
    """
    import cv2

    source, target = matches(one, other)
    if len(source) < _MIN:
        return 0
    movement, agree = cv2.estimateAffinePartial2D(
        source,
        target,
        method=cv2.RANSAC,
        ransacReprojThreshold=_APART * other.side / 1000,
        maxIters=_TRIES,
        confidence=_SURE,
        refineIters=0,
    )
    if movement is None:
        return 0
    scale = float(np.hypot(movement[0, 0], movement[1, 0]))
    # Two words at one place count once.
    distinct = len(np.unique(source[agree[:, 0] > 0], axis=0))
    return distinct if distinct >= _MIN and 1 / _MAX_SCALE < scale < _MAX_SCALE else 0
