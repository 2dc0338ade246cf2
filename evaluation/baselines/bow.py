"""BoW: SIFT keypoints as words of a vocabulary, weighed by tf-idf, verified by RANSAC.

Source:
    Sivic and Zisserman 2003, "Video Google: A Text Retrieval Approach to Object Matching in
    Videos"; Philbin et al. 2007 for its size and the verification.
"""

from __future__ import annotations

import logging
import math
import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from scipy.sparse import csr_array
from torch import Tensor
from torch.nn import functional

from descriptors.errors import RequestError
from evaluation.baselines.dense import (
    Rankings,
    first_hits,
    left_out,
    ms_per_query,
    ranked,
    sorted_heads,
)
from evaluation.baselines.keypoints import Keypoints, PlacedWords, inliers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from descriptors.arrays import Box
    from descriptors.settings import LayerSettings
    from evaluation.trials import DatasetImage, Progress, Trial

__all__ = ["BagOfWords", "Vocabulary", "tf_idf"]

_log = logging.getLogger(__name__)

_THREADS = os.cpu_count() or 1
# Fewest keypoints per word.
_MIN_OF_WORD = 10
# Keypoints looked up together (their distances to all words fit in the cache), keypoints in a
# step of k-means, and its passes.
_TOGETHER, _STEP, _PASSES = 512, 8192, 3
# First hits that are sorted by RANSAC's inliers.
_WINDOW = 100


