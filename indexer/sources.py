"""Which pictures there are, and their bytes: folders, files, fsspec addresses."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import stat
from collections import Counter
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize
from urllib.parse import unquote

from fsspec.core import strip_protocol, url_to_fs

from descriptors.errors import CamsearchError, RequestError
from descriptors.images import check_size
from es_mappings.documents import MOST_ID_BYTES, fits_as_id
from indexer.errors import MalformedRow, SourceUnreachable, SourceUnreadable
from indexer.named_machines import NAMING, check_machine
from indexer.web import WebAccess, fetch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from descriptors.images import ImageLimits

__all__ = ["PICTURE_SUFFIXES", "Skipped", "Source"]
__all__ += [
    "as_on_disk",
    "find_pictures",
    "id_of_address",
    "id_of_long",
    "legible",
    "read_source",
    "source_tag",
]

_READ = frozenset(
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
        ".jpf",
        ".jpc",
        ".j2c",
        ".apng",
    ]
)
_HEIC = frozenset([".heic", ".heif"])
# HEIC is read where its decoder is installed.
PICTURE_SUFFIXES = _READ | _HEIC if find_spec("pillow_heif") else _READ

# Folders that storage devices and operating systems put among the images, besides hidden ones.
_SYSTEM_FOLDERS = frozenset(
    ["@eadir", "#recycle", "#snapshot", "$recycle.bin", "system volume information", "lost+found"]
)


# An address that names a machine, perhaps one that others open: zip://a.jpg::https://…, or a list
# of references.
_NAMING = "|".join(NAMING)
_HIDDEN_WEB = re.compile(
    rf"https?://|(^|::)(https?|reference|generic|{_NAMING})(:|$)", re.IGNORECASE
)
_MACHINE = re.compile(rf"({_NAMING})://", re.IGNORECASE)

# What a file system may say today and not tomorrow: a share that is away, a store that is busy.
_PASSING_NAMES = (
    *("EIO", "EREMOTEIO", "EBUSY", "EAGAIN", "EINTR", "ESTALE", "ENOLINK", "ENOTCONN", "ETIMEDOUT"),
    *("EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "ENETDOWN", "ENETUNREACH", "EHOSTDOWN"),
    *("EHOSTUNREACH", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EPIPE"),
)
_PASSING = frozenset(getattr(errno, name) for name in _PASSING_NAMES if hasattr(errno, name))
_PASSING_STATUS = frozenset([408, 425, 429, 500, 502, 503, 504])
_NO_WEB = WebAccess()

# file:/x, file:///x and file://localhost/x, which RFC 8089 says are the same.
_FILE = re.compile(r"file:(//(localhost)?)?/(?!/)", re.IGNORECASE)


@dataclass(frozen=True)
class Source:
    """One picture to index.

    Attributes:
        id: of the document it becomes; "" for the digest of its bytes.
        uri: a path or an fsspec address.
        meta: the caller's own fields.
        revision: a later write of the same id wins only with a revision at least as high.
        problem: why this cannot name a picture; such a source becomes a reject.
    """

    id: str
    uri: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    problem: MalformedRow | SourceUnreadable | None = None
    revision: int = 0


@dataclass
class Skipped:
    """What a walk through folders passed over; filled while the walk goes on.

    Attributes:
        suffixes: files that are not images, counted by suffix.
        names: files and folders left out by name, counted by the reason.
    """

    suffixes: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)

    def sentences(self) -> Iterator[str]:
        """What was passed over, for people; none if nothing was."""
        if self.suffixes:
            total = self.suffixes.total()
            noun = "file that is not an image" if total == 1 else "files that are not images"
            yield f"Skipped {total} {noun}: {_counts(self.suffixes)}."
        if _HEIC & self.suffixes.keys():
            yield "To read HEIC, run: pip install 'camsearch[heic]'"
        if self.names:
            yield f"Left out by name: {_counts(self.names)}."


def _counts(counted: Counter[str]) -> str:
    return ", ".join(f"{count} {legible(what)}" for what, count in counted.most_common())


def find_pictures(
    paths: Iterable[Path], exclude: Sequence[str] = (), skipped: Skipped | None = None
) -> Iterator[Source]:
    """The pictures in folders and below, in order of their names; files as they are named.

    Args:
        paths: folders and files.
        exclude: globs; what a folder contains is left out where its name, or its path from
            the folder that was named, matches one. ``*`` also matches ``/``.
        skipped: counts what is passed over.

    Convention:
        The id is the absolute path (its SHA-256 if it has more than 512 bytes), so the same
        picture has the same id from whichever folder it is indexed. Within folders hidden
        entries and system folders (``@eaDir``, ``$RECYCLE.BIN``) are passed over, links to
        folders are not followed, and what counts as a picture is said by the suffix; a file
        named by itself is always taken. A folder that cannot be listed comes as a source with
        its `problem`.

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
            elif suffix in PICTURE_SUFFIXES:
                yield _of_path(Path(folder, name))
            else:
                skipped.suffixes[suffix or "without a suffix"] += 1
    for error in unlisted:
        source = _of_path(Path(error.filename))
        problem = SourceUnreadable(
            f"The folder {source.uri} cannot be listed ({error.strerror}), so no picture in it is "
            "indexed: check its permissions."
        )
        yield replace(source, problem=problem)


