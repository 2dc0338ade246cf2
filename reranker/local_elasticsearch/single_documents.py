"""Documents by their ids: `_doc/{id}` and `_mget`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from es_mappings.documents import Document
from reranker.local_elasticsearch.parameters import Parameters
from reranker.local_elasticsearch.refusals import (
    Refused,
    bad_request,
    missing,
    no_such_index,
)
from reranker.local_elasticsearch.source_view import SourceView, source_view

if TYPE_CHECKING:
    from es_mappings.local import LocalGallery

__all__ = ["check_is_index", "found_or_not", "many"]

_WITHOUT_EFFECT = frozenset({"routing"})


@dataclass(frozen=True)
class _Wanted:
    index: str
    id: str
    source: SourceView


def check_is_index(name: str, index: str) -> None:
    """Make sure that a name is the index's own: here a pattern is none.

    Raises:
        Refused: it is not.
    """
    if name != index:
        raise no_such_index(name)


def found_or_not(
    id_: str, document: Document | None, index: str, view: SourceView
) -> dict[str, Any]:
    """One document, as it is answered."""
    if document is None:
        return {"_index": index, "_id": id_, "found": False}
    head = {"_index": index, "_id": id_, "_version": document.revision, "found": True}
    return head | {"_source": view.of(document)} if view.shown else head


def many(
    gallery: LocalGallery,
    index: str,
    of_path: str | None,
    body: Mapping[str, Any],
    parameters: Parameters,
) -> dict[str, Any]:
    """The answer to `_mget`.

    Args:
        gallery: of the documents.
        index: its name.
        of_path: the index in the path; None if there is none.
        body: with ``docs`` or ``ids``.
        parameters: say what is shown of a document that does not say it.

    Raises:
        Refused: it cannot be read, or asks for what is missing here.
    """
    view = source_view(None, parameters)
    wanted = _wanted(body, of_path, view)
    if not wanted:
        raise _invalid("no documents to get")
    there = gallery.get([one.id for one in wanted if one.index == index])
    return {"docs": [_one(one, there, index) for one in wanted]}


def _one(wanted: _Wanted, there: Mapping[str, Document], index: str) -> dict[str, Any]:
    try:
        check_is_index(wanted.index, index)
    except Refused as refused:
        return {"_index": wanted.index, "_id": wanted.id, "error": refused.error}
    return found_or_not(wanted.id, there.get(wanted.id), index, wanted.source)


def _wanted(body: Mapping[str, Any], of_path: str | None, view: SourceView) -> list[_Wanted]:
    found: list[_Wanted] = []
    for key, listed in body.items():
        if key not in {"docs", "ids"} or not isinstance(listed, list):
            raise bad_request(
                "parsing_exception", f"unknown key [{key}], expected a list of [docs] or [ids]"
            )
        for place, one in enumerate(listed):
            said = {"_id": one} if key == "ids" else one
            found.append(_read_wanted(said, place, of_path, view))
    return found


def _read_wanted(said: object, place: int, of_path: str | None, view: SourceView) -> _Wanted:
    if not isinstance(said, Mapping):
        raise bad_request("parsing_exception", "[docs] must hold objects.")
    for key in said:
        if key == "stored_fields":
            raise missing("[stored_fields] of a document")
        if key not in {"_id", "_index", "_source"} | _WITHOUT_EFFECT:
            raise bad_request(
                "parse_exception", f"failed to parse multi get request. unknown field [{key}]"
            )
    index, id_ = said.get("_index", of_path), said.get("_id")
    if not isinstance(index, str):
        raise _invalid(f"index is missing for doc {place}")
    if not isinstance(id_, str | int) or isinstance(id_, bool):
        raise _invalid(f"id is missing for doc {place}")
    own = view if said.get("_source") is None else source_view(said["_source"], Parameters(""))
    return _Wanted(index, str(id_), own)


def _invalid(why: str) -> Refused:
    return bad_request("action_request_validation_exception", f"Validation Failed: 1: {why};")
