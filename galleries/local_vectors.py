"""Exact search: all descriptors of a gallery as one matrix in memory."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Float64, Int64

from galleries.documents import FirstHit

__all__ = ["UNIT_ROUNDING", "Vectors", "candidates"]

# Half the distance between 1 and the next float32.
UNIT_ROUNDING = 2.0**-24

# Rows for exact cosines in float64 at a time: 16 MB at 512 dimensions.
_ROWS_AT_A_TIME = 4096


@dataclass(frozen=True)
class Vectors:
    """The descriptors of one state of a gallery.

    Attributes:
        changes: the gallery's counter at that state.
        ids: sorted.
        numbers: row numbers in the table, in order of the ids.
        matrix: descriptors, in order of the ids.
        lengths: of its rows, 1 within a thousandth.
    """

    changes: int
    ids: tuple[str, ...]
    numbers: Int64[np.ndarray, " N"]
    matrix: Float32[np.ndarray, "N D"]
    lengths: Float32[np.ndarray, " N"]

    @classmethod
    def gather(
        cls,
        changes: int,
        numbers_and_ids: Iterable[tuple[int, str]],
        descriptors: Iterable[tuple[int, bytes]],
        dims: int,
    ) -> Vectors:
        """Read the descriptors into one matrix.

        Args:
            changes: see `Vectors`.
            numbers_and_ids: in order of the ids.
            descriptors: row number and little-endian float32 values, in any order.
            dims: of a descriptor.

        Raises:
            ValueError: a descriptor has another length, or one is missing.
        """
        pairs = list(numbers_and_ids)
        places = {number: place for place, (number, _) in enumerate(pairs)}
        matrix = np.zeros((len(pairs), dims), dtype=np.float32)
        found = 0
        for number, blob in descriptors:
            if len(blob) != 4 * dims:
                raise ValueError(f"a descriptor has {len(blob)} bytes, not {4 * dims}")
            matrix[places[number]] = np.frombuffer(blob, dtype="<f4")
            found += 1
        if found != len(pairs):
            raise ValueError(f"{len(pairs)} documents have {found} descriptors")
        numbers = np.array([number for number, _ in pairs], dtype=np.int64)
        lengths = np.sqrt(np.einsum("nd,nd->n", matrix, matrix))
        return cls(changes, tuple(id_ for _, id_ in pairs), numbers, matrix, lengths)

    def nearest(
        self,
        vector: Float32[np.ndarray, " D"],
        k: int,
        allowed: Iterable[int] | None = None,
    ) -> list[FirstHit]:
        """Find the k rows with the highest cosine, best first, ties in order of their ids.

        Args:
            vector: of any length except 0.
            k: at least 1.
            allowed: row numbers to search; None for all.
        """
        query = vector.astype(np.float64)
        query /= np.linalg.norm(query)
        rough = self.matrix @ query.astype(np.float32) / self.lengths
        if allowed is not None:
            among = np.isin(self.numbers, np.fromiter(allowed, dtype=np.int64))
            rough = np.where(among, rough, -np.inf)
        # The slack bounds the difference of two rough cosines that are equal in exact arithmetic:
        # each float32 sum of D products, and each length, has an error of at most D roundings.
        rows = candidates(rough, k, slack=4 * (len(query) + 4) * UNIT_ROUNDING)
        cosines = self._exact(rows, query)
        best = np.lexsort((rows, -cosines))[:k]
        return [FirstHit(self.ids[rows[b]], float(cosines[b])) for b in best]

    def _exact(
        self, rows: Int64[np.ndarray, " R"], query: Float64[np.ndarray, " D"]
    ) -> Float64[np.ndarray, " R"]:
        """Cosines of a few rows, equal for equal rows."""
        # Not a matrix product, which sums a row in an order that depends on the row's position.
        cosines = np.empty(len(rows))
        for at in range(0, len(rows), _ROWS_AT_A_TIME):
            some = self.matrix[rows[at : at + _ROWS_AT_A_TIME]].astype(np.float64)
            lengths = np.sqrt((some * some).sum(axis=1))
            cosines[at : at + _ROWS_AT_A_TIME] = (some * query).sum(axis=1) / lengths
        return cosines.clip(-1.0, 1.0)


def candidates(
    rough: Float32[np.ndarray, " N"], k: int, *, slack: float
) -> Int64[np.ndarray, " R"]:
    """The rows whose exact cosines may be among the best k.

    Args:
        rough: cosines; minus infinity for rows that are not wanted.
        k: at least 1.
        slack: the largest difference of two rough cosines that are equal.
    """
    possible = np.flatnonzero(rough > -np.inf)
    if len(possible) <= k:
        return possible
    least = np.partition(rough, -k)[-k]
    return np.flatnonzero(rough >= least - slack)
