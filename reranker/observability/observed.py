"""Request ids, spans and log lines of the requests that camsearch answers itself."""

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

__all__ = ["NOTE", "ObservedApp", "ObservedVisual", "request_id_of"]

_log = logging.getLogger(__name__)
_searches = logging.getLogger("camsearch.search")

_OPAQUE, _ID = b"x-opaque-id", b"x-request-id"
# Long enough for a prefix and a UUID; no control characters.
_SANE = re.compile(rb"[A-Za-z0-9._:@/+=-]{1,128}")
_CALLERS_FAULT, _SERVERS_FAULT = 400, 500
# The own endpoints that are logged, with their outcome: probes and pages are frequent and cheap.
_LOGGED = {
    "/_camsearch/explain": "explained",
    "/_camsearch/vector": "answered",
    "/_camsearch/rank": "answered",
}


@dataclass
class SearchNote:
    """Collects the fields of one request's log line.

    Attributes:
        request_id: the caller's id, or a new one.
        said: fields of the line; nothing from headers or bodies.
        outcomes: of its searches.
        windows: R of each re-ranked search.
        milliseconds: of each stage, summed over its searches.
        started: seconds of the performance counter.
    """

    request_id: str
    said: dict[str, Any] = field(default_factory=dict)
    outcomes: Counter[str] = field(default_factory=Counter)
    windows: list[int] = field(default_factory=list)
    milliseconds: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    started: float = field(default_factory=time.perf_counter)

    def log(self, **said: Any) -> None:
        """Write the line."""
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


# Tasks started by a request share its note; None outside of requests.
NOTE: ContextVar[SearchNote | None] = ContextVar("search_note", default=None)


def request_id_of(headers: Headers) -> str:
    """The caller's request id if it is short and plain, else a new one."""
    for name in (_ID, _OPAQUE):
        mark = value_of(headers, name)
        if mark is not None and _SANE.fullmatch(mark):
            return mark.decode("ascii")
    return secrets.token_hex(8)


class ObservedVisual:
    """Adds id, span and log line to image searches; turns their errors into answers."""

    def __init__(self, visual: Visual, tracing: Tracing) -> None:
        """Args: visual answers requests; tracing gets a span for each."""
        self._visual, self._tracing = visual, tracing

    async def __call__(self, request: Request) -> Answer | None:
        """The answer with the request's id; None if the request is not an image search."""
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
            # Sentences about a caller's mistake may quote the request, so they are not logged.
            if answer.status >= _SERVERS_FAULT:
                note.said["reason"] = error.reason
            return answer
        except Exception:  # noqa: BLE001  it is logged
            note.said["outcome"] = "failed"
            _log.exception("An image search failed.", extra={"request_id": note.request_id})
            return unexpected()


class ObservedApp:
    """Adds ids to the answers of our own endpoints, and spans and log lines to those that work."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        """Args: app answers requests; tracing gets a span for each that is logged."""
        self._app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        name, answered = scope["path"].rpartition("/")[2], _LOGGED.get(scope["path"])
        note = SearchNote(request_id_of(scope["headers"]), {"endpoint": name})
        status, outcome = 0, None

        async def mark(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                marked = _marked(tuple(message["headers"]), scope["headers"], note)
                message = {**message, "headers": list(marked)}
            await send(message)

        token = NOTE.set(note)
        span = self._tracing.request(name, scope["headers"]) if answered else nullcontext()
        try:
            with span:
                await self._app(scope, receive, mark)
        except CallerGone:
            outcome = "gone"
            _log.debug("The client disconnected before the end of the request.")
        except Exception:  # noqa: BLE001  the app has answered already
            _log.exception("An endpoint failed.")
        finally:
            NOTE.reset(token)
            if answered:
                was = answered if 0 < status < _CALLERS_FAULT else "refused"
                note.log(outcome=outcome or was, status=status)


def _marked(headers: Headers, asked_with: Headers, note: SearchNote) -> Headers:
    """Response headers with ``X-Request-Id`` and the caller's ``X-Opaque-Id``."""
    kept = tuple(pair for pair in headers if pair[0] != _ID)
    marks: Headers = ((_ID, note.request_id.encode("ascii")),)
    opaque = value_of(asked_with, _OPAQUE)
    if opaque is not None and value_of(headers, _OPAQUE) is None:
        marks = (*marks, (_OPAQUE, opaque))
    return (*kept, *marks)
