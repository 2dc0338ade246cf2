"""Images that are too many to keep maps of: described while they are read, only vectors kept.

A million distractors have terabytes of maps but a gigabyte of vectors. So each image passes the
network once and its maps are discarded; re-ranking reads such an image again.

Vectors are stored in files of one block of images, named by these images, in a folder per
fingerprint. A stopped run continues at its block, a larger folder with the same beginning only
adds what is new, and memory never holds more than a block.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Bool, Float16, Float32, Int32

from descriptors.arrays import Encoded
from evaluation.datasets.facts import digest_of, stamp_of
from evaluation.encoding import maps_digest, read_batches, write_whole
from evaluation.searching import MemoryGallery
from galleries.documents import Document, FirstHit
from galleries.kept_maps import quantise
from indexer.sources import Source

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from descriptors.method import Method
    from evaluation.trials import Progress, StreamedImages
    from galleries.filters import Filter

__all__ = ["BLOCK", "StreamedGallery", "StreamedVectors", "stream_images"]

# Images per file of vectors; a stopped run loses at most these.
BLOCK = 512


@dataclass(frozen=True)
class StreamedVectors:
    """The vectors of streamed images, read from disk as needed.

    Attributes:
        images: row by row.
        blocks: of at most `BLOCK` rows each; a zero row for an image without a vector.
        sizes: width and height of the upright images, in pixels; 0 if unreadable.
    """

    images: StreamedImages
    blocks: tuple[Float16[np.ndarray, "_ D"], ...]
    sizes: Int32[np.ndarray, "N 2"]

    def cosines(self, vector: Float32[np.ndarray, " D"]) -> Float32[np.ndarray, " N"]:
        """With every image; -infinity if it has no vector."""
        cosines = np.full(len(self.images), -np.inf, np.float32)
        for number, block in enumerate(self.blocks):
            cosines[number * BLOCK :][: len(block)] = block.astype(np.float32) @ vector
        cosines[self._without_vector] = -np.inf
        return cosines

    def vector(self, row: int) -> Float32[np.ndarray, " D"]:
        """The vector of one image."""
        block, inner = divmod(row, BLOCK)
        vector: Float32[np.ndarray, " D"] = self.blocks[block][inner].astype(np.float32)
        return vector

    @cached_property
    def _without_vector(self) -> Bool[np.ndarray, " N"]:
        return np.concatenate([np.zeros(0, bool), *(~block.any(axis=1) for block in self.blocks)])

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Names of the images that could not be read, and are not searched."""
        return tuple(self.images.names[row] for row in np.flatnonzero(self.sizes[:, 0] == 0))


def stream_images(
    images: StreamedImages, method: Method, folder: Path, progress: Progress
) -> StreamedVectors:
    """The vectors of images, stored below `folder`; unreadable ones are left out.

    Raises:
        RequestError: if the folder is not writable, or a file went missing.
    """
    made_by = f"{method.fingerprint()}\0{maps_digest(method.encoder)}"
    place = folder / "streamed" / hashlib.sha256(made_by.encode()).hexdigest()[:16]
    blocks, sizes = [], [np.empty((0, 2), np.int32)]
    for start in range(0, len(images), BLOCK):
        rows = range(start, min(start + BLOCK, len(images)))
        files = [place / f"{_key(images, rows)}.{kind}.npy" for kind in ("vectors", "sizes")]
        if not all(file.exists() for file in files):
            for file, array in zip(files, _describe(images, rows, method), strict=True):
                _write(file, array)
        # A plain array: np.memmap is slow to index by row.
        blocks.append(np.load(files[0], mmap_mode="r").view(np.ndarray))
        sizes.append(np.load(files[1]))
        progress("distractors", rows.stop, len(images))
    return StreamedVectors(images, tuple(blocks), np.concatenate(sizes))


