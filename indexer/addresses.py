"""Read images from files, ``file:`` URLs, fsspec file systems and allowed web hosts."""

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
from indexer.web import WebAccess, fetch, may_pass

if TYPE_CHECKING:
    from descriptors.images import ImageLimits

__all__ = ["as_on_disk", "read_source", "source_tag"]

# A web or host address anywhere in a chain of file systems, such as zip://a.jpg::https://…
_NAMING = "|".join(NAMING)
_HIDDEN_WEB = re.compile(
    rf"https?://|(^|::)(https?|reference|generic|{_NAMING})(:|$)", re.IGNORECASE
)
_MACHINE = re.compile(rf"({_NAMING})://", re.IGNORECASE)

# Errors that may pass: an unmounted share, a busy store.
_PASSING_NAMES = (
    *("EIO", "EREMOTEIO", "EBUSY", "EAGAIN", "EINTR", "ESTALE", "ENOLINK", "ENOTCONN", "ETIMEDOUT"),
    *("EMFILE", "ENFILE", "ENOMEM", "ENOBUFS", "ENETDOWN", "ENETUNREACH", "EHOSTDOWN"),
    *("EHOSTUNREACH", "ECONNREFUSED", "ECONNRESET", "ECONNABORTED", "EPIPE"),
)
_PASSING = frozenset(getattr(errno, name) for name in _PASSING_NAMES if hasattr(errno, name))
_NO_WEB = WebAccess()

# file:/x, file:///x and file://localhost/x are equivalent (RFC 8089).
_FILE = re.compile(r"file:(//(localhost)?)?/(?!/)", re.IGNORECASE)


def source_tag(uri: str) -> str:
    """A value that changes when the image changes, found without reading it.

    Returns:
        Size and modification time of a file, or the file system's own key; "" on the web and
        where neither is available, so that the digest decides.
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
    """Whether the URI, or one chained in it, is a web or host address."""
    return "://" in uri and _HIDDEN_WEB.search(uri) is not None


def _local_path(uri: str) -> str | None:
    """The path of a local file, with or without ``file:``; None for other URIs.

    Convention:
        ``%20`` in a ``file:`` URL is literal if such a file exists, as in fsspec; otherwise a
        space, as in `Path.as_uri`. A plain path is never decoded.
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
    """The path in the Unicode form (NFC or NFD) that exists on disk.

    macOS writes names in NFD, most editors in NFC; on Linux they are different names. A path
    that exists in neither form is returned unchanged.
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
        uri: a path, ``file://``, any installed fsspec file system, or an allowed host by
            ``http(s)://`` or a protocol such as ``sftp://``.
        limits: a larger file is refused before it is read.
        web: allowed hosts; none by default. Hosts are never reached through other file
            systems, such as ``zip://a.jpg::https://…``.

    Raises:
        SourceUnreachable: temporary: a time-out, a connection error, a busy store.
        SourceUnreadable: permanent: missing, forbidden, not allowed.
        ImageTooLarge: larger than the limits.
    """
    if uri.lower().startswith(("http://", "https://")):
        return fetch(uri, web, limits)
    if _MACHINE.match(uri) and "::" not in uri:
        check_machine(uri, web.machines)
    elif _is_on_the_web(uri):
        raise SourceUnreadable(
            f"{uri} is not opened: web addresses inside other addresses are not allowed. "
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
            raise SourceUnreachable(f"{uri} is unreachable ({why}): try again later.") from error
        raise SourceUnreadable(
            f"{uri} cannot be read ({why}): check that it exists and is readable."
        ) from error


def _is_passing(error: Exception) -> bool:
    """Whether a retry may succeed; by name and status, since importing all clients is slow."""
    kinds = type(error).__mro__
    if any(word in kind.__name__ for kind in kinds for word in ("Connect", "Timeout")):
        return True
    status = getattr(error, "code", None) or getattr(error, "status", None)
    number = error.errno if isinstance(error, OSError) else None
    return may_pass(status) or number in _PASSING


def _read_stored(uri: str, limits: ImageLimits) -> bytes:
    fs, path = url_to_fs(uri)
    check_size(fs.size(path) or 0, limits)
    data: bytes = fs.cat_file(path)
    return data


def _read_file(path: Path, limits: ImageLimits) -> bytes:
    if not stat.S_ISREG(path.stat().st_mode):
        # Reading a pipe or a device may never end.
        raise SourceUnreadable(f"{path} is not a regular file: name an image file.")
    with path.open("rb") as file:
        check_size(os.fstat(file.fileno()).st_size, limits)
        return file.read()
