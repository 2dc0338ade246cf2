"""Every photo through the network once; its maps are kept, 8 bit, and all else reads those.

The kept maps lie apart by everything that changes them and are named by the photo's own
bytes, so a second run with other aggregation settings encodes nothing, and a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from jaxtyping import UInt8
from torch import Tensor

from descriptors.errors import ImageError, RequestError
from descriptors.images import Picture, read_image, to_working_size
from es_mappings.features import FeatureStore, KeptMaps, pack, stack_kept

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from descriptors.arrays import Encoded
    from descriptors.encoder import Encoder
    from evaluation.photos import Photo

    Progress = Callable[[str, int, int], None]

__all__ = ["EncodedPhotos", "PhotoMaps", "encode_photos", "picture_of"]

Job, Result = TypeVar("Job"), TypeVar("Result")

# Pictures of one shape that pass the network together, and kept maps unpacked together.
_ENCODE_BATCH, _READ_BATCH = 8, 32
# Decoding frees the GIL; a few pictures wait ready, never the whole folder.
_DECODERS, _READY = 4, 24


class PhotoMaps(FeatureStore):
    """Kept maps, named by the bytes of the photo alone: one photo's maps are kept once."""

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        """Name the place, apart for everything that changes the maps."""
        super().__init__(str(folder), _maps_digest(encoder))

    def get(self, digests: Mapping[str, str]) -> dict[str, KeptMaps]:
        """The maps of photos by the id they are asked for with."""
        found = super().get({digest: digest for digest in digests.values()})
        return {i: found[digest] for i, digest in digests.items() if digest in found}


@dataclass(frozen=True)
class EncodedPhotos:
    """Photos whose maps are kept.

    Attributes:
        encoder: made the maps.
        store: holds them.
        digests: SHA-256 of each photo's bytes, by its file (paths may repeat in two folders).
    """

    encoder: Encoder
    store: PhotoMaps
    digests: Mapping[Path, str]

    def batches(self, photos: Sequence[Photo]) -> Iterator[tuple[list[Photo], Encoded]]:
        """The maps of photos, some of one shape at a time; the order is not the one given.

        Raises:
            RequestError: if the maps were removed in the meantime.
        """
        for part in _parts(photos):
            yield from self._read(part)

    def each(
        self, photos: Sequence[Photo], compute: Callable[[Encoded], Result]
    ) -> Iterator[tuple[list[Photo], Result]]:
        """What is computed of each batch, several side by side; see `batches`.

        Convention:
            On the processor a thread a core computes alone: its products are small, and
            all cores on each of them would wait for one another.
        """
        cores = torch.get_num_threads() if self.encoder.device.type == "cpu" else 1

        def of_part(part: Sequence[Photo]) -> list[tuple[list[Photo], Result]]:
            return [(group, compute(maps)) for group, maps in self._read(part)]

        with ThreadPoolExecutor(cores, "compute", partial(torch.set_num_threads, 1)) as pool:
            for found in _ahead(pool, of_part, _parts(photos), 2 * cores):
                yield from found

    def _read(self, photos: Sequence[Photo]) -> Iterator[tuple[list[Photo], Encoded]]:
        """The maps of a few photos, in batches of one shape."""
        found = self.store.get({str(p.file): self.digests[p.file] for p in photos})
        groups: dict[tuple[object, ...], list[Photo]] = defaultdict(list)
        for photo in photos:
            if str(photo.file) not in found:
                raise RequestError(
                    f"The kept maps of {photo.path} are gone: run the evaluation again."
                )
            groups[found[str(photo.file)].shape].append(photo)
        for group in groups.values():
            maps = [found[str(photo.file)] for photo in group]
            yield group, stack_kept(maps, self.encoder.device)


