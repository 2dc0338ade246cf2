"""Searches by pictures, each with its request id, its line in the log and its span."""

from __future__ import annotations

import asyncio
import logging
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from descriptors.errors import CamsearchError
from reranker.operations.logs import log_search
from reranker.operations.search_notes import NOTE, SearchNote, request_id_of
from reranker.operations.tracing import Tracing
from reranker.passing.hop_headers import value_of
from reranker.passing.reading_paths import words_of
from reranker.passing.refusals import refusal, unexpected

if TYPE_CHECKING:
    from reranker.exchange import Answer, Headers, Request
    from reranker.passing.proxy import Visual

__all__ = ["ObservedVisual", "marked"]

_log = logging.getLogger(__name__)

_OPAQUE, _ID = b"x-opaque-id", b"x-request-id"
_SERVERS_FAULT = 500


class ObservedVisual:
    """Implements `reranker.passing.proxy.Visual` around another, whose errors become answers here."""

    def __init__(self, visual: Visual, tracing: Tracing) -> None:
        """Args: visual answers; tracing is told."""
        self._visual, self._tracing = visual, tracing

    async def __call__(self, request: Request) -> Answer | None:
        """The answer with the request's id; None if the body does not name us after all."""
        note, started = SearchNote(request_id_of(request.headers)), time.perf_counter()
        said = _about(request)
        token = NOTE.set(note)
        try:
            with self._tracing.request(said["endpoint"], request.headers):
                answer = await self._answer(request, said)
        except asyncio.CancelledError:
            said["outcome"] = "gone"
            log_search(note, said, _since(started))
            raise
        finally:
            NOTE.reset(token)
        if answer is None:
            return None
        log_search(note, said | {"status": answer.status}, _since(started))
        return marked(answer, request.headers, note.request_id)

    async def _answer(self, request: Request, said: dict[str, Any]) -> Answer | None:
        try:
            return await self._visual(request)
        except CamsearchError as error:
            answer, said["error"] = refusal(error), type(error).__name__
            # What a caller did wrong may quote what the caller sent, which is no affair of a log.
            if answer.status >= _SERVERS_FAULT:
                said["reason"] = error.reason
            return answer
        except Exception:  # noqa: BLE001  the last door: it ends in the log
            said["outcome"] = "failed"
            _log.exception("A search by pictures failed.", extra={"request_id": _id()})
            return unexpected()


def marked(answer: Answer, asked_with: Headers, request_id: str) -> Answer:
    """An answer of ours with the marks that its caller knows it by."""
    marks: Headers = ((_ID, request_id.encode("ascii")),)
    opaque = value_of(asked_with, _OPAQUE)
    if opaque is not None and value_of(answer.headers, _OPAQUE) is None:
        marks = (*marks, (_OPAQUE, opaque))
    kept = tuple(pair for pair in answer.headers if pair[0] != _ID)
    return replace(answer, headers=(*kept, *marks))


def _about(request: Request) -> dict[str, Any]:
    words = words_of(request.path)
    index = unquote(words[0]) if len(words) > 1 else "_all"
    return {"endpoint": words[-1], "index": index[:256]}


def _id() -> str:
    note = NOTE.get()
    return "" if note is None else note.request_id


def _since(started: float) -> float:
    return (time.perf_counter() - started) * 1e3
