"""Requests of ours, each with its id, its span and its line in the log."""

from __future__ import annotations

import asyncio
import logging
import re
import secrets
import time
from collections import Counter, defaultdict
from contextlib import nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from descriptors.errors import CamsearchError
from reranker.http.caller import CallerGone
from reranker.http.error_answers import refusal, unexpected
from reranker.http.exchange import Answer
from reranker.http.headers import value_of
from reranker.http.paths import index_of, words_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from reranker.http.exchange import Headers, Request, Visual
    from reranker.observability.tracing import Tracing

__all__ = ["NOTE", "ObservedApp", "ObservedVisual", "SearchNote", "request_id_of"]

_log = logging.getLogger(__name__)
_searches = logging.getLogger("camsearch.search")

_OPAQUE, _ID = b"x-opaque-id", b"x-request-id"
# Long enough for a UUID and a name before it; no letter that means something to a terminal.
_SANE = re.compile(rb"[A-Za-z0-9._:@/+=-]{1,128}")
_CALLERS_FAULT, _SERVERS_FAULT = 400, 500
# Of our own endpoints: probes and pages come often and say little; explaining is work.
_LOGGED = "/_camsearch/explain"


@dataclass
class SearchNote:
    """What is noted of one request of ours while it is answered, for its line in the log.

    Attributes:
        request_id: the caller's mark of it, or our own.
        said: fields of the line; nothing of headers or bodies.
        outcomes: how its searches ended.
        windows: R of each search that was re-ranked.
        milliseconds: of each stage, of all its searches together.
        started: in seconds of the performance counter.
    """

    request_id: str
    said: dict[str, Any] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    windows: list[int] = field(default_factory=list)
    milliseconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    started: float = field(default_factory=time.perf_counter)

    def log(self, **said: Any) -> None:
        """Write the line, now that the request is answered."""
        outcomes = dict(self.outcomes)
        fields: dict[str, Any] = {
            "request_id": self.request_id,
            "outcome": next(iter(outcomes)) if len(outcomes) == 1 else "several",
            **self.said,
            **said,
            "took_ms": round((time.perf_counter() - self.started) * 1e3, 1),
            "stages_ms": {name: round(ms, 1) for name, ms in self.milliseconds.items()},
        }
        if sum(outcomes.values()) > 1:
            fields["outcomes"] = outcomes
        if self.windows:
            fields["window"] = max(self.windows)
        _searches.info("search", extra=fields)


# Tasks that a request starts see the same note; None outside of requests.
NOTE: ContextVar[SearchNote | None] = ContextVar("search_note", default=None)


def request_id_of(headers: Headers) -> str:
    """The caller's own mark of a request where it is short and plain, else a new one."""
    for name in (_ID, _OPAQUE):
        mark = value_of(headers, name)
        if mark is not None and _SANE.fullmatch(mark):
            return mark.decode("ascii")
    return secrets.token_hex(8)


class ObservedVisual:
    """Searches by images, whose errors become answers here."""

    def __init__(self, visual: Visual, tracing: Tracing) -> None:
        """Args: visual answers; tracing is told."""
        self._visual, self._tracing = visual, tracing

    async def __call__(self, request: Request) -> Answer | None:
        """The answer with the request's id; None if the body does not name us after all."""
        endpoint, index = words_of(request.path)[-1], index_of(request.path) or "_all"
        said = {"endpoint": endpoint, "index": index[:256]}
        note = SearchNote(request_id_of(request.headers), said)
        token = NOTE.set(note)
        try:
            with self._tracing.request(endpoint, request.headers):
                answer = await self._answer(request, note)
        except asyncio.CancelledError:
            note.log(outcome="gone")
            raise
        finally:
            NOTE.reset(token)
        if answer is None:
            return None
        note.log(status=answer.status)
        return replace(answer, headers=_marked(answer.headers, request.headers, note))

    async def _answer(self, request: Request, note: SearchNote) -> Answer | None:
        try:
            return await self._visual(request)
        except CamsearchError as error:
            answer, note.said["error"] = refusal(error), type(error).__name__
            # What a caller did wrong may quote what the caller sent, which is no affair of a log.
            if answer.status >= _SERVERS_FAULT:
                note.said["reason"] = error.reason
            return answer
        except Exception:  # noqa: BLE001  the last door: it ends in the log
            note.said["outcome"] = "failed"
            _log.exception("A search by images failed.", extra={"request_id": note.request_id})
            return unexpected()


class ObservedApp:
    """Our own endpoints, whose answers carry the request's id."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        """Args: app answers; tracing is told."""
        self._app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        note = SearchNote(request_id_of(scope["headers"]), {"endpoint": "explain"})
        is_logged = scope["path"] == _LOGGED
        status = 0

        async def mark(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                marked = _marked(tuple(message["headers"]), scope["headers"], note)
                message = {**message, "headers": list(marked)}
            await send(message)

        token = NOTE.set(note)
        span = self._tracing.request("explain", scope["headers"]) if is_logged else nullcontext()
        try:
            with span:
                await self._app(scope, receive, mark)
        except CallerGone:
            _log.debug("A caller went before the end of the request.")
        except Exception:  # noqa: BLE001  the last door: it ends in the log
            # It has been answered within; its traceback is for the log.
            _log.exception("An endpoint failed.")
        finally:
            NOTE.reset(token)
            if is_logged:
                explained = 0 < status < _CALLERS_FAULT
                note.log(outcome="explained" if explained else "refused", status=status)


def _marked(headers: Headers, asked_with: Headers, note: SearchNote) -> Headers:
    """The headers of an answer with the marks that its caller knows it by."""
    kept = tuple(pair for pair in headers if pair[0] != _ID)
    marks: Headers = ((_ID, note.request_id.encode("ascii")),)
    opaque = value_of(asked_with, _OPAQUE)
    if opaque is not None and value_of(headers, _OPAQUE) is None:
        marks = (*marks, (_OPAQUE, opaque))
    return (*kept, *marks)
