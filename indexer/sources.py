"""Which pictures there are, and their bytes: folders, manifests, fsspec addresses."""

from __future__ import annotations

import csv
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fsspec.core import url_to_fs

from descriptors.errors import CamsearchError, ImageTooLarge, RequestError
from es_mappings.documents import MOST_ID_BYTES, fits_as_id

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from descriptors.images import ImageLimits

__all__ = ["PICTURE_SUFFIXES", "MalformedRow", "Source", "SourceUnreadable", "find_pictures"]
__all__ += ["read_manifest", "read_source", "source_tag"]

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
        The id is the absolute path (its SHA-256 if it has more than 512 bytes), so the same picture has the same id from whichever
        folder it is indexed. Within folders hidden entries are passed over, and what
        counts as a picture is said by the suffix; a file named by itself is always taken.

    Raises:
        RequestError: for a path that does not exist.
    """
    for path in paths:
        if path.is_dir():
            for folder, inner, names in os.walk(path):
                inner[:] = sorted(name for name in inner if not name.startswith("."))
                for name in sorted(names):
                    suffix = os.path.splitext(name)[1].lower()
                    if suffix in PICTURE_SUFFIXES and not name.startswith("."):
                        yield _of_path(Path(folder, name))
        elif path.exists():
            yield _of_path(path)
        else:
            raise RequestError(f"There is no file or folder {path}: check its path.")


def _of_path(path: Path) -> Source:
    absolute = os.path.abspath(path)
    try:
        size = len(absolute.encode())
    except UnicodeEncodeError:
        legible = os.fsencode(absolute).decode(errors="replace")
        problem = SourceUnreadable(
            f"The name of {legible} is not UTF-8, so nothing can be said of it: rename the file."
        )
        return Source(_id_of_long(absolute), legible, problem=problem)
    return Source(absolute if size <= MOST_ID_BYTES else _id_of_long(absolute), absolute)


def _id_of_long(path: str) -> str:
    """An id for a path that is too long for one, or no text."""
    return f"sha256-{hashlib.sha256(os.fsencode(path)).hexdigest()}"


def read_manifest(path: Path) -> Iterator[Source]:
    """The pictures that a CSV or JSONL manifest names.

    Each row has ``path`` (or ``uri``), perhaps ``id`` (else the path is the id); all
    further columns become metadata. Relative paths count from the manifest's folder.

    Convention:
        CSV knows only text: a cell that reads exactly like a number becomes one
        (``12``, ``-3.5``; not ``007``), an empty cell becomes nothing.

    Returns:
        Sources; a row that names no picture, or an id for the second time, comes with
        its `problem`, so that it ends as a reject and is not lost.

    Raises:
        RequestError: if the manifest is missing or has no column for the path.
    """
    if not path.is_file():
        raise RequestError(f"There is no manifest {path}: check its path.")
    rows = _csv_rows(path) if path.suffix.lower() in (".csv", ".tsv") else _jsonl_rows(path)
    seen: set[str] = set()
    for line, row in rows:
        source = _of_row(row, path, line)
        if source.problem is None and source.id in seen:
            source = _malformed(path, line, f"its id {source.id!r} stands in an earlier row too")
        seen.add(source.id)
        yield source


def _csv_rows(path: Path) -> Iterator[tuple[int, object]]:
    delimiter = "\t" if path.suffix.lower() == ".tsv" else ","
    with path.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter, restkey="")
        if not {"path", "uri"} & set(reader.fieldnames or ()):
            raise RequestError(
                f"The manifest {path} has no column 'path' or 'uri': name one in its first line."
            )
        for row in reader:
            yield (
                reader.line_num,
                {k: _number_or_text(v) for k, v in row.items() if v not in ("", None)},
            )


def _number_or_text(text: str) -> str | int | float:
    for kind in (int, float):
        try:
            number: int | float = kind(text)
        except ValueError:
            continue
        if str(number) == text and text not in ("inf", "-inf", "nan"):
            return number
    return text


def _jsonl_rows(path: Path) -> Iterator[tuple[int, object]]:
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if line.strip():
                try:
                    yield number, json.loads(line)
                except ValueError:
                    yield number, None


def _of_row(row: object, path: Path, line: int) -> Source:
    if not isinstance(row, dict):
        return _malformed(path, line, "it is no JSON object")
    name = str(row.get("id", ""))
    if "id" in row and not fits_as_id(name):
        return _malformed(path, line, f"its id must have 1 to {MOST_ID_BYTES} bytes of UTF-8")
    meta = {str(k): v for k, v in row.items() if k not in ("id", "path", "uri")}
    where = row.get("uri") or row.get("path")
    if not isinstance(where, str | int):
        return _malformed(path, line, "it has no 'path' or 'uri'")
    uri = str(where)
    if "://" not in uri:
        uri = os.path.abspath(path.parent / uri)
    return Source(name or (uri if fits_as_id(uri) else _id_of_long(uri)), uri, meta)


def _malformed(path: Path, line: int, why: str) -> Source:
    place = f"{path.name}:{line}"
    problem = MalformedRow(f"Line {line} of {path} names no picture, since {why}: mend that line.")
    return Source(f"{os.path.abspath(path)}:{line}", place, problem=problem)


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
        fs, path = url_to_fs(uri)
        return str(fs.ukey(path))
    except (OSError, ImportError, ValueError, NotImplementedError):
        return ""


def read_source(uri: str, limits: ImageLimits) -> bytes:
    """The bytes of a picture.

    Args:
        uri: a path, or an address of any fsspec file system whose package is installed.
        limits: a larger file is refused by its size, before it is read.

    Raises:
        SourceUnreadable: if they cannot be had.
        ImageTooLarge: by its size.
    """
    if uri.startswith(("http://", "https://")):
        raise SourceUnreadable(
            f"{uri} is not opened: pictures are not fetched from the web. Download it first."
        )
    try:
        if "://" not in uri:
            return _read_file(Path(uri), limits)
        fs, path = url_to_fs(uri)
        _check_size(fs.size(path) or 0, limits)
        data: bytes = fs.cat_file(path)
    except (OSError, ImportError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise SourceUnreadable(
            f"{uri} cannot be read ({why}): check that it is there and readable."
        ) from error
    return data


def _read_file(path: Path, limits: ImageLimits) -> bytes:
    with path.open("rb") as file:
        _check_size(os.fstat(file.fileno()).st_size, limits)
        return file.read()


def _check_size(size: int, limits: ImageLimits) -> None:
    if size > limits.most_bytes:
        raise ImageTooLarge(
            f"The file has {size:,} bytes, more than the {limits.most_bytes:,} allowed: "
            "store it smaller, or raise the limit."
        )
