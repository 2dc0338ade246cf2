"""Validation of documents, rejects and queries, by Elasticsearch's limits for every gallery."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float32

from descriptors.errors import RequestError
from galleries.errors import MalformedDocument

if TYPE_CHECKING:
    from galleries.documents import Document, Reject, Windows

__all__ = [
    "MAX_ID_BYTES",
    "check_document",
    "check_json",
    "check_meta",
    "check_query",
    "check_reject",
    "fits_as_id",
    "is_unicode",
]

# Elasticsearch's limits, also for local galleries, so that they can move to Elasticsearch. It
# allows 20 levels of objects, of which the document and `meta` are two.
MAX_ID_BYTES = 512
MAX_META_DEPTH = 18
MAX_NUMBER = 10**1000

# White space in Python but not in Elasticsearch, which refuses blank names.
_NO_BREAK = frozenset("\x85\xa0\u2007\u202f")

# Tolerance of Elasticsearch for the length of a unit vector.
UNIT_TOLERANCE = 1e-3


def check_document(document: Document, dims: int) -> None:
    """Raise MalformedDocument for a document that no gallery can store."""
    here = f"Document {document.id!r}"
    _check_text(here, document.id, document.uri, document.digest, document.source_tag)
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
    if document.windows is not None:
        _check_windows(here, document.windows, dims)
    check_meta(document.id, document.meta)


def _check_windows(here: str, windows: Windows, dims: int) -> None:
    count, dims_of_windows = windows.vectors.shape
    if count == 0 or dims_of_windows != dims:
        raise MalformedDocument(
            f"{here}: it has {count} windows of {dims_of_windows} dimensions, it needs at least "
            f"one, of the gallery's {dims}: index with the gallery's own settings."
        )
    if not windows.vectors.any(axis=1).all():
        raise MalformedDocument(f"{here}: one of its windows is zero: leave that window out.")


def check_meta(id_: str, meta: Mapping[str, Any]) -> None:
    """Refuse metadata that no gallery can store.

    Convention:
        A dot in a name separates the name of an object from one within it; trailing dots are
        ignored. Local galleries refuse the same names and objects as Elasticsearch.

    Raises:
        MalformedDocument: it is not JSON; a name or a part of it between dots is blank; a field
            is both a value and an object, or is written twice, with and without a dot; objects are
            nested deeper than 18 levels.
    """
    if all(map(_is_plain_name, meta)) and all(map(_is_plain, meta.values())):
        return  # the usual case, several times faster
    check_json(id_, meta)
    try:
        _check_fields(meta)
    except ValueError as error:
        raise MalformedDocument(f"Document {id_!r}: its metadata has {error}.") from error


def check_json(id_: str, meta: Mapping[str, Any]) -> None:
    """Raise MalformedDocument for metadata that is not JSON, or has text that is not Unicode."""
    try:
        # Encoded to find lone surrogates, which Python allows in a string.
        json.dumps(meta, allow_nan=False, ensure_ascii=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise MalformedDocument(
            f"Document {id_!r}: its metadata is not JSON ({error}): use text, numbers, lists and "
            "objects."
        ) from error


def _check_fields(meta: Mapping[str, Any]) -> None:
    """Check names, and that each field is either a value or an object, written in one way.

    Raises:
        ValueError: what the metadata has that cannot be stored.
    """
    values: dict[tuple[str, ...], str] = {}  # how each is written
    objects: set[tuple[str, ...]] = set()
    waiting: list[tuple[tuple[str, ...], str, Any]] = [((), "", meta)]
    while waiting:
        path, written, value = waiting.pop()
        if isinstance(value, Mapping):
            objects.add(path)
            if len(path) > MAX_META_DEPTH:
                raise ValueError(
                    f"objects nested deeper than {MAX_META_DEPTH} levels: flatten them"
                )
            for name, inner in value.items():
                first, rest = _split(path, name)
                below = {rest: inner} if rest else inner
                waiting.append(((*path, first), f"{written}/{name}", below))
        elif isinstance(value, list | tuple):
            waiting.extend((path, written, inner) for inner in value)
        elif value is not None:
            if values.setdefault(path, written) != written:
                raise ValueError(
                    f"the field {'.'.join(path)!r} twice, written with and without a dot: keep one"
                )
            if type(value) is int and abs(value) >= MAX_NUMBER:
                raise ValueError("a number of more than 1,000 digits: write it as text")
    if both := values.keys() & objects:
        path = min(both)
        name = ".".join(path)
        inside = [".".join(one) for one in values.keys() | objects if one[:-1] == path]
        beside = repr(min(inside)) if inside else "an object"
        raise ValueError(
            f"a field {name!r} beside {beside}: a field cannot hold both a value and further "
            f"fields. Rename {name!r}, for example to '{name}.value'"
        )


def _split(path: tuple[str, ...], name: object) -> tuple[str, str]:
    """A field's name up to its first dot, and the rest.

    Raises:
        ValueError: the first part is blank, or the name is not text.
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
    """Whether the name needs no further check."""
    if not isinstance(name, str):
        return False
    return name.isidentifier() or (name.isascii() and "." not in name and name.strip() != "")


def _is_plain(value: object) -> bool:
    """Whether the value needs no further check."""
    if isinstance(value, str):
        return value.isascii()
    if isinstance(value, float):
        return math.isfinite(value)
    return value is None or (isinstance(value, int) and -MAX_NUMBER < value < MAX_NUMBER)


def check_query(vector: Float32[np.ndarray, " D"], dims: int) -> None:
    """Raise RequestError for a vector with other dimensions, or without a direction."""
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
    """Raise MalformedDocument for a reject that no gallery can store."""
    texts = (reject.uri, reject.kind, reject.reason, reject.source_tag)
    _check_text(f"Reject {reject.id!r}", reject.id, *texts)


def _check_text(here: str, id_: str, *texts: str) -> None:
    if not fits_as_id(id_):
        raise MalformedDocument(
            f"{here}: an id needs 1 to {MAX_ID_BYTES} bytes of UTF-8: name it in a manifest."
        )
    for text in texts:
        if not is_unicode(text):
            raise MalformedDocument(
                f"{here}: {text!r} is not Unicode text: remove the lone surrogate."
            )


def fits_as_id(text: str) -> bool:
    """Whether a text can be a document's id: 1 to 512 bytes of UTF-8."""
    return is_unicode(text) and 0 < len(text.encode()) <= MAX_ID_BYTES


def is_unicode(text: str) -> bool:
    """Whether a text has no lone surrogates, which occur in undecodable file names."""
    if text.isascii():
        return True  # the usual case, faster
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
