"""The bytes of images: files, ``file:``, fsspec addresses, and the web where it is allowed."""

from __future__ import annotations

import errno
import os
import re
import stat
from pathlib import Path
from typing import TYPE_CHECKING
from unicodedata import normalize
from urllib.parse import unquote

from fsspec.core import strip_protocol, url_to_fs

from descriptors.errors import CamsearchError
from descriptors.images import check_size
from indexer.errors import SourceUnreachable, SourceUnreadable
from indexer.named_machines import NAMING, check_machine
from indexer.web import WebAccess, fetch

if TYPE_CHECKING:
    from descriptors.images import ImageLimits

__all__ = ["as_on_disk", "read_source", "source_tag"]

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


def source_tag(uri: str) -> str:
    """What changes when the image at this address changes, without reading it.

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
    """The bytes of an image.

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
            f"{uri} is not opened: images are not fetched from the web through others. "
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
        raise SourceUnreadable(f"{path} is no file of bytes: name an image file.")
    with path.open("rb") as file:
        check_size(os.fstat(file.fileno()).st_size, limits)
        return file.read()
