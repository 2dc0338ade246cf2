"""What a gallery holds: a document a picture, and a note for each picture it refused."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import numpy as np
from jaxtyping import Float32

from descriptors.errors import RequestError
from es_mappings.errors import MalformedDocument

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from es_mappings.filters import Filter

__all__ = [
    "MOST_ID_BYTES",
    "Document",
    "FirstHit",
    "Gallery",
    "IndexedPicture",
    "Known",
    "PictureClass",
    "Ready",
    "Reject",
    "check_document",
    "check_json",
    "check_meta",
    "check_query",
    "check_reject",
    "fits_as_id",
]

# Elasticsearch's own limits; the local gallery keeps to them so that a gallery can move. Objects
# lie 20 levels deep there, of which the document and `meta` are two.
MOST_ID_BYTES = 512
MAX_META_DEPTH = 18
MAX_NUMBER = 10**1000

# White space to Python that is none to Elasticsearch, which refuses names of nothing else.
_NO_BREAK = frozenset("\x85\xa0\u2007\u202f")

# Cosine of a vector with itself may differ from 1 by this much, as Elasticsearch checks it.
UNIT_TOLERANCE = 1e-3


class PictureClass(NamedTuple):
    """One of the best classes of a picture."""

    name: str
    score: float


@dataclass(frozen=True)
class Document:
    """One picture of a gallery.

    Attributes:
        id: the caller's; at most 512 bytes of UTF-8.
        uri: where the picture lies: a path or an fsspec address.
        digest: SHA-256 of its bytes, hexadecimal.
        width, height: of the upright picture, in pixels.
        descriptor: unit vector, float32.
        classes: its best classes, best first; a score is a softmax probability.
        meta: the caller's own fields, JSON values.
        source_tag: what the source said of this version (size, time); "" if unknown.
        revision: a later write of the same id wins only with a revision at least as high.
        indexed_at: ISO 8601 in UTC.
    """

    id: str
    uri: str
    digest: str
    width: int
    height: int
    descriptor: Float32[np.ndarray, " D"]
    classes: Sequence[PictureClass] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)
    source_tag: str = ""
    revision: int = 0
    indexed_at: str = ""


class IndexedPicture(Protocol):
    """What is known of an indexed picture without its vector; a `Document` is one."""

    @property
    def id(self) -> str:
        """See `Document`, as for the others."""
        ...

    @property
    def uri(self) -> str:
        """Where it lies."""
        ...

    @property
    def digest(self) -> str:
        """Of its bytes."""
        ...

    @property
    def width(self) -> int:
        """In pixels."""
        ...

    @property
    def height(self) -> int:
        """In pixels."""
        ...


@dataclass(frozen=True)
class Reject:
    """A picture that could not be indexed, and why.

    Attributes:
        id, uri: as they would have stood in the document.
        kind: short and stable, such as ``unreadable_image``.
        reason: a sentence with the remedy.
        source_tag: of all that it was made of (see `refusal_tag` in indexer/reading.py); "" if
            it is tried again at the next run.
        rejected_at: ISO 8601 in UTC.
        meta: the caller's own fields, so that it can be tried again as it was asked.
    """

    id: str
    uri: str
    kind: str
    reason: str
    source_tag: str = ""
    rejected_at: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class FirstHit:
    """One hit of a kNN search: the document's id and its cosine with the query."""

    id: str
    cosine: float


class Known(NamedTuple):
    """What tells whether a picture must be described again; see `Document`."""

    digest: str
    source_tag: str
    meta: Mapping[str, Any]
    revision: int = 0


class Ready(NamedTuple):
    """A document that its gallery can hold.

    Attributes:
        document: as it was described.
        written: as the gallery sends it; empty where it needs nothing but the document.
    """

    document: Document
    written: bytes = b""


