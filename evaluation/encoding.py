"""Every photo through the network once; its maps are kept, 8 bit, and all else reads those.

The kept maps lie apart by everything that changes them and are named by the photo's own
bytes, so a second run with other aggregation settings encodes nothing, and a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict, defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from threading import Lock
from typing import TYPE_CHECKING

from jaxtyping import UInt8
from torch import Tensor

from descriptors.errors import ImageError, RequestError
from descriptors.images import Picture, read_image, to_working_size
from es_mappings.features import FeatureStore, KeptMaps, pack, stack_kept

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from pathlib import Path

    from descriptors.arrays import Encoded
    from descriptors.encoder import Encoder
    from evaluation.trials import Photo

    Progress = Callable[[str, int, int], None]

__all__ = ["EncodedPhotos", "PhotoMaps", "ReadMaps", "encode_photos", "picture_of"]

# Pictures of one shape that pass the network together, and kept maps unpacked together.
_ENCODE_BATCH, _READ_BATCH = 8, 32
# Bytes of unpacked maps that stay in memory: some 1,500 photos at the default size.
_MOST_UNPACKED = 2**30
# Decoding frees the GIL; a few pictures wait ready, never the whole folder.
_DECODERS, _READY = 4, 24


@dataclass(frozen=True)
class ReadMaps:
    """Kept maps, and what reading and unpacking them took when it was done.

    Attributes:
        maps: of one photo.
        milliseconds: the first time.
        spared_ms: of these, what was spared this time; 0 if they were read anew.
    """

    maps: KeptMaps
    milliseconds: float
    spared_ms: float = 0.0


class PhotoMaps(FeatureStore):
    """Kept maps, named by the bytes of the photo alone: one photo's maps are kept once.

    Convention:
        Those read last stay unpacked, as many as fit `most_bytes`: every query matches hits of
        the same gallery. Any thread may read.
    """

    def __init__(self, folder: Path, encoder: Encoder, most_bytes: int = _MOST_UNPACKED) -> None:
        """Name the place, apart for everything that changes the maps."""
        super().__init__(str(folder), _maps_digest(encoder))
        self._unpacked: OrderedDict[str, ReadMaps] = OrderedDict()
        self._free, self._lock = most_bytes, Lock()

    def get(self, digests: Mapping[str, str]) -> dict[str, KeptMaps]:
        """The maps of photos by the id they are asked for with."""
        return {i: read.maps for i, read in self.get_timed(digests).items()}

    def get_timed(self, digests: Mapping[str, str]) -> dict[str, ReadMaps]:
        """The maps of photos by the id they are asked for with, and what they took to read."""
        found = self._known(set(digests.values()))
        missing = {digest: digest for digest in digests.values() if digest not in found}
        if missing:
            started = time.perf_counter()
            read = super().get(missing)
            each = (time.perf_counter() - started) * 1e3 / max(1, len(read))
            fresh = {digest: ReadMaps(maps, each) for digest, maps in read.items()}
            self._remember(fresh)
            found |= fresh
        return {i: found[digest] for i, digest in digests.items() if digest in found}

    def _known(self, digests: Collection[str]) -> dict[str, ReadMaps]:
        with self._lock:
            known = {d: self._unpacked[d] for d in digests if d in self._unpacked}
            for digest in known:
                self._unpacked.move_to_end(digest)
        return {d: replace(read, spared_ms=read.milliseconds) for d, read in known.items()}

    def _remember(self, read: Mapping[str, ReadMaps]) -> None:
        with self._lock:
            for digest, one in read.items():
                if digest not in self._unpacked:
                    self._unpacked[digest] = one
                    self._free -= _size(one.maps)
            while self._free < 0 and self._unpacked:
                _, oldest = self._unpacked.popitem(last=False)
                self._free += _size(oldest.maps)


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
        by_size = sorted(photos, key=lambda photo: photo.size)
        for start in range(0, len(by_size), _READ_BATCH):
            part = by_size[start : start + _READ_BATCH]
            found = self.store.get({str(p.file): self.digests[p.file] for p in part})
            groups: dict[tuple[object, ...], list[Photo]] = defaultdict(list)
            for photo in part:
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


def _size(maps: KeptMaps) -> int:
    """Bytes of the levels: all the rest is small."""
    return sum(layer.levels.numel() for layer in maps.layers)


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


def _decoded(
    photos: Sequence[tuple[str, Photo]], encoder: Encoder
) -> Iterator[list[tuple[str, UInt8[Tensor, "3 h w"]]]]:
    """Digests and pixels at the working size, in groups of one shape."""
    waiting: dict[tuple[int, ...], list[tuple[str, Tensor]]] = defaultdict(list)
    with ThreadPoolExecutor(_DECODERS, "decode") as pool:
        for digest, pixels in _ahead(pool, photos, encoder):
            group = waiting[tuple(pixels.shape)]
            group.append((digest, pixels))
            if len(group) == _ENCODE_BATCH:
                yield waiting.pop(tuple(pixels.shape))
    yield from waiting.values()


def _ahead(
    pool: ThreadPoolExecutor, photos: Sequence[tuple[str, Photo]], encoder: Encoder
) -> Iterator[tuple[str, UInt8[Tensor, "3 h w"]]]:
    """Photos decoded by the pool, in order, never many more than have been taken."""

    def pixels(photo: Photo) -> UInt8[Tensor, "3 h w"]:
        return to_working_size(picture_of(photo), encoder.settings)

    ready: deque[tuple[str, Future[Tensor]]] = deque()
    for digest, photo in photos:
        ready.append((digest, pool.submit(pixels, photo)))
        if len(ready) > _READY:
            first, future = ready.popleft()
            yield first, future.result()
    for first, future in ready:
        yield first, future.result()
