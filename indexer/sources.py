"""Which pictures there are, and their bytes: folders, files, fsspec addresses."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsspec.core import url_to_fs

from descriptors.errors import CamsearchError, ImageTooLarge, RequestError
from es_mappings.documents import MOST_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from descriptors.images import ImageLimits

__all__ = ["PICTURE_SUFFIXES", "MalformedRow", "Source", "SourceUnreadable", "find_pictures"]
__all__ += ["id_of_long", "legible", "read_source", "source_tag"]

PICTURE_SUFFIXES = frozenset(
    [
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".mpo",
        ".png",
        ".webp",
        ".gif",
        ".bmp",
        ".dib",
        ".tif",
        ".tiff",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".avif",
        ".avifs",
        ".jp2",
        ".j2k",
        ".jpx",
    ]
)


class SourceUnreadable(CamsearchError):
    """The bytes of a picture cannot be had: gone, forbidden, or at an address we do not open."""

    kind = "source_unreadable"


class MalformedRow(CamsearchError):
    """A row of a manifest that names no picture."""

    kind = "malformed_row"


@dataclass(frozen=True)
class Source:
    """One picture to index.

    Attributes:
        id: of the document it becomes.
        uri: a path or an fsspec address.
        meta: the caller's own fields.
        problem: why this cannot name a picture; such a source becomes a reject.
    """

    id: str
    uri: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    problem: MalformedRow | SourceUnreadable | None = None


def find_pictures(paths: Iterable[Path]) -> Iterator[Source]:
    """The pictures in folders and below, in order of their names; files as they are named.

    Convention:
        The id is the absolute path (its SHA-256 if it has more than 512 bytes), so the same
        picture has the same id from whichever folder it is indexed. Within folders hidden
        entries are passed over, links to folders are not followed, and what counts as a
        picture is said by the suffix; a file named by itself is always taken. A folder
        that cannot be listed comes as a source with its `problem`.

    Raises:
        RequestError: for a path that does not exist.
    """
    for path in paths:
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except (OSError, ValueError) as error:
            raise RequestError(
                f"There is no file or folder {legible(str(path))}: check its path."
            ) from error
        if is_folder:
            yield from _in_folder(path)
        else:
            yield _of_path(path)


def _in_folder(top: Path) -> Iterator[Source]:
    unlisted: list[OSError] = []
    for folder, inner, names in os.walk(top, onerror=unlisted.append):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            suffix = os.path.splitext(name)[1].lower()
            if suffix in PICTURE_SUFFIXES and not name.startswith("."):
                yield _of_path(Path(folder, name))
    for error in unlisted:
        source = _of_path(Path(error.filename))
        problem = SourceUnreadable(
            f"The folder {source.uri} cannot be listed ({error.strerror}), so no picture in it is "
            "indexed: check its permissions."
        )
        yield replace(source, problem=problem)


def _of_path(path: Path) -> Source:
    absolute = os.path.abspath(path)
    try:
        size = len(absolute.encode())
    except UnicodeEncodeError:
        name = legible(absolute)
        problem = SourceUnreadable(
            f"The name of {name} is not UTF-8, so nothing can be said of it: rename the file."
        )
        return Source(id_of_long(absolute), name, problem=problem)
    return Source(absolute if size <= MOST_ID_BYTES else id_of_long(absolute), absolute)


def id_of_long(path: str) -> str:
    """An id for a path that is too long for one, or no text."""
    return f"sha256-{hashlib.sha256(os.fsencode(path)).hexdigest()}"


def legible(path: str) -> str:
    """A path as text for people, whatever its bytes are."""
    return path.encode(errors="surrogateescape").decode(errors="replace")


def source_tag(uri: str) -> str:
    """What changes when the picture at this address changes, without reading it.

    Returns:
        Size and time of change of a file, or what its file system says; "" if that
        cannot be had, and then the bytes decide.
    """
    try:
        if "://" not in uri:
            status = os.stat(uri)
            return f"{status.st_size}-{status.st_mtime_ns}"
        if _is_on_the_web(uri):
            return ""
        fs, path = url_to_fs(uri)
        return str(fs.ukey(path))
    except Exception:  # noqa: BLE001 - each file system has errors of its own
        return ""


def _is_on_the_web(uri: str) -> bool:
    """Whether it is fetched from the web, perhaps through others: zip://a.jpg::https://…."""
    return "http://" in uri.lower() or "https://" in uri.lower()


def read_source(uri: str, limits: ImageLimits) -> bytes:
    """The bytes of a picture.

    Args:
        uri: a path, or an address of any fsspec file system whose package is installed.
        limits: a larger file is refused by its size, before it is read.

    Raises:
        SourceUnreadable: if they cannot be had.
        ImageTooLarge: by its size.
    """
    if _is_on_the_web(uri):
        raise SourceUnreadable(
            f"{uri} is not opened: pictures are not fetched from the web. Download it first."
        )
    try:
        if "://" not in uri:
            return _read_file(Path(uri), limits)
        fs, path = url_to_fs(uri)
        _check_size(fs.size(path) or 0, limits)
        data: bytes = fs.cat_file(path)
    except CamsearchError:
        raise
    except Exception as error:  # each file system has errors of its own
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise SourceUnreadable(
            f"{uri} cannot be read ({why}): check that it is there and readable."
        ) from error
    return data


def _read_file(path: Path, limits: ImageLimits) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        # A pipe would keep us waiting for ever, a device would never end.
        raise SourceUnreadable(f"{path} is no file of bytes: name a picture file.")
    with path.open("rb") as file:
        _check_size(os.fstat(file.fileno()).st_size, limits)
        return file.read()


def _check_size(size: int, limits: ImageLimits) -> None:
    if size > limits.most_bytes:
        raise ImageTooLarge(
            f"The file has {size:,} bytes, more than the {limits.most_bytes:,} allowed: "
            "store it smaller, or raise the limit."
        )
