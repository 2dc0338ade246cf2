"""Refusals in Elasticsearch's words: what it would refuse itself, and what only it can answer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from descriptors.errors import CamsearchError, RequestError
from es_mappings.errors import ContractError, GalleryBusy, UnsupportedFilter

__all__ = [
    "Refused",
    "bad_request",
    "error_body",
    "in_our_words",
    "missing",
    "no_such_index",
    "plain",
    "shards_failed",
    "writing",
]

_BAD_REQUEST = 400
_NOT_FOUND = 404
_FAILED = 500
_NOT_IMPLEMENTED = 501
_UNAVAILABLE = 503

# Elasticsearch's own name for what a server cannot do.
_UNSUPPORTED = "unsupported_operation_exception"


class Refused(RequestError):
    """The answer is an error, in Elasticsearch's shape.

    Attributes:
        status: of HTTP.
        error: what stands under ``error``: an object, or a sentence where Elasticsearch has one.
        headers: further ones of the answer.
    """

    def __init__(
        self,
        reason: str,
        status: int = _BAD_REQUEST,
        error: Mapping[str, Any] | str = "",
        headers: tuple[tuple[bytes, bytes], ...] = (),
    ) -> None:
        """Keep all; positional, so that the error survives pickling."""
        super().__init__(reason, status, error, headers)
        self.status, self.error, self.headers = status, error or reason, headers


def error_body(refused: Refused) -> dict[str, Any]:
    """The body of the answer."""
    return {"error": refused.error, "status": refused.status}


def bad_request(kind: str, reason: str) -> Refused:
    """What Elasticsearch cannot read either."""
    return _of(kind, reason, _BAD_REQUEST)


def missing(what: str) -> Refused:
    """What Elasticsearch would answer and a gallery in a folder does not.

    Args:
        what: is missing, as the sentence's subject.
    """
    reason = (
        f"{what} is not answered without Elasticsearch: leave it out, or move the gallery into "
        "an Elasticsearch."
    )
    return _of(_UNSUPPORTED, reason, _NOT_IMPLEMENTED)


def writing(method: str, path: str) -> Refused:
    """A request that would change the gallery."""
    reason = (
        f"{method} {path} would write, which a gallery in a folder does not take over HTTP: "
        "use `camsearch index`."
    )
    return _of(_UNSUPPORTED, reason, _NOT_IMPLEMENTED)


def no_such_index(name: str) -> Refused:
    """An index that is not there."""
    return _of(
        "index_not_found_exception",
        f"no such index [{name}]",
        _NOT_FOUND,
        {
            "resource.type": "index_or_alias",
            "resource.id": name,
            "index_uuid": "_na_",
            "index": name,
        },
    )


def plain(sentence: str, status: int, headers: tuple[tuple[bytes, bytes], ...] = ()) -> Refused:
    """One of the few errors that are a sentence alone."""
    return Refused(sentence, status, sentence, headers)


def shards_failed(kind: str, reason: str, index: str) -> Refused:
    """A search that can be read but not be done on this index."""
    cause = {"type": kind, "reason": reason, "index": index}
    error = {
        "root_cause": [cause],
        "type": "search_phase_execution_exception",
        "reason": "all shards failed",
        "phase": "query",
        "grouped": True,
        "failed_shards": [{"shard": 0, "index": index, "reason": cause}],
    }
    return Refused(reason, _BAD_REQUEST, error)


def in_our_words(error: CamsearchError) -> Refused:
    """Any error of ours as a refusal."""
    if isinstance(error, Refused):
        return error
    if isinstance(error, UnsupportedFilter):
        return _of(_UNSUPPORTED, error.reason, _NOT_IMPLEMENTED)
    if isinstance(error, RequestError):
        return bad_request("illegal_argument_exception", error.reason)
    if isinstance(error, GalleryBusy):
        return _of("gallery_busy_exception", error.reason, _UNAVAILABLE)
    kind = "gallery_exception" if isinstance(error, ContractError) else "exception"
    return _of(kind, error.reason, _FAILED)


def _of(kind: str, reason: str, status: int, more: Mapping[str, Any] | None = None) -> Refused:
    cause = {"type": kind, "reason": reason, **(more or {})}
    return Refused(reason, status, {"root_cause": [cause], **cause})
