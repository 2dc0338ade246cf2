"""Feature maps of the gallery's pictures, kept so that re-ranking opens no picture.

Each picture's maps are 8-bit levels with a scale a channel, one safetensors
block compressed by zstd, under an address made of the method's fingerprint and
the picture's id. Any fsspec address will do: a folder, memory://, s3://.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np
import torch
import zstandard
from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem
from jaxtyping import Float16, Shaped, UInt8
from safetensors import SafetensorError
from safetensors.torch import save
from torch import Tensor

from descriptors.arrays import Cells, Encoded, FeatureMaps, Size
from es_mappings.errors import ContractError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

__all__ = [
    "FeatureStore",
    "FeatureStoreError",
    "KeptMaps",
    "pack",
    "quantise",
    "stack_kept",
    "unpack",
]

# No file of maps takes so long to write.
_LONG_AGO_S = 24 * 3600.0

# Threads that wait for files, or for a far store.
_READERS = 16

# Of one picture's maps; beyond all that networks make, so that a damaged frame claims no more.
_MOST_BYTES = 2**30

# The kind of a zstd block that is one byte, again and again.
_REPEATED = 1

_DTYPES = {"U8": np.uint8, "F16": np.float16, "F32": np.float32}

# MemoryError, since a damaged frame may claim any size.
_DAMAGE = (zstandard.ZstdError, SafetensorError, KeyError, ValueError, TypeError, MemoryError)


class FeatureStoreError(ContractError):
    """The feature store cannot be written or read, as when its disk is full."""


@dataclass(frozen=True)
class KeptMaps:
    """The maps of one picture as they are kept.

    Attributes:
        layers: 8-bit levels and scales a layer, the evidence last where it is a layer of its own.
        features: how many of these are feature layers.
        evidence: index in `layers` of the evidence.
        scores: the class scores, float16.
        working: size of the picture as the network saw it, in pixels.
        digest: of the picture's bytes, so that maps of an older version are noticed.
    """

    layers: tuple[FeatureMaps, ...]
    features: int
    evidence: int
    scores: Float16[Tensor, " C"]
    working: Size
    digest: str

    @property
    def shape(self) -> tuple[object, ...]:
        """Equal for pictures that can stand in one batch."""
        return (self.working, *(maps.levels.shape for maps in self.layers))

    def averaged(self) -> KeptMaps:
        """As if those finer than the evidence had been averaged before they were kept."""
        stride = self.layers[self.evidence].stride
        if all(maps.stride >= stride for maps in self.layers):
            return self
        layers = tuple(
            maps if maps.stride >= stride else quantise(maps.averaged(stride))
            for maps in self.layers
        )
        return replace(self, layers=layers)


def quantise(maps: FeatureMaps) -> FeatureMaps:
    """Maps as 8-bit levels with a scale for each channel of each picture.

    Convention:
        What is above 0 stays above 0 (level 1 at least), since channel weights count it.
    """
    # One plane a channel from here on: the network's channels-last order is slow to reduce.
    values = maps.levels.contiguous().float()
    peak = values.amax(dim=(2, 3))
    # Clamped, since 255 / peak is infinite where a channel peaks below 1e-36.
    most = torch.finfo(torch.float32).max
    factor = torch.where(peak > 0, (255 / peak).clamp_max(most), 0.0)
    positive = torch.gt(values, 0, out=torch.empty_like(values))
    levels = (values * factor[:, :, None, None]).round_()
    levels = torch.maximum(levels, positive, out=levels)
    return replace(maps, levels=levels.to(torch.uint8), scale=peak * maps.scale / 255)


def pack(encoded: Encoded, digests: Sequence[str], *, coarse: bool = False) -> list[bytes]:
    """The maps of each picture of a batch, compressed.

    Args:
        encoded: fresh maps.
        digests: SHA-256 of each picture's bytes.
        coarse: average maps that are finer than the evidence; see `RegionSettings.coarse_maps`.
    """
    if coarse:
        encoded = encoded.averaged()
    layers = list(encoded.features)
    if not any(maps is encoded.evidence for maps in layers):
        layers.append(encoded.evidence)
    evidence = next(i for i, maps in enumerate(layers) if maps is encoded.evidence)
    kept = [quantise(maps) for maps in layers]
    # One plane a channel lies together: neighbouring cells are alike, so it compresses best.
    levels = [maps.levels.cpu().contiguous() for maps in kept]
    scales = [maps.scale.cpu() for maps in kept]
    scores = encoded.scores.half().cpu()
    compressor = zstandard.ZstdCompressor(level=1, write_checksum=True)
    packed = []
    for row, digest in enumerate(digests):
        about = {
            "digest": digest,
            "features": len(encoded.features),
            "evidence": evidence,
            "working": list(encoded.working),
            "strides": [maps.stride for maps in kept],
            "averaged_from": [maps.averaged_from for maps in kept],
        }
        tensors = {f"{i}.levels": level[row] for i, level in enumerate(levels)}
        tensors |= {f"{i}.scale": scale[row].clone() for i, scale in enumerate(scales)}
        tensors["scores"] = scores[row].clone()
        packed.append(compressor.compress(save(tensors, {"camsearch": json.dumps(about)})))
    return packed


def unpack(data: bytes) -> KeptMaps:
    """What `pack` made of one picture.

    Raises:
        FeatureStoreError: if the bytes are damaged.
    """
    try:
        header, tensors = _tensors(_decompressed(data))
        about: dict[str, Any] = json.loads(header["__metadata__"]["camsearch"])
        # Maps kept before there was averaging say nothing of it.
        finer = about.get("averaged_from", [None] * len(about["strides"]))
        layers = tuple(
            FeatureMaps(
                tensors[f"{i}.levels"][None],
                tensors[f"{i}.scale"][None],
                stride,
                None if fine is None else Cells(*fine),
            )
            for i, (stride, fine) in enumerate(zip(about["strides"], finer, strict=True))
        )
        return KeptMaps(
            layers,
            about["features"],
            about["evidence"],
            tensors["scores"],
            Size(*about["working"]),
            about["digest"],
        )
    except _DAMAGE as error:
        raise FeatureStoreError(
            "Kept feature maps are damaged: index the picture again."
        ) from error


def _decompressed(data: bytes) -> UInt8[np.ndarray, " N"]:
    """The bytes of a frame, in memory of their own that tensors may share."""
    size = zstandard.frame_content_size(data)
    if not 0 <= size <= _MOST_BYTES:
        raise ValueError(f"a frame of {size} bytes")
    if _frame_end(data) != len(data):
        # The reader is content with a frame whose checksum is missing.
        raise ValueError("the frame breaks off")
    block = np.empty(size, np.uint8)
    with zstandard.ZstdDecompressor().stream_reader(data) as reader:
        # The first read takes all there is; the second sees the checksum.
        if reader.readinto(block) != size or reader.read(1):
            raise ValueError("the frame does not hold what it says")
    return block


def _frame_end(data: bytes) -> int:
    """Where a frame ends by what it says itself, its checksum with it.

    Source:
        RFC 8878 sections 3.1.1 and 3.1.1.2: a block's header has 3 bytes, little endian: 1 bit
        for the last one, 2 for its kind, then its size, which one repeated byte stands for.
    """
    at, last = zstandard.frame_header_size(data), False
    while not last:
        head = int.from_bytes(data[at : at + 3], "little")
        if at + 3 > len(data):
            raise ValueError("the frame breaks off")
        last = bool(head & 1)
        at += 3 + (1 if head >> 1 & 3 == _REPEATED else head >> 3)
    return at + (4 if zstandard.get_frame_parameters(data).has_checksum else 0)


def _tensors(block: UInt8[np.ndarray, " N"]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """A safetensors block's header and tensors, which share its memory.

    Convention:
        The library's own reader copies every tensor, a third of the time to unpack maps.
    """
    start = 8 + int.from_bytes(block[:8].tobytes(), "little")
    header: dict[str, Any] = json.loads(block[8:start].tobytes())
    tensors = {}
    for name, said in header.items():
        if name != "__metadata__":
            first, last = said["data_offsets"]
            part = block[start + first : start + last].view(_DTYPES[said["dtype"]])
            tensors[name] = torch.from_numpy(part.reshape(said["shape"]))
    return header, tensors


class FeatureStore:
    """Kept maps by image id, at an fsspec address, apart for each fingerprint."""

    def __init__(self, address: str, fingerprint: str, **storage: Any) -> None:
        """Name the place; nothing is opened yet.

        Args:
            address: a folder or any fsspec URL whose package is installed.
            fingerprint: of the method whose maps these are.
            storage: options of that file system, such as credentials.

        Raises:
            FeatureStoreError: for an address whose file system is not installed.
        """
        try:
            if "://" in address:
                self._fs, root = url_to_fs(address, **storage)
            else:  # a folder, even where fsspec would read its name as a chain of places: a::b
                self._fs, root = LocalFileSystem(), os.path.abspath(address)
        except (ImportError, ValueError) as error:
            raise FeatureStoreError(
                f"The address {address!r} cannot be used for feature maps ({error}): "
                "name a folder, or install the package of that file system."
            ) from error
        self.address = address
        self._root = f"{root.rstrip('/')}/{fingerprint[:16]}"
        self._readers = ThreadPoolExecutor(_READERS, "read-maps")

    def path_of(self, image_id: str) -> str:
        """Where the maps of a picture are, in the place's own words."""
        name = hashlib.sha256(image_id.encode()).hexdigest()
        return f"{self._root}/{name[:2]}/{name}.maps"

    def put(self, maps: Mapping[str, bytes]) -> None:
        """Write the packed maps of pictures; what is there is replaced.

        Raises:
            FeatureStoreError: if the store refuses, as when its disk is full.
        """
        for image_id, data in maps.items():
            path = self.path_of(image_id)
            try:
                self._fs.makedirs(path.rpartition("/")[0], exist_ok=True)
                self._write(path, data)
            except OSError as error:
                raise FeatureStoreError(
                    f"Feature maps cannot be written to {self.address} ({error}): "
                    "free space there, or check its permissions."
                ) from error

    def _write(self, path: str, data: bytes) -> None:
        """Write a file so that a reader sees all of it or none, whenever we are stopped."""
        if not isinstance(self._fs, LocalFileSystem):
            with self._fs.open(path, "wb", autocommit=False) as file:
                file.write(data)
            file.commit()
            return
        # fsspec would write to the system's temporary folder and copy from there, which another
        # process could see half done.
        part = Path(f"{path}.{uuid4().hex}.part")
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def get(self, digests: Mapping[str, str]) -> dict[str, KeptMaps]:
        """The maps of pictures, read side by side.

        Args:
            digests: for each id the digest of the picture's bytes as it is indexed.

        Returns:
            Maps by id; an id without maps, or with maps of other bytes, is left out.
        """
        found: dict[str, KeptMaps] = {}
        for image_id, data in self._packed(digests):
            maps = _unpacked(data)
            if maps is not None and maps.digest == digests[image_id]:
                found[image_id] = maps
        return found

    def packed(self, ids: Collection[str]) -> dict[str, bytes]:
        """The maps of pictures as they are kept, of whichever version; ids without are left out."""
        return dict(self._packed(ids))

    def _packed(self, ids: Collection[str]) -> Iterator[tuple[str, bytes]]:
        # Files are waited for side by side; unpacking is computing, which is the caller's thread's.
        for image_id, data in zip(ids, self._readers.map(self._read, ids), strict=True):
            if data is not None:
                yield image_id, data

    def _read(self, image_id: str) -> bytes | None:
        try:
            data: bytes = self._fs.cat_file(self.path_of(image_id))
        except OSError:
            return None  # the caller falls back to the picture itself, and says so
        return data

    def has(self, image_id: str) -> bool:
        """Whether maps of this picture are kept, of whichever version."""
        return bool(self._fs.exists(self.path_of(image_id)))

    def is_reachable(self) -> bool:
        """Whether the place answers: it is there, or could be made where it was named."""
        place = self._root.rpartition("/")[0]
        try:
            if not isinstance(self._fs, LocalFileSystem):
                self._fs.exists(place)  # objects have no folders: an answer is all there is
                return True
            return Path(place).is_dir() or Path(place).parent.is_dir()
        except OSError:
            return False

    def delete(self, ids: Iterable[str]) -> None:
        """Forget the maps of pictures; unknown ids are passed over.

        Raises:
            FeatureStoreError: if the store refuses.
        """
        for image_id in ids:
            path = self.path_of(image_id)
            try:
                if self._fs.exists(path):
                    self._fs.rm_file(path)
            except FileNotFoundError:
                continue  # another process was faster
            except OSError as error:
                raise FeatureStoreError(
                    f"Feature maps cannot be deleted from {self.address} ({error}): "
                    "check its permissions."
                ) from error

    def sweep(self, older_s: float = _LONG_AGO_S) -> int:
        """Remove what writers that were killed left half written; returns how many files.

        Args:
            older_s: seconds since they were last written to; a writer may be at a younger one.

        Convention:
            In a folder only: elsewhere a file that was not committed is the store's affair. It
            lists all maps of this method.
            One that may not be removed stays: it is in nobody's way.
        """
        if not isinstance(self._fs, LocalFileSystem):
            return 0
        before, swept = time.time() - older_s, 0
        for part in Path(self._root).glob("??/*.part"):
            with suppress(OSError):  # such as its writer having just finished it
                if part.stat().st_mtime < before:
                    part.unlink()
                    swept += 1
        return swept

    def close(self) -> None:
        """End the reading threads."""
        self._readers.shutdown()