@dataclass(frozen=True)
class Vocabulary:
    """The centres of the words."""

    centres: Float[Tensor, "W 128"]

    @classmethod
    def fitted(cls, points: Sequence[Keypoints], system: BagOfWords) -> Vocabulary:
        """Fit by k-means on the keypoints of other images.

        Raises:
            RequestError: if there are too few for two words.
        """
        from sklearn.cluster import MiniBatchKMeans

        rows = torch.cat([_root_sift(one.descriptors) for one in points])
        rows = rows[:: max(1, math.ceil(len(rows) / system.sample))]
        words = min(system.words, len(rows) // _MIN_OF_WORD)
        if words < 2:  # noqa: PLR2004 - one word distinguishes nothing
            raise RequestError(
                f"{len(points)} images have {len(rows)} SIFT keypoints, too few for a vocabulary: "
                "fit on more images, or name the baselines without BoW (--systems)."
            )
        if words < system.words:
            _log.warning("BoW: %d keypoints give %d words, not %d.", len(rows), words, system.words)
        means = MiniBatchKMeans(
            words,
            init="random",
            n_init=1,
            batch_size=max(_STEP, words),
            max_iter=_PASSES,
            compute_labels=False,
            reassignment_ratio=0,
            random_state=0,
        ).fit(rows.numpy())
        return cls(torch.from_numpy(means.cluster_centers_).float())

    def words_of(self, descriptors: UInt8[np.ndarray, "n 128"]) -> Int[np.ndarray, " n"]:
        """The nearest word of each keypoint."""
        half_squares = self.centres.square().sum(dim=1) / 2
        found = [np.empty(0, dtype=np.int64)]
        for rows in _root_sift(descriptors).split(_TOGETHER):
            distances = torch.addmm(half_squares, rows, self.centres.T, alpha=-1)
            # numpy's argmin takes a third of the time of torch's.
            found.append(distances.numpy().argmin(axis=1))
        return np.concatenate(found)


def _root_sift(descriptors: UInt8[np.ndarray, "n 128"]) -> Float[Tensor, "n 128"]:
    """RootSIFT: the square roots of rows whose sum is one.

    Source:
        Arandjelovic and Zisserman 2012, "Three Things Everyone Should Know to Improve Object
        Retrieval", section 3.
    """
    return functional.normalize(torch.from_numpy(descriptors).float(), p=1, dim=1).sqrt()


def tf_idf(
    words: Sequence[Int[np.ndarray, " _"]], idf: Float[np.ndarray, " W"]
) -> csr_array[np.float64]:
    """Counts of words times their idf, a sparse row per image, l2."""
    rows = np.repeat(np.arange(len(words)), [len(one) for one in words])
    columns = np.concatenate(words) if len(words) else np.empty(0, dtype=np.int64)
    shape = (len(words), len(idf))
    # Entries of the same place are summed.
    counts = csr_array((idf[columns], (rows, columns)), shape=shape)
    lengths = np.sqrt(counts.multiply(counts).sum(axis=1))
    counts.data /= np.repeat(lengths, np.diff(counts.indptr)).clip(min=1e-12)
    return counts


def inverse_frequencies(
    words: Sequence[Int[np.ndarray, " _"]], size: int
) -> Float[np.ndarray, " W"]:
    """idf: the logarithm of images over images with this word; 0 for a word in none."""
    images = np.bincount(np.concatenate([np.unique(one) for one in words]), minlength=size)
    return np.where(images > 0, np.log(len(words) / images.clip(min=1)), 0.0)


@dataclass(frozen=True)
class BagOfWords:
    """BoW as a row of `evaluation.baselines.systems.SYSTEMS`.

    Attributes:
        words: of the vocabulary; fewer if there are fewer than ten keypoints for each.
        sample: most keypoints that k-means uses, evenly spread over all.
        stages: names of what `search` yields, in order.
    """

    words: int = 5_000
    sample: int = 100_000
    stages: tuple[str, ...] = ("first", f"R{_WINDOW}")

    def dims(self, layers: Sequence[LayerSettings], channels: Sequence[int]) -> int:
        """The length of a sparse vector."""
        del layers, channels
        return self.words

    def search(
        self, trial: Trial, points: Mapping[Path, Keypoints], progress: Progress
    ) -> Iterator[Rankings]:
        """Rank by tf-idf, then verify the first hits.

        Args:
            trial: the vocabulary is fitted on its other images, idf on its gallery.
            points: of all of its images.
            progress: called before and after the verification.

        Raises:
            RequestError: if there are too few keypoints to fit the vocabulary on.
        """
        vocabulary = Vocabulary.fitted([points[image.file] for image in trial.fit], self)
        reader = _Reader(vocabulary, points)
        gallery = [reader.read(image, None) for image in trial.gallery]
        asked = [reader.read(query.image, query.box) for query in trial.queries]
        started = time.perf_counter()
        idf = inverse_frequencies([one.words for one in gallery], len(vocabulary.centres))
        vectors = tf_idf([one.words for one in gallery], idf)
        queries = tf_idf([one.words for one in asked], idf)
        similarities = torch.from_numpy((queries @ vectors.T).toarray())
        rows = ranked(similarities, left_out(trial))
        first = ms_per_query(started, rows)
        yield Rankings("first", rows, first)
        progress("BoW: RANSAC", 0, len(asked))
        started = time.perf_counter()
        verified = _verified(first_hits(rows, _WINDOW), asked, gallery)
        took = first + ms_per_query(started, rows)
        yield Rankings(f"R{_WINDOW}", sorted_heads(rows, verified), took)
        progress("BoW: RANSAC", len(asked), len(asked))


@dataclass(frozen=True)
class _Reader:
    """Reads images as words, each once."""

    vocabulary: Vocabulary
    points: Mapping[Path, Keypoints]
    known: dict[Path, Int[np.ndarray, " _"]] = field(default_factory=dict)

    def read(self, image: DatasetImage, box: Box | None) -> PlacedWords:
        """The words of an image, or of a box of it."""
        points = self.points[image.file]
        if image.file not in self.known:
            self.known[image.file] = self.vocabulary.words_of(points.descriptors)
        inside = points.inside(box)
        words = self.known[image.file][inside]
        return PlacedWords.of(words, points.places[inside], max(image.size))


def _verified(
    window: Int[Tensor, "Q R"], asked: Sequence[PlacedWords], gallery: Sequence[PlacedWords]
) -> Float[Tensor, "Q R"]:
    """Inliers of each query with each of its first hits; OpenCV releases the GIL."""
    kept = [one.rare() for one in gallery]

    def of_query(query: PlacedWords, hits: list[int]) -> list[float]:
        rare = query.rare()
        return [float(inliers(rare, kept[hit])) for hit in hits]

    with ThreadPoolExecutor(_THREADS, "ransac") as pool:
        found = list(pool.map(of_query, asked, window.tolist()))
    return torch.tensor(found)
