"""Where feature maps of a gallery's images are kept, so that re-ranking opens no image.

Each image's maps lie under an address made of the method's fingerprint and the image's id. Any
fsspec address will do: a folder, memory://, s3://.
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

# No file of maps takes so long to write.
_LONG_AGO_S = 24 * 3600.0

# Threads that wait for files, or for a far store.
_READERS = 16


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
        """Where the maps of an image are, in the place's own words."""
        name = hashlib.sha256(image_id.encode()).hexdigest()
        return f"{self._root}/{name[:2]}/{name}.maps"

    def put(self, maps: Mapping[str, bytes]) -> None:
        """Write the packed maps of images; what is there is replaced.

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
        """The maps of images, read side by side.

        Args:
            digests: for each id the digest of the image's bytes as it is indexed.

        Returns:
            Maps by id; an id without maps, or with maps of other bytes, is left out.
        """
        found: dict[str, KeptMaps] = {}
        for image_id, data in self._packed(digests):
            with suppress(FeatureStoreError):  # damaged ones are as good as none
                maps = unpack(data)
                if maps.digest == digests[image_id]:
                    found[image_id] = maps
        return found

    def packed(self, ids: Collection[str]) -> dict[str, bytes]:
        """The maps of images as they are kept, of whichever version; ids without are left out."""
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
            return None  # the caller falls back to the image itself, and says so
        return data

    def has(self, image_id: str) -> bool:
        """Whether maps of this image are kept, of whichever version."""
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
        """Forget the maps of images; unknown ids are passed over.

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
