"""Around our own endpoints: request ids, errors in Elasticsearch's shape, lines in the log."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from descriptors.errors import CamsearchError
from reranker.endpoints.asking import response_of
from reranker.exchange import Answer
from reranker.operations.logs import log_search
from reranker.operations.observed import marked
from reranker.operations.search_notes import NOTE, SearchNote, request_id_of
from reranker.passing.caller import CallerGone
from reranker.passing.refusals import in_shape, refusal, unexpected

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from reranker.operations.tracing import Tracing

__all__ = ["Marked", "answer_errors"]

_log = logging.getLogger(__name__)

_FAULT = 400
# Probes and pages come often and say little; explaining is work.
_LOGGED = "/_camsearch/explain"


def answer_errors(app: FastAPI) -> None:
    """Answer what goes wrong within an application as Elasticsearch would."""

    @app.exception_handler(CamsearchError)
    async def refused(_: Request, error: Exception) -> Response:
        return response_of(refusal(error) if isinstance(error, CamsearchError) else unexpected())

    @app.exception_handler(RequestValidationError)
    async def malformed(_: Request, error: Exception) -> Response:
        return response_of(in_shape(400, "illegal_argument_exception", _said(error)))

    @app.exception_handler(HTTPException)
    async def unknown(request: Request, error: Exception) -> Response:
        status = error.status_code if isinstance(error, HTTPException) else 500
        what = f"[{request.method} {request.url.path[:200]}] is no endpoint of camsearch: see "
        answer = in_shape(status, "illegal_argument_exception", what + "/_camsearch/docs.")
        response = response_of(answer)
        if isinstance(error, HTTPException) and error.headers:
            response.headers.update(error.headers)  # such as Allow
        return response

    @app.exception_handler(Exception)
    async def failed(_: Request, __: Exception) -> Response:
        return response_of(unexpected())


def _said(error: Exception) -> str:
    """The first thing that is wrong, without the value."""
    if not isinstance(error, RequestValidationError):
        return "The request cannot be understood."
    first = error.errors()[0]
    return f"[{first['loc'][-1]}] is wrong: {first['msg']}."


class Marked:
    """An ASGI application whose answers carry the request's id."""

    def __init__(self, app: ASGIApp, tracing: Tracing) -> None:
        """Args: app of our own endpoints; tracing is told."""
        self._app, self._tracing = app, tracing

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        note, started = SearchNote(request_id_of(scope["headers"])), time.perf_counter()
        status = 0

        async def mark(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                told = Answer(status, tuple(message["headers"]), b"")
                headers = marked(told, scope["headers"], note.request_id).headers
                message = {**message, "headers": list(headers)}
            await send(message)

        token = NOTE.set(note)
        try:
            await self._run(scope, receive, mark)
        finally:
            NOTE.reset(token)
            if scope["path"] == _LOGGED:
                outcome = "explained" if 0 < status < _FAULT else "refused"
                said = {"endpoint": "explain", "outcome": outcome, "status": status}
                log_search(note, said, (time.perf_counter() - started) * 1e3)

    async def _run(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            if scope["path"] != _LOGGED:
                await self._app(scope, receive, send)
                return
            with self._tracing.request("explain", scope["headers"]):
                await self._app(scope, receive, send)
        except CallerGone:
            _log.debug("A caller went before the end of the request.")
        except Exception:  # noqa: BLE001  the last door: it ends in the log
            # It has been answered within; its traceback is for the log.
            _log.exception("An endpoint failed.")