def _describe(
    images: StreamedImages, rows: range, method: Method
) -> tuple[Float16[np.ndarray, "B D"], Int32[np.ndarray, "B 2"]]:
    """The vectors and sizes of one block; zeros for an image that cannot be read."""
    vectors = np.zeros((len(rows), method.settings.dims), np.float16)
    sizes = np.zeros((len(rows), 2), np.int32)
    sources = [Source(str(row), str(images.file(row))) for row in rows]
    for batch in read_batches(sources, method.settings, leave_out=True):
        here = [int(one.source.id) - rows.start for one in batch]
        sizes[here] = [one.size for one in batch]
        encoded = method.encoder.encode(method.encoder.prepare([one.pixels for one in batch]))
        vectors[here] = method.describe_encoded(as_kept(encoded)).descriptors.cpu().numpy()
    return vectors, sizes


def as_kept(encoded: Encoded) -> Encoded:
    """Fresh maps with the same 8-bit levels as kept ones, so that all images are treated alike."""
    distinct = {id(maps): maps for maps in (*encoded.features, encoded.evidence)}
    kept = {key: quantise(maps) for key, maps in distinct.items()}
    return replace(
        encoded,
        features=tuple(kept[id(maps)] for maps in encoded.features),
        evidence=kept[id(encoded.evidence)],
        scores=encoded.scores.half().float(),
    )


def _key(images: StreamedImages, rows: range) -> str:
    """64 hex digits of the names, lengths and modification times of a block's files."""
    digest = hashlib.sha256(str(images.folder).encode())
    for row in rows:
        digest.update(f"{images.names[row]}\0{stamp_of(images.file(row))}\0".encode())
    return digest.hexdigest()


def _write(file: Path, array: Float16[np.ndarray, "_ D"] | Int32[np.ndarray, "_ 2"]) -> None:
    data = BytesIO()
    np.save(data, array)
    write_whole(file, data.getvalue())


class StreamedGallery(MemoryGallery):
    """Documents in memory, and many more images with only a vector.

    Convention:
        A ranking ends with the last right answer to the query (`look_for`), or after `min_hits` if
        that is later: what follows changes no measure, and a million hits per search would
        take longer than the search.
    """

    def __init__(
        self, documents: Mapping[str, Document], streamed: StreamedVectors, min_hits: int
    ) -> None:
        """Args: documents sorted by id; `min_hits` of an answer at least, for all stages."""
        super().__init__(documents)
        self._streamed, self._min_hits = streamed, min_hits
        self._rows_of = {id_: row for row, id_ in enumerate(self.ids)}
        self._streamed_rows: dict[str, int] = {}
        self._wanted: list[int] = []

    def look_for(self, positives: Collection[str]) -> None:
        """See `MemoryGallery.look_for`."""
        self._wanted = [self._rows_of[id_] for id_ in positives if id_ in self._rows_of]
        self._streamed_rows.clear()

    def knn(
        self, vector: Float32[np.ndarray, " D"], k: int, matching: Filter | None = None
    ) -> list[FirstHit]:
        """See `Searchable.knn`; there is no metadata to filter by."""
        del matching
        mine = self.descriptors @ vector
        # Streamed ones first: the order of ids.
        cosines = np.concatenate([self._streamed.cosines(vector), mine])
        lowest = mine[self._wanted].min(initial=np.inf)
        enough = max(int((cosines >= lowest).sum()), min(self._min_hits, len(cosines)))
        best = np.argsort(-cosines, kind="stable")[: min(k, enough)]
        return [
            FirstHit(self._id(row), float(cosines[row]))
            for row in best.tolist()
            if np.isfinite(cosines[row])
        ]

    def get(self, ids: Sequence[str], *, windows: bool = True) -> dict[str, Document]:
        """See `Searchable.get`."""
        streamed = {i: self._document(i) for i in ids if i in self._streamed_rows}
        return super().get(ids, windows=windows) | streamed

    def _id(self, row: int) -> str:
        """The id of a row; a streamed one is remembered until the next query."""
        count = len(self._streamed.images)
        if row >= count:
            return self.ids[row - count]
        id_ = self._streamed.images.path(row)
        self._streamed_rows[id_] = row
        return id_

    def _document(self, id_: str) -> Document:
        """The document of a streamed image."""
        row = self._streamed_rows[id_]
        file = self._streamed.images.file(row)
        width, height = self._streamed.sizes[row].tolist()
        return Document(id_, str(file), digest_of(file), width, height, self._streamed.vector(row))
