"""Photos that are too many to keep maps of: described as they come, only vectors kept.

A million distractors have terabytes of maps but a gigabyte of vectors. So each picture passes
the network once, every system that is measured describes its maps, and the maps are let go;
a re-ranking that comes upon such a picture reads it again.

Vectors lie in files of one block of pictures, named by what the pictures are and apart for
each system's fingerprint. A run that was stopped goes on at the block where it was, a larger
folder with the same beginning makes only what is new, and memory never holds more than a block.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import uuid4

import numpy as np
import torch
from jaxtyping import Bool, Float, Float16, Float32, Int32
from torch import Tensor

from descriptors.arrays import Encoded
from descriptors.errors import RequestError
from evaluation.decoding import decode
from evaluation.encoding import as_kept, maps_digest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from descriptors.encoder import Encoder
    from descriptors.errors import CamsearchError
    from evaluation.decoding import Decoded
    from evaluation.encoding import Progress
    from evaluation.trials import StreamedPhotos

__all__ = ["BLOCK", "Describer", "StreamedVectors", "stream_photos"]

# Pictures whose vectors lie in one file; what a stopped run loses at most.
BLOCK = 512


@dataclass(frozen=True)
class Describer:
    """How one system describes pictures.

    Attributes:
        name: of the system.
        fingerprint: of everything that changes a vector but the maps.
        dims: of a vector.
        describe: maps to vectors; a zero row where nothing is active.
    """

    name: str
    fingerprint: str
    dims: int
    describe: Callable[[Encoded], Float[Tensor, "B D"]]


@dataclass(frozen=True)
class StreamedVectors:
    """The vectors of streamed photos by one system, read from disk as they are needed.

    Attributes:
        photos: whose they are, row by row.
        blocks: of at most `BLOCK` rows each; a zero row where a photo has no vector.
        sizes: of the upright pictures, in pixels: width and height; 0 for one that cannot be
            read.
    """

    photos: StreamedPhotos
    blocks: tuple[Float16[np.ndarray, "_ D"], ...]
    sizes: Int32[np.ndarray, "N 2"]

    def cosines(self, vector: Float32[np.ndarray, " D"]) -> Float32[np.ndarray, " N"]:
        """With every photo; -infinity where a photo has no vector."""
        cosines = np.full(len(self.photos), -np.inf, np.float32)
        for number, block in enumerate(self.blocks):
            cosines[number * BLOCK :][: len(block)] = block.astype(np.float32) @ vector
        cosines[self._without_vector] = -np.inf
        return cosines

    def vector(self, row: int) -> Float32[np.ndarray, " D"]:
        """Of one photo."""
        block, inner = divmod(row, BLOCK)
        vector: Float32[np.ndarray, " D"] = self.blocks[block][inner].astype(np.float32)
        return vector

    @cached_property
    def _without_vector(self) -> Bool[np.ndarray, " N"]:
        """Rows of photos that are not searched."""
        return np.concatenate([np.zeros(0, bool), *(~block.any(axis=1) for block in self.blocks)])

    @property
    def unreadable(self) -> tuple[str, ...]:
        """Names of the photos that could not be read, and are not searched."""
        return tuple(self.photos.names[row] for row in np.flatnonzero(self.sizes[:, 0] == 0))


def stream_photos(
    photos: StreamedPhotos,
    describers: Sequence[Describer],
    encoder: Encoder,
    folder: Path,
    progress: Progress,
) -> dict[str, StreamedVectors]:
    """The vectors of photos by every system, each picture passing the network once.

    Args:
        photos: any number of them; one that cannot be read is left out.
        describers: of the systems that are measured.
        encoder: makes the maps.
        folder: where vectors are kept; made if it is not there.
        progress: told how many photos are described, and of how many.

    Returns:
        By the systems' names.

    Raises:
        RequestError: if nothing can be written there.
    """
    places = [folder / "streamed" / _fingerprint(one, encoder)[:16] for one in describers]
    sizes_at = folder / "streamed" / "sizes"
    for place in (*places, sizes_at):
        _make(place)
    found: list[list[Float16[np.ndarray, "_ D"]]] = [[] for _ in describers]
    sizes: list[Int32[np.ndarray, "_ 2"]] = []
    for rows in _blocks(len(photos)):
        name = f"{_key(photos, rows)}.npy"
        files = [place / name for place in places]
        missing = [i for i, file in enumerate(files) if not file.exists()]
        if missing or not (sizes_at / name).exists():
            made = _describe(photos, rows, [describers[i] for i in missing], encoder)
            for i, vectors in zip(missing, made.vectors, strict=True):
                _write(files[i], vectors)
            _write(sizes_at / name, made.sizes)
        for blocks, file in zip(found, files, strict=True):
            # Read from disk as needed, but a plain array: numpy's own class is slow to take a row.
            blocks.append(np.load(file, mmap_mode="r").view(np.ndarray))
        sizes.append(np.load(sizes_at / name))
        progress("distractors", rows.stop, len(photos))
    known = np.concatenate(sizes) if sizes else np.empty((0, 2), np.int32)
    return {
        one.name: StreamedVectors(photos, tuple(blocks), known)
        for one, blocks in zip(describers, found, strict=True)
    }


@dataclass(frozen=True)
class _Block:
    """What was made of one block: each system's vectors, and the pictures' sizes."""

    vectors: list[Float16[np.ndarray, "_ D"]]
    sizes: Int32[np.ndarray, "_ 2"]


@torch.inference_mode()
def _describe(
    photos: StreamedPhotos, rows: range, describers: Sequence[Describer], encoder: Encoder
) -> _Block:
    """Every picture of a block through the network once."""
    vectors = [np.zeros((len(rows), one.dims), np.float16) for one in describers]
    sizes = np.zeros((len(rows), 2), np.int32)
    files = ((str(row), photos.file(row)) for row in rows)
    for group in decode(files, encoder.settings, unreadable=_left_out):
        here = [int(one.key) - rows.start for one in group]
        sizes[here] = [one.size for one in group]
        maps = _maps(group, encoder)
        for mine, describer in zip(vectors, describers, strict=True):
            mine[here] = describer.describe(maps).cpu().numpy()
    return _Block(vectors, sizes)


def _maps(group: Sequence[Decoded], encoder: Encoder) -> Encoded:
    """As if they were kept, so that a streamed photo counts as any other."""
    return as_kept(encoder.encode(encoder.prepare([one.pixels for one in group])))


def _left_out(_row: str, _error: CamsearchError) -> None:
    """A picture that cannot be read has no size and no vector; `unreadable` names them."""


def _blocks(count: int) -> Iterator[range]:
    for start in range(0, count, BLOCK):
        yield range(start, min(start + BLOCK, count))


def _key(photos: StreamedPhotos, rows: range) -> str:
    """64 hex digits of what a block's files are: names, lengths and times of change."""
    digest = hashlib.sha256(str(photos.folder).encode())
    for row in rows:
        try:
            about = photos.file(row).stat()
        except OSError as error:
            raise RequestError(
                f"{photos.file(row)} cannot be read ({type(error).__name__}): "
                "list the folder again by starting the evaluation again."
            ) from error
        digest.update(f"{photos.names[row]}\0{about.st_size}\0{about.st_mtime_ns}\0".encode())
    return digest.hexdigest()


def _fingerprint(describer: Describer, encoder: Encoder) -> str:
    parts = f"{describer.name}\0{describer.fingerprint}\0{maps_digest(encoder)}"
    return hashlib.sha256(parts.encode()).hexdigest()


def _make(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(place, error) from error


def _write(file: Path, array: Float16[np.ndarray, "_ D"] | Int32[np.ndarray, "_ 2"]) -> None:
    """A file of which a reader sees all or nothing, whenever we are stopped."""
    part = file.with_suffix(f".{uuid4().hex}.part")
    try:
        with part.open("wb") as opened:
            np.save(opened, array)
        part.replace(file)
    except OSError as error:
        raise _unwritable(file.parent, error) from error
    finally:
        part.unlink(missing_ok=True)


def _unwritable(place: Path, error: OSError) -> RequestError:
    return RequestError(
        f"Vectors cannot be kept in {place} ({error}): free space there, or check its permissions."
    )