def _unpacked(data: bytes) -> KeptMaps | None:
    try:
        return unpack(data)
    except FeatureStoreError:
        return None


def stack_kept(
    kept: Sequence[KeptMaps], device: torch.device, dtype: torch.dtype = torch.uint8
) -> Encoded:
    """Kept maps of pictures of one shape as one batch.

    Args:
        kept: equal in `KeptMaps.shape`.
        device: for the batch.
        dtype: of the levels; floating point spares `Encoded.floating` a pass over them.
    """
    layers = tuple(
        FeatureMaps(
            _stacked([k.layers[i].levels for k in kept], device, dtype),
            torch.cat([k.layers[i].scale for k in kept]).to(device),
            first.stride,
            first.averaged_from,
        )
        for i, first in enumerate(kept[0].layers)
    )
    scores = torch.stack([k.scores for k in kept]).to(device).float()
    evidence = layers[kept[0].evidence]
    return Encoded(layers[: kept[0].features], evidence, scores, kept[0].working)


def _stacked(
    levels: Sequence[UInt8[Tensor, "1 K H W"]], device: torch.device, dtype: torch.dtype
) -> Shaped[Tensor, "B K H W"]:
    """Copied and converted in one pass; they go to a GPU as they are, a byte each."""
    if device.type != "cpu":
        return torch.cat(list(levels)).to(device).to(dtype)
    batch = torch.empty((len(levels), *levels[0].shape[1:]), dtype=dtype)
    for row, picture in zip(batch, levels, strict=True):
        row.copy_(picture[0])
    return batch
