"""The windows of a local gallery in memory, as 8-bit rows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float32, Float64, Int8, Int64

from galleries.documents import FirstHit
from galleries.local_vectors import UNIT_ROUNDING, candidates

__all__ = ["WindowRows"]

# Rows converted to float32 at a time: 1 MB at 512 dimensions, for a processor's cache.
_ROWS_AT_A_TIME = 512


@dataclass(frozen=True)
class WindowRows:
    """The windows of some images, those of an image in consecutive rows.

    Attributes:
        changes: the gallery's counter at their state.
        ids: of the images, sorted.
        numbers: of their rows in the table.
        starts: the first window of each image.
        matrix: 8-bit levels.
        lengths: of its rows.
    """

    changes: int
    ids: tuple[str, ...]
    numbers: Int64[np.ndarray, " N"]
    starts: Int64[np.ndarray, " N"]
    matrix: Int8[np.ndarray, "M D"]
    lengths: Float32[np.ndarray, " M"]

    @classmethod
    def gather(cls, changes: int, found: Iterable[tuple[int, str, bytes]], dims: int) -> WindowRows:
        """Read windows into one matrix.

        Args:
            changes: see `WindowRows`.
            found: row number, id, and the levels of all windows; in order of the ids.
            dims: of a window's vector.

        Raises:
            ValueError: an image has no whole number of windows, or none.
        """
        levels, numbers, ids, counts = bytearray(), [], [], []
        for number, id_, blob in found:
            count, rest = divmod(len(blob), dims)
            if rest or not count:
                raise ValueError(f"the windows of {id_!r} have {len(blob)} bytes, not {dims} each")
            levels += blob
            numbers.append(number)
            ids.append(id_)
            counts.append(count)
        matrix = np.frombuffer(levels, dtype=np.int8).reshape(-1, dims)
        ends = np.cumsum(np.array(counts, dtype=np.int64))
        starts = ends - np.array(counts, dtype=np.int64)
        numbered = np.array(numbers, dtype=np.int64)
        return cls(changes, tuple(ids), numbered, starts, matrix, _lengths(matrix))

    def nearest(
        self, vector: Float32[np.ndarray, " D"], k: int, allowed: Iterable[int] | None = None
    ) -> list[FirstHit]:
        """Find the k images with the highest cosine of a window, best first, ties by their ids.

        Args:
            vector: of any length except 0.
            k: at least 1.
            allowed: row numbers to search; None for all.
        """
        if not self.ids:
            return []
        query = vector.astype(np.float64)
        query /= np.linalg.norm(query)
        rough = self._rough(query.astype(np.float32))
        best = np.maximum.reduceat(rough, self.starts)
        if allowed is not None:
            among = np.isin(self.numbers, np.fromiter(allowed, dtype=np.int64))
            best = np.where(among, best, -np.inf)
        # Bounds the error of a rough cosine, as in `Vectors.nearest`.
        slack = 4 * (len(query) + 4) * UNIT_ROUNDING
        images = candidates(best, k, slack=slack)
        least = np.full(len(best), np.inf)
        least[images] = best[images] - slack
        cosines = self._exact(rough >= np.repeat(least, self._counts()), query)[images]
        order = np.lexsort((images, -cosines))[:k]
        return [FirstHit(self.ids[images[o]], float(cosines[o])) for o in order]

    def _counts(self) -> Int64[np.ndarray, " N"]:
        return np.diff(self.starts, append=len(self.matrix))

    def _rough(self, query: Float32[np.ndarray, " D"]) -> Float32[np.ndarray, " M"]:
        """All cosines, in float32."""
        products = np.empty(len(self.matrix), dtype=np.float32)
        block = np.empty((_ROWS_AT_A_TIME, len(query)), dtype=np.float32)
        for at in range(0, len(self.matrix), _ROWS_AT_A_TIME):
            levels = self.matrix[at : at + _ROWS_AT_A_TIME]
            np.copyto(block[: len(levels)], levels)
            # Not a matrix product, whose threads wait for each other at every block: 20,000 images
            # take up to 1.1 s on a busy machine, in place of 30 ms.
            np.vecdot(block[: len(levels)], query, out=products[at : at + len(levels)])
        cosines: Float32[np.ndarray, " M"] = products / self.lengths
        return cosines

    def _exact(
        self, wanted: Bool[np.ndarray, " M"], query: Float64[np.ndarray, " D"]
    ) -> Float64[np.ndarray, " N"]:
        """The highest cosine of each image over the wanted windows, equal for equal windows."""
        rows = np.flatnonzero(wanted)
        cosines = np.full(len(self.matrix), -np.inf)
        for at in range(0, len(rows), _ROWS_AT_A_TIME):
            some = rows[at : at + _ROWS_AT_A_TIME]
            levels = self.matrix[some].astype(np.float64)
            # Not a matrix product; see `Vectors`.
            cosines[some] = (levels * query).sum(axis=1) / np.sqrt((levels * levels).sum(axis=1))
        highest: Float64[np.ndarray, " N"] = np.maximum.reduceat(cosines, self.starts)
        return highest.clip(max=1.0)


def _lengths(matrix: Int8[np.ndarray, "M D"]) -> Float32[np.ndarray, " M"]:
    """The lengths of rows, block by block to save memory."""
    lengths = np.empty(len(matrix), dtype=np.float32)
    for at in range(0, len(matrix), _ROWS_AT_A_TIME):
        levels = matrix[at : at + _ROWS_AT_A_TIME].astype(np.float32)
        lengths[at : at + len(levels)] = np.sqrt(np.einsum("md,md->m", levels, levels))
    return lengths
