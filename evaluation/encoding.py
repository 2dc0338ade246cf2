"""Every photo through the network once; its maps are kept, 8 bit, and all else reads those.

The kept maps lie apart by everything that changes them and are named by the photo's own
bytes, so a second run with other aggregation settings encodes nothing, and a run that was
stopped goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections import OrderedDict, defaultdict
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from descriptors.arrays import Encoded
from descriptors.errors import RequestError
from descriptors.images import Picture
from es_mappings.features import FeatureStore
from es_mappings.kept_maps import KeptMaps, pack, quantise, stack_kept, unpack
from evaluation.decoding import decode, read_picture
from evaluation.photo_facts import PhotoFacts

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from descriptors.encoder import Encoder
    from es_mappings.documents import IndexedPicture
    from evaluation.trials import Photo

    Progress = Callable[[str, int, int], None]

__all__ = [
    "EncodedPhotos",
    "PhotoMaps",
    "ReadMaps",
    "as_kept",
    "encode_again",
    "encode_photos",
    "maps_digest",
    "picture_of",
]

# Kept maps that are unpacked together.
_READ_BATCH = 32

# Bytes of unpacked maps that stay in memory: some 1,500 photos at the default size.
_MOST_UNPACKED = 2**30


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
        super().__init__(str(folder), maps_digest(encoder))
        self._unpacked: OrderedDict[tuple[str, bool], ReadMaps] = OrderedDict()
        self._free, self._lock = most_bytes, Lock()

    def get(self, digests: Mapping[str, str]) -> dict[str, KeptMaps]:
        """The maps of photos by the id they are asked for with."""
        return {i: read.maps for i, read in self.get_timed(digests).items()}

    def get_timed(
        self, digests: Mapping[str, str], *, averaged: bool = False
    ) -> dict[str, ReadMaps]:
        """The maps of photos by the id they are asked for with, and what they took to read.

        Args:
            digests: of each photo.
            averaged: as a gallery with `RegionSettings.coarse_maps` keeps them; averaging is
                no part of the time, since there it is done when a photo is indexed.
        """
        found = self._known(set(digests.values()), averaged)
        missing = {digest: digest for digest in digests.values() if digest not in found}
        if missing:
            started = time.perf_counter()
            read = super().get(missing)
            each = (time.perf_counter() - started) * 1e3 / max(1, len(read))
            fresh = {
                digest: ReadMaps(maps.averaged() if averaged else maps, each)
                for digest, maps in read.items()
            }
            self._remember(fresh, averaged)
            found |= fresh
        return {i: found[digest] for i, digest in digests.items() if digest in found}

    def _known(self, digests: Collection[str], averaged: bool) -> dict[str, ReadMaps]:
        with self._lock:
            keys = {d: (d, averaged) for d in digests if (d, averaged) in self._unpacked}
            known = {d: self._unpacked[key] for d, key in keys.items()}
            for key in keys.values():
                self._unpacked.move_to_end(key)
        return {d: replace(read, spared_ms=read.milliseconds) for d, read in known.items()}

    def _remember(self, read: Mapping[str, ReadMaps], averaged: bool) -> None:
        with self._lock:
            for digest, one in read.items():
                if (digest, averaged) not in self._unpacked:
                    self._unpacked[digest, averaged] = one
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
    digests = PhotoFacts(folder, progress).digests([photo.file for photo in photos])
    missing = _missing({digests[photo.file]: photo.file for photo in photos}, store)
    done = 0
    for group in decode(missing, encoder.settings):
        batch = encoder.prepare([one.pixels for one in group])
        names = [one.key for one in group]
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
    return read_picture(photo.file)


def encode_again(pictures: Sequence[IndexedPicture], encoder: Encoder) -> Mapping[str, KeptMaps]:
    """The maps of pictures of which none are kept, as they would be kept; by id.

    Args:
        pictures: whose `uri` is a file; one that is damaged is left out.
        encoder: makes the maps.

    Raises:
        RequestError: for a file that is missing or cannot be read.
    """
    maps: dict[str, KeptMaps] = {}
    files = [(picture.id, Path(picture.uri)) for picture in pictures]
    for group in decode(files, encoder.settings, unreadable=lambda _id, _error: None):
        encoded = encoder.encode(encoder.prepare([one.pixels for one in group]))
        names = [one.key for one in group]
        maps |= zip(names, map(unpack, pack(encoded, names)), strict=True)
    return maps


def as_kept(encoded: Encoded) -> Encoded:
    """Fresh maps with the levels of 8 bit that they would have if they were kept."""
    distinct = {id(maps): maps for maps in (*encoded.features, encoded.evidence)}
    kept = {key: quantise(maps) for key, maps in distinct.items()}
    return replace(
        encoded,
        features=tuple(kept[id(maps)] for maps in encoded.features),
        evidence=kept[id(encoded.evidence)],
        scores=encoded.scores.half().float(),
    )


def maps_digest(encoder: Encoder) -> str:
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


def _missing(files: Mapping[str, Path], store: PhotoMaps) -> list[tuple[str, Path]]:
    """The files, with the digest of their bytes, that have no maps, or damaged ones."""
    digests = list(files)
    missing = []
    for start in range(0, len(digests), _READ_BATCH):
        part = digests[start : start + _READ_BATCH]
        found = store.get({digest: digest for digest in part})
        missing += [(digest, files[digest]) for digest in part if digest not in found]
    return missing