def encode_photos(
    photos: Sequence[Photo], encoder: Encoder, folder: Path, progress: Progress
) -> EncodedPhotos:
    """Encode the photos whose maps are not kept yet.

    Args:
        photos: of any number of folders.
        encoder: whose settings apply.
        folder: where maps are kept; made if it is not there.
        progress: told what is done, how many of it, and of how many.

    Raises:
        RequestError: for a photo that is missing or cannot be read.
    """
    store = PhotoMaps(folder, encoder)
    digests = {photo.file: hashlib.sha256(_bytes(photo)).hexdigest() for photo in photos}
    missing = _missing({digests[photo.file]: photo for photo in photos}, store)
    done = 0
    for group in _decoded(missing, encoder):
        batch = encoder.prepare([pixels for _, pixels in group])
        names = [digest for digest, _ in group]
        store.put(dict(zip(names, pack(encoder.encode(batch), names), strict=True)))
        done += len(group)
        progress("encode", done, len(missing))
    return EncodedPhotos(encoder, store, digests)


def picture_of(photo: Photo) -> Picture:
    """The pixels of a photo.

    Raises:
        RequestError: if it is missing or cannot be read.
    """
    try:
        return read_image(_bytes(photo))
    except ImageError as error:
        raise RequestError(f"{photo.file}: {error.reason}") from error


def _bytes(photo: Photo) -> bytes:
    try:
        return photo.file.read_bytes()
    except OSError as error:
        raise RequestError(
            f"{photo.file} cannot be read ({type(error).__name__}): "
            "correct its path in photos.csv, or put the file there."
        ) from error


def _maps_digest(encoder: Encoder) -> str:
    """64 hex digits of everything that changes a map."""
    settings = encoder.settings
    parts = [
        settings.network,
        [layer.name for layer in settings.layers],
        [settings.side, settings.side_is, settings.side_multiple],
        encoder.loaded.weights_digest,
        "bfloat16" if encoder.autocast else "float32",
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _missing(photos: Mapping[str, Photo], store: PhotoMaps) -> list[tuple[str, Photo]]:
    """The photos, by the digest of their bytes, that have no maps, or damaged ones."""
    digests = list(photos)
    missing = []
    for start in range(0, len(digests), _READ_BATCH):
        part = digests[start : start + _READ_BATCH]
        found = store.get({digest: digest for digest in part})
        missing += [(digest, photos[digest]) for digest in part if digest not in found]
    return missing


def _parts(photos: Sequence[Photo]) -> list[Sequence[Photo]]:
    """Photos of like sizes together, a few at a time."""
    by_size = sorted(photos, key=lambda photo: photo.size)
    return [by_size[i : i + _READ_BATCH] for i in range(0, len(by_size), _READ_BATCH)]


def _decoded(
    photos: Sequence[tuple[str, Photo]], encoder: Encoder
) -> Iterator[list[tuple[str, UInt8[Tensor, "3 h w"]]]]:
    """Digests and pixels at the working size, in groups of one shape."""
    waiting: dict[tuple[int, ...], list[tuple[str, Tensor]]] = defaultdict(list)

    def decode(named: tuple[str, Photo]) -> tuple[str, UInt8[Tensor, "3 h w"]]:
        return named[0], to_working_size(picture_of(named[1]), encoder.settings)

    with ThreadPoolExecutor(_DECODERS, "decode") as pool:
        for digest, pixels in _ahead(pool, decode, photos, _READY):
            group = waiting[tuple(pixels.shape)]
            group.append((digest, pixels))
            if len(group) == _ENCODE_BATCH:
                yield waiting.pop(tuple(pixels.shape))
    yield from waiting.values()


def _ahead(
    pool: ThreadPoolExecutor, work: Callable[[Job], Result], jobs: Iterable[Job], most: int
) -> Iterator[Result]:
    """What a pool makes of jobs, in their order; no more than `most` are begun ahead."""
    begun: deque[Future[Result]] = deque()
    for job in jobs:
        begun.append(pool.submit(work, job))
        if len(begun) > most:
            yield begun.popleft().result()
    for future in begun:
        yield future.result()
