"""Every image through the network once; its maps are kept, 8 bit, and everything else reads them.

Kept maps have a folder for everything that changes them, and are named by the digest of the
file, so a second run with other aggregation settings encodes nothing, and a stopped run
continues where it was.
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import uuid4

from descriptors.errors import ImageError, RequestError
from descriptors.images import RgbImage, read_image
from evaluation.datasets.facts import ImageFacts
from galleries.features import FeatureStore
from galleries.kept_maps import KeptMaps, pack, stack_kept
from indexer.reading import IndexingPlan, Refused, batches_of_one_shape, prepare_images
from indexer.sources import Source

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from descriptors.arrays import Encoded
    from descriptors.encoder import Encoder
    from descriptors.settings import MethodSettings
    from evaluation.trials import DatasetImage, Progress
    from indexer.reading import Prepared

__all__ = [
    "EncodedImages",
    "UnpackedMaps",
    "encode_images",
    "maps_digest",
    "pixels_of",
    "read_batches",
    "write_whole",
]

# Images encoded together, and kept maps unpacked together.
_ENCODE_BATCH, _READ_BATCH = 8, 32
# Approximate bytes of unpacked maps in memory: some 1,500 images at the default size.
MAX_UNPACKED = 2**30


@dataclass(frozen=True)
class EncodedImages:
    """Images whose maps are kept.

    Attributes:
        encoder: made the maps.
        store: has them, named by the digest of the image's bytes.
        digests: SHA-256 of each image's bytes, by file (two folders may have the same path).
        learned: how many classes each trial learns; 0 for the network's own.
    """

    encoder: Encoder
    store: ImageMaps
    digests: Mapping[Path, str]
    learned: int = 0

    def batches(
        self, images: Sequence[DatasetImage]
    ) -> Iterator[tuple[list[DatasetImage], Encoded]]:
        """The maps of images, some of one shape at a time; the order is not the one given.

        Raises:
            RequestError: if the maps were removed in the meantime.
        """
        by_size = sorted(images, key=lambda image: image.size)
        for start in range(0, len(by_size), _READ_BATCH):
            part = by_size[start : start + _READ_BATCH]
            found = self.store.get({str(p.file): self.digests[p.file] for p in part})
            groups: dict[tuple[object, ...], list[DatasetImage]] = defaultdict(list)
            for image in part:
                if str(image.file) not in found:
                    raise RequestError(
                        f"The kept maps of {image.path} are gone: run the evaluation again."
                    )
                groups[found[str(image.file)].shape].append(image)
            for group in groups.values():
                maps = [found[str(image.file)] for image in group]
                stacked = stack_kept(maps, self.encoder.device)
                yield group, self.encoder.scored(stacked) if self.encoder.learned else stacked


class ImageMaps(FeatureStore):
    """Kept maps named by the digest of the image alone, so equal images are stored once."""

    def get(self, digests: Mapping[str, str]) -> dict[str, KeptMaps]:
        """The maps of images by the id that is asked for."""
        found = super().get({digest: digest for digest in digests.values()})
        return {id_: found[digest] for id_, digest in digests.items() if digest in found}


class UnpackedMaps(ImageMaps):
    """Kept maps of a gallery in memory, since every query matches hits of the same one."""

    def __init__(self, kept: ImageMaps, encoder: Encoder, *, coarse: bool) -> None:
        """Start empty.

        Args:
            kept: the maps.
            encoder: made them.
            coarse: as a gallery with `RegionSettings.coarse_maps` keeps them: averaged on reading,
                which is not part of a search, since a gallery does it when indexing.
        """
        super().__init__(kept.address, maps_digest(encoder))
        self._coarse, self._unpacked, self._bytes = coarse, dict[str, KeptMaps](), 0

    def get(self, digests: Mapping[str, str]) -> dict[str, KeptMaps]:
        """See `ImageMaps.get`; any thread may read."""
        known = {i: maps for i, d in digests.items() if (maps := self._unpacked.get(d))}
        fresh = super().get({i: d for i, d in digests.items() if i not in known})
        if self._coarse:
            fresh = {i: maps.averaged() for i, maps in fresh.items()}
        if self._bytes > MAX_UNPACKED:
            self._unpacked, self._bytes = {}, 0
        self._unpacked.update((digests[i], maps) for i, maps in fresh.items())
        self._bytes += sum(layer.levels.numel() for maps in fresh.values() for layer in maps.layers)
        return known | fresh


def encode_images(
    images: Sequence[DatasetImage], encoder: Encoder, folder: Path, progress: Progress
) -> EncodedImages:
    """Encode the images whose maps are not kept yet in `folder`.

    Raises:
        RequestError: for an image that is missing or cannot be read.
    """
    store = ImageMaps(str(folder), maps_digest(encoder))
    digests = ImageFacts(folder, progress).digests([image.file for image in images])
    files = {digests[image.file]: image.file for image in images}
    missing = [Source(digest, str(files[digest])) for digest in _not_kept(list(files), store)]
    done = 0
    for batch in read_batches(missing, encoder.settings):
        encoded = encoder.encode(encoder.prepare([one.pixels for one in batch]))
        names = [one.source.id for one in batch]
        store.put(dict(zip(names, pack(encoded, names), strict=True)))
        done += len(batch)
        progress("encode", done, len(missing))
    return EncodedImages(encoder, store, digests)


def pixels_of(image: DatasetImage) -> RgbImage:
    """The pixels of an image at full size.

    Raises:
        RequestError: if it is missing or cannot be read.
    """
    try:
        return read_image(image.file.read_bytes())
    except (OSError, ImageError) as error:
        why = error.reason if isinstance(error, ImageError) else f"{error}: put the file there."
        raise RequestError(f"{image.file} cannot be read: {why}") from error


def read_batches(
    sources: Iterable[Source], settings: MethodSettings, *, leave_out: bool = False
) -> Iterator[list[Prepared]]:
    """Images as the indexer reads them, in batches of one shape.

    Args:
        settings: for the working size.
        leave_out: skip files that are not images.

    Raises:
        RequestError: for a file that is missing or, unless skipped, not an image.
    """

    def readable() -> Iterator[Prepared]:
        for outcome in prepare_images(sources, settings, IndexingPlan()):
            if not isinstance(outcome, Refused):
                yield outcome
            elif not leave_out or not isinstance(outcome.error, ImageError):
                raise RequestError(f"{outcome.source.uri}: {outcome.error.reason}")

    return batches_of_one_shape(readable(), _ENCODE_BATCH)


def write_whole(file: Path, data: bytes) -> None:
    """Write a file so that a reader sees all of it or none, even if the run is stopped.

    Raises:
        RequestError: if it cannot be written.
    """
    part = file.with_name(f"{file.name}.{uuid4().hex}.part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.write_bytes(data)
            part.replace(file)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise RequestError(
            f"{file.parent} cannot be written to ({error}): free space there, or check its "
            "permissions."
        ) from error


def maps_digest(encoder: Encoder) -> str:
    """64 hex digits of everything that changes a map."""
    settings = encoder.settings
    parts = [
        "read as the indexer reads",
        settings.network,
        [layer.name for layer in settings.layers],
        [settings.side, settings.side_is, settings.side_multiple],
        encoder.loaded.weights_digest,
        "bfloat16" if encoder.autocast else "float32",
    ]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def _not_kept(digests: Sequence[str], store: ImageMaps) -> Iterator[str]:
    """Digests without maps, or with damaged ones."""
    for start in range(0, len(digests), _READ_BATCH):
        part = digests[start : start + _READ_BATCH]
        found = store.get({digest: digest for digest in part})
        yield from (digest for digest in part if digest not in found)
