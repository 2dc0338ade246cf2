"""Find images in folders, and derive their ids."""

from __future__ import annotations

import hashlib
import os
import stat
from collections import Counter
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from descriptors.errors import RequestError
from galleries.checks import fits_as_id, is_unicode
from indexer.errors import MalformedRow, SourceUnreadable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["Skipped", "Source", "as_sources", "find_images", "id_of_address", "in_pages", "legible"]

_Item = TypeVar("_Item")

_READ = ".jpg .jpeg .jpe .jfif .mpo .png .apng .webp .gif .bmp .dib .tif .tiff .ppm .pgm .pbm .pnm "
_READ += ".avif .avifs .jp2 .j2k .jpx .jpf .jpc .j2c"
_HEIC = frozenset([".heic", ".heif"])
IMAGE_SUFFIXES = frozenset(_READ.split()) | (_HEIC if find_spec("pillow_heif") else set())

# Folders of storage devices and operating systems, besides hidden ones.
_SYSTEM_FOLDERS = frozenset(
    ["@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found"]
)


@dataclass(frozen=True)
class Source:
    """An image to index.

    Attributes:
        id: document id; "" for the digest of the image's bytes.
        uri: a path or an fsspec address.
        meta: the caller's own fields.
        revision: a later write of the same id needs a revision at least as high.
        problem: why the source is invalid; it becomes a reject.
    """

    id: str
    uri: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    problem: MalformedRow | SourceUnreadable | None = None
    revision: int = 0


@dataclass
class Skipped:
    """What `find_images` skipped.

    Attributes:
        suffixes: counts of files that are not images, by suffix.
        names: counts of files and folders excluded by name, by reason.
    """

    suffixes: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)

    def sentences(self) -> Iterator[str]:
        """Sentences for the user."""
        if self.suffixes:
            total = self.suffixes.total()
            noun = "file that is not an image" if total == 1 else "files that are not images"
            yield f"Skipped {total} {noun}: {_counts(self.suffixes)}."
        if _HEIC & self.suffixes.keys():
            yield "To read HEIC, run: pip install 'camsearch[heic]'"
        if self.names:
            yield f"Skipped by name: {_counts(self.names)}."


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{count} {legible(what)}" for what, count in counted.most_common())


def as_sources(images: str | Path | Iterable[str | Path] | Iterable[Source]) -> Iterable[Source]:
    """The sources of folders and files; what is a source already stays as it is."""
    for image in [images] if isinstance(images, str | Path) else images:
        if isinstance(image, str | Path):
            yield from find_images([Path(image)])
        else:
            yield image


def find_images(
    paths: Iterable[Path], exclude: Sequence[str] = (), skipped: Skipped | None = None
) -> Iterator[Source]:
    """The images in folders, recursively and by name, and the given files.

    Args:
        paths: folders and files.
        exclude: globs that are matched with the names of files and folders, and with their
            paths relative to the given folder; ``*`` also matches ``/``.
        skipped: counts what is skipped.

    Convention:
        The id is the absolute path, or its SHA-256 if it is longer than 512 bytes. In folders,
        images are recognized by suffix, hidden entries and system folders (``@eaDir``,
        ``$RECYCLE.BIN``) are skipped, and links to folders are not followed; a file in `paths`
        is always included. A folder that cannot be listed is a source with a `problem`.

    Raises:
        RequestError: for a path that does not exist.
    """
    skipped = Skipped() if skipped is None else skipped
    for path in paths:
        try:
            is_folder = stat.S_ISDIR(path.stat().st_mode)
        except (OSError, ValueError) as error:
            raise RequestError(
                f"There is no file or folder {legible(str(path))}: check its path."
            ) from error
        if is_folder:
            yield from _in_folder(path, exclude, skipped)
        else:
            yield _of_path(path)


def _in_folder(top: Path, exclude: Sequence[str], skipped: Skipped) -> Iterator[Source]:
    unlisted: list[OSError] = []
    for folder, inner, names in os.walk(top, onerror=unlisted.append):
        kept = []
        for name in sorted(inner):
            if reason := _why_left_out(Path(folder, name).relative_to(top), exclude, folder=True):
                skipped.names[reason] += 1
            else:
                kept.append(name)
        inner[:] = kept
        for name in sorted(names):
            suffix = os.path.splitext(name)[1].lower()
            if reason := _why_left_out(Path(folder, name).relative_to(top), exclude):
                skipped.names[reason] += 1
            elif suffix in IMAGE_SUFFIXES:
                yield _of_path(Path(folder, name))
            else:
                skipped.suffixes[suffix or "without a suffix"] += 1
    for error in unlisted:
        source = _of_path(Path(error.filename))
        problem = SourceUnreadable(
            f"The folder {source.uri} cannot be listed ({error.strerror}), so no image in it is "
            "indexed: check its permissions."
        )
        yield replace(source, problem=problem)


def _why_left_out(inside: Path, exclude: Sequence[str], *, folder: bool = False) -> str:
    """The reason to skip a file or folder, given its path relative to the top; "" to keep it."""
    for glob in exclude:
        pattern = glob.rstrip("/")
        if fnmatchcase(inside.name, pattern) or fnmatchcase(inside.as_posix(), pattern):
            return f"matching {glob}"
    if folder and (inside.name.lower() in _SYSTEM_FOLDERS or inside.name.startswith(".")):
        return inside.name
    return "hidden files" if inside.name.startswith(".") else ""


def _of_path(path: Path) -> Source:
    absolute = os.path.abspath(path)
    if is_unicode(absolute):
        return Source(id_of_address(absolute), absolute)
    name = legible(absolute)
    problem = SourceUnreadable(
        f"The name of {name} is not UTF-8, so it cannot be indexed: rename the file."
    )
    return Source(id_of_address(absolute), name, problem=problem)


def id_of_address(uri: str) -> str:
    """The address as an id, or its digest if it is too long or not valid Unicode."""
    if fits_as_id(uri):
        return uri
    try:
        data = os.fsencode(uri)
    except UnicodeEncodeError:  # a lone surrogate that does not stand for a byte
        data = uri.encode(errors="surrogatepass")
    return f"sha256-{hashlib.sha256(data).hexdigest()}"


def legible(path: str) -> str:
    """A path as printable text; bytes that are not UTF-8 are replaced."""
    return path.encode(errors="surrogateescape").decode(errors="replace")


def in_pages(items: Iterable[_Item], size: int) -> Iterator[list[_Item]]:
    """Split a stream into lists of at most `size` items."""
    stream = iter(items)
    while page := list(islice(stream, size)):
        yield page
