"""SIFT keypoints of photos, kept by the photo's own bytes; how many of two photos agree."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, UInt8
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from descriptors.errors import RequestError
from evaluation.encoding import image_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Self

    from descriptors.arrays import Box
    from evaluation.trials import Photo, Progress

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


# Keypoints of a photo, those of highest contrast; the longer side in pixels to which a larger
# photo is brought.
MAX_KEYPOINTS, SIDE = 1000, 1024


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
            "BoW needs OpenCV: `pip install camsearch[evaluate]`, or name the baselines "
            "without it, such as --systems SPoC,CroW,R-MAC."
        )


def extract(photo: Photo) -> Keypoints:
    """The keypoints of a photo.

    Raises:
        RequestError: if it is missing or cannot be read.

    Source:
        Lowe 2004, "Distinctive Image Features from Scale-Invariant Keypoints"; OpenCV's.
    """
    import cv2

    image = image_of(photo)
    grey = image.image.convert("L")
    if max(grey.size) > SIDE:
        grey.thumbnail((SIDE, SIDE), Image.Resampling.LANCZOS)
    sift = cv2.SIFT.create(nfeatures=MAX_KEYPOINTS)
    found, descriptors = sift.detectAndCompute(np.asarray(grey), None)
    if descriptors is None:
        return Keypoints(np.empty((0, 2), np.float32), np.empty((0, 128), np.uint8))
    places = np.array([point.pt for point in found], dtype=np.float32)
    places *= np.float32(max(image.size) / max(grey.size))
    return Keypoints(places, descriptors.astype(np.uint8))


def keypoints_of(
    photos: Sequence[Photo], digests: Mapping[Path, str], cache: Path, progress: Progress
) -> dict[Path, Keypoints]:
    """The keypoints of photos by their files; only those not kept yet are extracted.

    Args:
        photos: each once.
        digests: SHA-256 of each photo's bytes.
        cache: where keypoints are kept.
        progress: told how many were extracted.

    Raises:
        RequestError: for a photo that is missing or cannot be read.
    """
    folder = cache / f"sift-{MAX_KEYPOINTS}-{SIDE}"
    places = {
        photo.file: folder / digests[photo.file][:2] / f"{digests[photo.file]}.safetensors"
        for photo in photos
    }
    found = {file: _kept(place) for file, place in places.items()}
    missing = [photo for photo in photos if found[photo.file] is None]
    with ThreadPoolExecutor(_THREADS, "sift") as pool:
        extracted = pool.map(extract, missing)
        for done, (photo, points) in enumerate(zip(missing, extracted, strict=True), start=1):
            _keep(places[photo.file], points)
            found[photo.file] = points
            progress("SIFT", done, len(missing))
    return {file: points for file, points in found.items() if points is not None}


def _kept(path: Path) -> Keypoints | None:
    """What is kept in a file; None where it is nothing whole."""
    try:
        tensors = load_file(path)
        return Keypoints(tensors["places"].numpy(), tensors["descriptors"].numpy())
    except (FileNotFoundError, SafetensorError, KeyError):
        return None


def _keep(path: Path, points: Keypoints) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Under a name of its own first: a run that is stopped leaves nothing half written.
    part = path.with_name(f"{path.name}.{uuid4().hex}")
    tensors = {
        "places": torch.from_numpy(points.places).contiguous(),
        "descriptors": torch.from_numpy(points.descriptors).contiguous(),
    }
    save_file(tensors, part)
    part.replace(path)


# A word that stands oftener in a photo says nothing about where (foliage, windows).
_MAX_ALIKE = 2
# RANSAC: pixels for a photo of 1000 at its longer side, tries, and how sure to be of the best.
_APART, _TRIES, _SURE = 10.0, 500, 0.99
# Fewer inliers come about by chance; a movement that scales by more is a degenerate one.
_MIN, _MAX_SCALE = 6, 6.0


@dataclass(frozen=True)
class PlacedWords:
    """The words of one photo and where they lie, in order of the words.

    Attributes:
        words: ascending.
        places: x and y of each, in pixels.
        side: of the photo, the longer one.
    """

    words: Int[np.ndarray, " n"]
    places: Float[np.ndarray, "n 2"]
    side: int

    @classmethod
    def of(cls, words: Int[np.ndarray, " n"], places: Float[np.ndarray, "n 2"], side: int) -> Self:
        """Words in any order."""
        order = np.argsort(words, kind="stable")
        return cls(words[order], places[order], side)

    def rare(self) -> PlacedWords:
        """Those that do not stand too often in the photo to say where something is."""
        _, at, counts = np.unique(self.words, return_inverse=True, return_counts=True)
        rare = counts[at] <= _MAX_ALIKE
        return PlacedWords(self.words[rare], self.places[rare], self.side)


def matches(
    one: PlacedWords, other: PlacedWords
) -> tuple[Float[np.ndarray, "m 2"], Float[np.ndarray, "m 2"]]:
    """The places of every pair of equal words, one of each photo."""
    first = np.searchsorted(other.words, one.words, side="left")
    counts = np.searchsorted(other.words, one.words, side="right") - first
    rows = np.repeat(np.arange(len(one.words)), counts)
    # Within each run of a word's matches: 0, 1, ...
    within = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    return one.places[rows], other.places[first[rows] + within]


def inliers(one: PlacedWords, other: PlacedWords) -> int:
    """How many matches agree on one turn, shift and scale; 0 where it is too few to count.

    Source:
        Philbin et al. 2007, "Object Retrieval with Large Vocabularies and Fast Spatial
        Matching", section 5: RANSAC on words in common. Theirs uses the keypoints' shapes and
        takes one match a try; ours takes two and OpenCV's RANSAC.
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
    # A place that two words share counts once.
    distinct = len(np.unique(source[agree[:, 0] > 0], axis=0))
    return distinct if distinct >= _MIN and 1 / _MAX_SCALE < scale < _MAX_SCALE else 0
