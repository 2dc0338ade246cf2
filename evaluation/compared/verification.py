"""Spatial verification: how many matching words of two photos agree on one movement."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float, Int

if TYPE_CHECKING:
    from typing import Self

__all__ = ["PlacedWords", "inliers", "matches"]

# A word that stands oftener in a photo says nothing about where (foliage, windows).
_MOST_ALIKE = 2
# RANSAC: pixels for a photo of 1000 at its longer side, tries, and how sure to be of the best.
_APART, _TRIES, _SURE = 10.0, 500, 0.99
# Fewer inliers come about by chance; a movement that scales by more is a degenerate one.
_LEAST, _MOST_SCALE = 6, 6.0


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
        rare = counts[at] <= _MOST_ALIKE
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
    if len(source) < _LEAST:
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
    return distinct if distinct >= _LEAST and 1 / _MOST_SCALE < scale < _MOST_SCALE else 0
