"""Storage of feature maps, so that re-ranking does not read images.

The path of an image's maps consists of the method's fingerprint and a digest of the image's id.
Any fsspec address can be used: a folder, memory://, s3://.
"""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from galleries.errors import FeatureStoreError
from galleries.kept_maps import KeptMaps, unpack

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping

__all__ = ["FeatureStore"]

# Partial files older than this are abandoned.
_LONG_AGO_S = 24 * 3600.0

# Threads that read files concurrently.
_READERS = 16


class FeatureStore:
    """Kept maps by image id, at an fsspec address, separate for each fingerprint."""

    def __init__(self, address: str, fingerprint: str, **storage: Any) -> None:
        """Nothing is opened yet.

        Args:
            address: a folder, or an fsspec URL whose package is installed.
            fingerprint: of the method that makes the maps.
            storage: options of the file system, such as credentials.

        Raises:
            FeatureStoreError: the file system is not installed.
        """
        try:
            if "://" in address:
                self._fs, root = url_to_fs(address, **storage)
            else:  # a folder, even if its name looks like an fsspec chain: a::b
                self._fs, root = LocalFileSystem(), os.path.abspath(address)
        except (ImportError, ValueError) as error:
            raise FeatureStoreError(
                f"The address {address!r} cannot be used for feature maps ({error}): "
                "use a folder, or install the package of that file system."
            ) from error
        self.address = address
        self._root = f"{root.rstrip('/')}/{fingerprint[:16]}"
        self._readers = ThreadPoolExecutor(_READERS, "read-maps")

    def path_of(self, image_id: str) -> str:
        """Path of an image's maps in the file system."""
        name = hashlib.sha256(image_id.encode()).hexdigest()
        return f"{self._root}/{name[:2]}/{name}.maps"

    def put(self, maps: Mapping[str, bytes]) -> None:
        """Write or replace the packed maps of images.

        Raises:
            FeatureStoreError: the store refuses, for example because its disk is full.
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
        """Write a file atomically."""
        if not isinstance(self._fs, LocalFileSystem):
            with self._fs.open(path, "wb", autocommit=False) as file:
                file.write(data)
            file.commit()
            return
        # fsspec would copy from the system's temporary folder, which is not atomic.
        part = Path(f"{path}.{uuid4().hex}.part")
        try:
            part.write_bytes(data)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def get(self, digests: Mapping[str, str]) -> dict[str, KeptMaps]:
        """The maps of images, read concurrently.

        Args:
            digests: for each id the digest of the indexed image.

        Returns:
            Maps by id; ids without maps, or with maps of another version, are left out.
        """
        found: dict[str, KeptMaps] = {}
        for image_id, data in self._packed(digests):
            with suppress(FeatureStoreError):  # damaged maps are treated as missing
                maps = unpack(data)
                if maps.digest == digests[image_id]:
                    found[image_id] = maps
        return found

    def packed(self, ids: Collection[str]) -> dict[str, bytes]:
        """The packed maps of images, of any version; ids without maps are left out."""
        return dict(self._packed(ids))

    def _packed(self, ids: Collection[str]) -> Iterator[tuple[str, bytes]]:
        # Only reading is concurrent; the caller's thread unpacks.
        for image_id, data in zip(ids, self._readers.map(self._read, ids), strict=True):
            if data is not None:
                yield image_id, data

    def _read(self, image_id: str) -> bytes | None:
        try:
            data: bytes = self._fs.cat_file(self.path_of(image_id))
        except OSError:
            return None  # the caller falls back to the image, and reports it
        return data

    def has(self, image_id: str) -> bool:
        """Whether maps of this image are kept, of any version."""
        return bool(self._fs.exists(self.path_of(image_id)))

    def is_reachable(self) -> bool:
        """Whether the place responds: a folder exists or can be created."""
        place = self._root.rpartition("/")[0]
        try:
            if not isinstance(self._fs, LocalFileSystem):
                self._fs.exists(place)  # object stores have no folders: any response will do
                return True
            return Path(place).is_dir() or Path(place).parent.is_dir()
        except OSError:
            return False

    def delete(self, ids: Iterable[str]) -> None:
        """Delete the maps of images; unknown ids are ignored.

        Raises:
            FeatureStoreError: the store refuses.
        """
        for image_id in ids:
            path = self.path_of(image_id)
            try:
                if self._fs.exists(path):
                    self._fs.rm_file(path)
            except FileNotFoundError:
                continue  # deleted by another process
            except OSError as error:
                raise FeatureStoreError(
                    f"Feature maps cannot be deleted from {self.address} ({error}): "
                    "check its permissions."
                ) from error

    def sweep(self, older_s: float = _LONG_AGO_S) -> int:
        """Remove partial files of killed writers; return how many.

        Args:
            older_s: minimum seconds since the last write, to spare files still being written.

        Convention:
            Folders only; other stores discard uncommitted files themselves. Files that cannot
            be removed are left.
        """
        if not isinstance(self._fs, LocalFileSystem):
            return 0
        before, swept = time.time() - older_s, 0
        for part in Path(self._root).glob("??/*.part"):
            with suppress(OSError):  # for example, its writer has just finished
                if part.stat().st_mtime < before:
                    part.unlink()
                    swept += 1
        return swept

    def close(self) -> None:
        """End the reading threads."""
        self._readers.shutdown()