class Gallery(Protocol):
    """Where documents live. One contract suite runs on every implementation.

    Convention:
        Methods that take many ids or documents do it in one step: all or nothing.
        Unknown ids are left out of answers, never an error.
    """

    @property
    def dims(self) -> int:
        """Dimensions of the descriptors."""

    @property
    def fingerprint(self) -> str:
        """Of the method that made the descriptors."""

    @property
    def meta_mapping(self) -> str:
        """Digest of what decides which metadata is held; empty where any JSON is."""

    def put(self, documents: Sequence[Document]) -> None:
        """Write documents; one with an id that is there replaces it. Clears their rejects.

        They are checked first; if one cannot be held, none is written.
        """

    def make_ready(self, documents: Sequence[Document]) -> list[Ready]:
        """Do all of `put` that comes before the writing; another thread may do it ahead."""

    def put_ready(self, ready: Sequence[Ready], rejected: Collection[str] | None = None) -> None:
        """Do the rest of `put`.

        Args:
            ready: of `make_ready`.
            rejected: those ids of which there is a reject, where the caller has just looked.
        """

    def put_rejects(self, rejects: Sequence[Reject]) -> None:
        """Note pictures that were refused; a document of the same id stays as it is."""

    def put_meta(self, ids_to_meta: Mapping[str, Mapping[str, Any]], revision: int = 0) -> None:
        """Replace the metadata of documents whose picture has not changed.

        Their revision becomes this one, unless it is higher already.
        """

    def delete(self, ids: Sequence[str]) -> list[str]:
        """Remove documents and rejects; returns the ids that were there."""

    def get(self, ids: Sequence[str]) -> dict[str, Document]:
        """The documents with these ids."""

    def known(self, ids: Sequence[str]) -> dict[str, Known]:
        """Return what is known of the documents with these ids, without their descriptors."""

    def known_rejects(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the source tags of the rejects with these ids."""

    def known_and_rejects(self, ids: Sequence[str]) -> tuple[dict[str, Known], dict[str, str]]:
        """Return both `known` and `known_rejects` of these ids, asked for together."""

    def documents(self, matching: Filter | None = None) -> Iterator[Document]:
        """All documents in order of their ids, perhaps only those that match a filter."""

    def rejects(self) -> Iterator[Reject]:
        """All rejects in order of their ids."""

    def count(self, matching: Filter | None = None) -> int:
        """Number of documents."""

    def meta_names(self) -> list[str]:
        """Names under which metadata is searched, such as ``meta.city``, in order."""

    def knn(
        self, vector: Float32[np.ndarray, " D"], k: int, matching: Filter | None = None
    ) -> list[FirstHit]:
        """The k documents with the highest cosine, best first; ties in order of their ids.

        Fewer than k only where fewer match the filter.
        """

    def close(self) -> None:
        """Let go of files and connections."""


def check_document(document: Document, dims: int) -> None:
    """Refuse what no gallery can hold.

    Raises:
        MalformedDocument: with what is wrong.
    """
    here = f"Document {document.id!r}"
    if not fits_as_id(document.id):
        raise MalformedDocument(
            f"{here}: an id needs 1 to {MOST_ID_BYTES} bytes of UTF-8: name it in a manifest."
        )
    if document.descriptor.shape != (dims,):
        raise MalformedDocument(
            f"{here}: its descriptor has shape {document.descriptor.shape}, the gallery's {dims} "
            "dimensions: index with the gallery's own settings."
        )
    length = math.sqrt(float(document.descriptor @ document.descriptor))
    if not abs(length - 1) < UNIT_TOLERANCE:
        raise MalformedDocument(f"{here}: its descriptor has length {length:.4f}, it must be 1.")
    if not 0 <= document.revision < 2**63:
        raise MalformedDocument(
            f"{here}: its revision is {document.revision}, it must be from 0 to 2^63 - 1."
        )
    _check_text(here, document.uri, document.digest, document.source_tag)
    check_meta(document.id, document.meta)


def check_meta(id_: str, meta: Mapping[str, Any]) -> None:
    """Refuse metadata that no gallery can hold.

    Convention:
        A dot in a name separates the name of an object from one within it; dots at its end say
        nothing. What Elasticsearch refuses of names and objects, the local gallery refuses too.

    Raises:
        MalformedDocument: it is no JSON; a field has no name, or nothing before one of its dots;
            a field is both a value and an object; objects lie deeper than 18 levels.
    """
    if all(map(_is_plain_name, meta)) and all(map(_is_plain, meta.values())):
        return  # nearly always, and several times faster
    check_json(id_, meta)
    try:
        _check_fields(meta)
    except ValueError as error:
        raise MalformedDocument(f"Document {id_!r}: its metadata has {error}.") from error


def check_json(id_: str, meta: Mapping[str, Any]) -> None:
    """Refuse metadata that is no JSON, or holds text that is no Unicode.

    Raises:
        MalformedDocument: with the reason.
    """
    try:
        # Encoded, since half a surrogate pair is a string to Python and to nobody else.
        json.dumps(meta, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedDocument(
            f"Document {id_!r}: its metadata is no JSON ({error}): use text, numbers, lists and objects."
        ) from error


def _check_fields(meta: Mapping[str, Any]) -> None:
    """Check the names of JSON, and that each field is a value or an object.

    Raises:
        ValueError: with what it has that cannot be held.
    """
    values: set[tuple[str, ...]] = set()
    objects: set[tuple[str, ...]] = set()
    waiting: list[tuple[tuple[str, ...], Any]] = [((), meta)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, Mapping):
            objects.add(path)
            if len(path) > MAX_META_DEPTH:
                raise ValueError(
                    f"objects nested deeper than {MAX_META_DEPTH} levels: flatten them"
                )
            for name, inner in value.items():
                first, rest = _split(path, name)
                waiting.append(((*path, first), {rest: inner} if rest else inner))
        elif isinstance(value, list | tuple):
            waiting.extend((path, inner) for inner in value)
        elif value is not None:
            values.add(path)
            if type(value) is int and abs(value) >= MAX_NUMBER:
                raise ValueError("a number of more than 1,000 digits: write it as text")
    if both := values & objects:
        path = min(both)
        name = ".".join(path)
        inside = [".".join(one) for one in values | objects if one[:-1] == path]
        beside = repr(min(inside)) if inside else "an object"
        raise ValueError(
            f"a field {name!r} beside {beside}: a field cannot hold both a value and further "
            f"fields. Rename {name!r}, for example to '{name}.value'"
        )


def _split(path: tuple[str, ...], name: object) -> tuple[str, str]:
    """A field's name up to its first dot, and what is left.

    Raises:
        ValueError: the first is blank, or the name is no text.
    """
    if isinstance(name, str):
        first, _, rest = name.rstrip(".").partition(".")
        if any(not letter.isspace() or letter in _NO_BREAK for letter in first):
            return first, rest
    raise ValueError(
        f"a field named {'.'.join(map(str, (*path, name)))!r}: give it a name with text between "
        "its dots"
    )


def _is_plain_name(name: object) -> bool:
    """Whether it surely names one field."""
    if not isinstance(name, str):
        return False
    return name.isidentifier() or (name.isascii() and "." not in name and name.strip() != "")


def _is_plain(value: object) -> bool:
    """Whether it is surely JSON."""
    if isinstance(value, str):
        return value.isascii()
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, int) and -MAX_NUMBER < value < MAX_NUMBER)


def check_query(vector: Float32[np.ndarray, " D"], dims: int) -> None:
    """Refuse a vector that has no cosine with the descriptors of a gallery.

    Raises:
        RequestError: it has other dimensions, or no direction.
    """
    if vector.shape != (dims,):
        raise RequestError(
            f"The query vector has shape {vector.shape}, the gallery's descriptors have "
            f"{dims} dimensions: describe the query with the gallery's own settings."
        )
    length = float(np.linalg.norm(vector.astype(np.float64)))
    if not 0 < length < np.inf:
        raise RequestError(
            f"The query vector has length {length}: a search needs a finite one with a direction."
        )


def check_reject(reject: Reject) -> None:
    """Refuse a reject that no gallery can hold.

    Raises:
        MalformedDocument: with what is wrong.
    """
    here = f"Reject {reject.id!r}"
    if not fits_as_id(reject.id):
        raise MalformedDocument(
            f"{here}: an id needs 1 to {MOST_ID_BYTES} bytes of UTF-8: name it in a manifest."
        )
    _check_text(here, reject.uri, reject.kind, reject.reason, reject.source_tag)


def _check_text(here: str, *texts: str) -> None:
    for text in texts:
        if text.isascii():
            continue  # nearly always, and quicker
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise MalformedDocument(
                f"{here}: {text!r} is not Unicode text: remove the lone surrogate."
            ) from error


def fits_as_id(text: str) -> bool:
    """Whether this can be a document's id: 1 to 512 bytes of UTF-8."""
    if text.isascii():
        return 0 < len(text) <= MOST_ID_BYTES
    try:
        return 0 < len(text.encode()) <= MOST_ID_BYTES
    except UnicodeEncodeError:
        return False