def _why_left_out(inside: Path, exclude: Sequence[str], *, folder: bool = False) -> str:
    """The reason to leave a file or folder out by its name; "" to keep it.

    Args:
        inside: its path from the folder that is walked.
        exclude: globs.
        folder: whether it is one.
    """
    for glob in exclude:
        pattern = glob.rstrip("/")
        if fnmatchcase(inside.name, pattern) or fnmatchcase(inside.as_posix(), pattern):
            return f"matching {glob}"
    if folder and (inside.name.lower() in _SYSTEM_FOLDERS or inside.name.startswith(".")):
        return inside.name
    return "hidden files" if inside.name.startswith(".") else ""


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
    try:
        data = os.fsencode(path)
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte of a file's name
        data = path.encode(errors="surrogatepass")
    return f"sha256-{hashlib.sha256(data).hexdigest()}"


def id_of_address(uri: str) -> str:
    """An id out of an address: itself, or its digest where it is too long for one."""
    return uri if fits_as_id(uri) else id_of_long(uri)


def legible(path: str) -> str:
    """A path as text for people, whatever its bytes are."""
    return path.encode(errors="surrogateescape").decode(errors="replace")


def source_tag(uri: str) -> str:
    """What changes when the picture at this address changes, without reading it.

    Returns:
        Size and time of change of a file, or what its file system says; "" if that
        cannot be had, and then the bytes decide. For the web it is "", and nothing is asked.
    """
    if _is_on_the_web(uri):
        return ""
    try:
        path = _local_path(uri)
        if path is not None:
            status = os.stat(path)
            return f"{status.st_size}-{status.st_mtime_ns}"
        fs, inner = url_to_fs(uri)
        return str(fs.ukey(inner))
    except Exception:  # noqa: BLE001 - each file system has errors of its own
        return ""


def _is_on_the_web(uri: str) -> bool:
    """Whether it is fetched from the web, perhaps through others."""
    return "://" in uri and _HIDDEN_WEB.search(uri) is not None


def _local_path(uri: str) -> str | None:
    """The path, if it is one of this machine, with or without ``file:``.

    Convention:
        ``%20`` after ``file://`` is what it says if there is such a file, as fsspec has it;
        else it is a space, as `Path.as_uri` and browsers write it. A path is never decoded.
    """
    if _FILE.match(uri):
        uri = _FILE.sub("file:///", uri)
    elif "://" not in uri:
        return as_on_disk(uri)
    elif not uri.startswith("local://"):
        return None
    path: str = strip_protocol(uri)
    return path if os.path.lexists(path) else as_on_disk(unquote(path))


def as_on_disk(path: str) -> str:
    """A path with each name in the Unicode form (NFC or NFD) in which its folder has it.

    macOS writes names in NFD, most editors in NFC; Linux takes them for two names. A path that is
    there, or is there in neither form, stays as it is.
    """
    if path.isascii() or not path.startswith(os.sep) or os.path.lexists(path):
        return path
    found = Path(os.sep)
    for name in Path(path).parts[1:]:
        forms = [found / form for form in (name, normalize("NFC", name), normalize("NFD", name))]
        found = next(filter(os.path.lexists, forms), forms[0])
    return str(found) if os.path.lexists(found) else path


def read_source(uri: str, limits: ImageLimits, web: WebAccess = _NO_WEB) -> bytes:
    """The bytes of a picture.

    Args:
        uri: a path, ``file://``, an address of any fsspec file system whose package is
            installed, or ``http(s)://`` at an allowed host; one that names a machine, such as
            ``sftp://``, where that is allowed.
        limits: a larger file is refused by its size, before it is read.
        web: what is allowed; by default nothing. Neither is opened through other file systems,
            such as ``zip://a.jpg::https://…``.

    Returns:
        All of them; an empty file has none.

    Raises:
        SourceUnreachable: if they cannot be had now, and another try may succeed: time-outs,
            connections, a store that is busy.
        SourceUnreadable: if they cannot be had: not there, forbidden, not allowed.
        ImageTooLarge: by its size.
    """
    if uri.lower().startswith(("http://", "https://")):
        return fetch(uri, web, limits)
    if _MACHINE.match(uri) and "::" not in uri:
        check_machine(uri, web.machines)
    elif _is_on_the_web(uri):
        raise SourceUnreadable(
            f"{uri} is not opened: pictures are not fetched from the web through others. "
            "Download it first."
        )
    try:
        path = _local_path(uri)
        return _read_stored(uri, limits) if path is None else _read_file(Path(path), limits)
    except CamsearchError:
        raise
    except Exception as error:  # each file system has errors of its own
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        if _is_passing(error):
            raise SourceUnreachable(f"{uri} is out of reach ({why}): try again later.") from error
        raise SourceUnreadable(
            f"{uri} cannot be read ({why}): check that it is there and readable."
        ) from error


def _is_passing(error: Exception) -> bool:
    """Whether another try may succeed; what says nothing of it counts as final.

    The clients of stores have errors of their own, and asking for their classes would import
    all clients: they are known by the status they carry, and by their names.
    """
    kinds = type(error).__mro__
    if any(word in kind.__name__ for kind in kinds for word in ("Connect", "Timeout")):
        return True
    status = getattr(error, "code", None) or getattr(error, "status", None)
    number = error.errno if isinstance(error, OSError) else None
    return status in _PASSING_STATUS or number in _PASSING


def _read_stored(uri: str, limits: ImageLimits) -> bytes:
    fs, path = url_to_fs(uri)
    check_size(fs.size(path) or 0, limits)
    data: bytes = fs.cat_file(path)
    return data


def _read_file(path: Path, limits: ImageLimits) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        # A pipe would keep us waiting for ever, a device would never end.
        raise SourceUnreadable(f"{path} is no file of bytes: name a picture file.")
    with path.open("rb") as file:
        check_size(os.fstat(file.fileno()).st_size, limits)
        return file.read()
