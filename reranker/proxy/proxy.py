"""The outermost ASGI application: routes each request.

    ``/_camsearch/…``       our own endpoints
    an image search         `reranker.search`, which sends requests to Elasticsearch
    everything else         `Upstream.forward`, unchanged

It uses no framework, since a framework's routing costs more than forwarding.
"""

from __future__ import annotations

import asyncio
import gzip
import logging
import time
from typing import TYPE_CHECKING
from urllib.parse import unquote

from descriptors.errors import CamsearchError
from reranker.dialect.parsing import may_name_us, refuse_elsewhere
from reranker.dialect.values import parameters_of
from reranker.http.bodies import (
    is_search,
    plain,
    read_whole,
    wants_looking_into,
)
from reranker.http.caller import Caller, CallerGone
from reranker.http.error_answers import in_shape, refusal, unexpected
from reranker.http.exchange import Answer, Request
from reranker.http.headers import going_up, value_of
from reranker.http.paths import reads
from reranker.settings import RerankerSettings

if TYPE_CHECKING:
    from collections.abc import Callable

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from reranker.http.exchange import Headers, Upstream, Visual

__all__ = ["Proxy", "refused_framing"]

_log = logging.getLogger(__name__)

_OURS = "/_camsearch"
# Compressing smaller answers costs more than it saves.
_WORTH_PACKING = 8 * 1024
# `visual` gets a decompressed body.
_OF_THE_BODY = frozenset({b"content-encoding", b"content-length"})


class Proxy:
    """Routes requests, and turns errors into answers."""

    def __init__(
        self,
        upstream: Upstream,
        own_app: ASGIApp,
        visual: Visual,
        settings: RerankerSettings | None = None,
        count: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Put the parts together.

        Args:
            upstream: answers forwarded requests.
            own_app: answers paths below ``/_camsearch`` and ASGI's lifespan.
            visual: answers image searches.
            settings: the defaults if None.
            count: called with the status of each forwarded request, 0 for no answer.
        """
        self._upstream, self._own_app, self._visual = upstream, own_app, visual
        self._settings, self._count = settings or RerankerSettings(), count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http" or _is_ours(scope["path"]):
            await self._own_app(scope, receive, send)
            return
        sending = _Sending(send)
        try:
            await self._answer(scope, receive, sending)
        except CallerGone:
            _log.debug("The client disconnected before the end of the request.")
        except CamsearchError as error:
            _log.info("%s: %s", type(error).__name__, error.reason)
            await sending.instead(scope, refusal(error))
        except Exception:  # noqa: BLE001  it is logged
            _log.exception("The proxy failed to answer a request.")
            await sending.instead(scope, unexpected())

    async def _answer(self, scope: Scope, receive: Receive, send: _Sending) -> None:
        refused = refused_framing(scope)
        if refused is not None:
            await send.instead(scope, refused)
            return
        path = scope["raw_path"].decode("ascii")
        if self._settings.serve_read_only and not reads(scope["method"], path):
            await send.instead(scope, _not_let_through(scope["method"], unquote(path)))
            return
        body = None
        if wants_looking_into(scope):
            body, answer = await self._looked_into(scope, path, receive)
            if answer is not None:
                await send.instead(scope, answer)
                return
        started = time.perf_counter()
        try:
            await self._upstream.forward(scope, receive, send, body)
        finally:
            self._count(send.status)
            if self._settings.serve_log_requests:
                _log_passed(scope, send.status, time.perf_counter() - started)

    async def _looked_into(
        self, scope: Scope, path: str, receive: Receive
    ) -> tuple[bytes, Answer | None]:
        """The body, not decompressed, and the answer if it is an image search.

        Raises:
            BodyTooLarge: it is larger than the settings allow.
            DialectError: it is an image search, but the endpoint does not support them.
        """
        headers, most = scope["headers"], self._settings.serve_max_body
        body = await read_whole(receive, headers, most)
        if not body:
            # Elasticsearch reads `source` only without a body.
            source = parameters_of(scope["query_string"].decode("ascii")).get("source", "")
            refuse_elsewhere(source.encode(), "source")
            return body, None
        unpacked = await plain(body, headers, most)
        if unpacked is not None and not is_search(path):
            refuse_elsewhere(unpacked, unquote(path)[:200])
            return body, None
        if unpacked is None or not may_name_us(unpacked):
            return body, None
        request = Request(
            scope["method"],
            path,
            scope["query_string"].decode("ascii"),
            going_up(headers, leave_out=_OF_THE_BODY),
            unpacked,
            (scope.get("client") or ("",))[0],
        )
        async with Caller(receive, body).watched():
            return body, await self._visual(request)


class _Sending:
    """ASGI's `send`, which records the status of the answer."""

    __slots__ = ("_send", "status")

    def __init__(self, send: Send) -> None:
        self._send, self.status = send, 0

    async def __call__(self, message: Message) -> None:
        if not self.status:
            self.status = message["status"]
        await self._send(message)

    async def instead(self, scope: Scope, answer: Answer) -> None:
        """Send our own answer, unless another has begun, which is then left incomplete."""
        if self.status:
            return
        headers, body = await _packed(answer, scope["headers"])
        length = (b"content-length", str(len(body)).encode())
        start = {
            "type": "http.response.start",
            "status": answer.status,
            "headers": [*headers, length],
        }
        await self(start)
        await self({"type": "http.response.body", "body": body})


def _log_passed(scope: Scope, status: int, took_s: float) -> None:
    """Log a forwarded request, without its query string, which may contain search terms."""
    _log.info(
        "passed through",
        extra={
            "method": scope["method"],
            "path": scope["path"][:256],
            "status": status,
            "took_ms": round(took_s * 1e3, 1),
        },
    )


async def _packed(answer: Answer, asked_with: Headers) -> tuple[Headers, bytes]:
    """Headers and body, compressed if the caller accepts gzip and the body is large."""
    left_out = {b"content-length", b"content-encoding", b"transfer-encoding"}
    headers = tuple(pair for pair in answer.headers if pair[0] not in left_out)
    if value_of(headers, b"x-elastic-product") is None:
        headers = ((b"x-elastic-product", b"Elasticsearch"), *headers)
    if len(answer.body) < _WORTH_PACKING or not _takes_gzip(asked_with):
        return headers, answer.body
    body = await asyncio.to_thread(gzip.compress, answer.body, 1)
    return (*headers, (b"content-encoding", b"gzip")), body


def _takes_gzip(headers: Headers) -> bool:
    """Whether ``Accept-Encoding`` lists gzip with a weight other than 0."""
    listed = b",".join(value for name, value in headers if name == b"accept-encoding")
    for choice in listed.lower().split(b","):
        name, _, weight = choice.replace(b" ", b"").partition(b";")
        if name in {b"gzip", b"x-gzip"}:
            return weight not in {b"q=0", b"q=0.0", b"q=0.00", b"q=0.000"}
    return False


def _is_ours(path: str) -> bool:
    return path.startswith(_OURS) and (len(path) == len(_OURS) or path[len(_OURS)] == "/")


def _not_let_through(method: str, path: str) -> Answer:
    return in_shape(
        403,
        "security_exception",
        f"camsearch was started read-only, and [{method} {path[:200]}] may write. Send it to "
        "Elasticsearch directly.",
    )


def refused_framing(scope: Scope) -> Answer | None:
    """The error answer to a request with malformed framing; None if it is well-formed.

    Convention:
        uvicorn refuses most of these itself; they are checked again so that security does not
        depend on the server.
    """
    if scope["method"] == "CONNECT":
        return in_shape(405, "illegal_argument_exception", "CONNECT is not supported.")
    headers: Headers = scope["headers"]
    expected = value_of(headers, b"expect")
    if expected is not None and expected.lower() != b"100-continue":
        return in_shape(
            417, "illegal_argument_exception", "The only supported Expect is 100-continue."
        )
    wrong = _wrong_start(scope) or _wrong_length(headers, scope["http_version"])
    return in_shape(400, "illegal_argument_exception", wrong) if wrong else None


def _wrong_start(scope: Scope) -> str | None:
    if not scope["raw_path"].startswith(b"/"):
        return "The target of a request must be a path that begins with a slash."
    if scope["http_version"] not in {"1.0", "1.1"}:
        return "Only HTTP/1.0 and HTTP/1.1 are supported."
    return None


def _wrong_length(headers: Headers, version: str) -> str | None:
    lengths = [value for name, value in headers if name == b"content-length"]
    codings = [value for name, value in headers if name == b"transfer-encoding"]
    if len(lengths) + len(codings) > 1:
        return "A request must have one Content-Length or one Transfer-Encoding, not both."
    if lengths and not lengths[0].isdigit():
        return "Content-Length must be a number."
    if codings and (version == "1.0" or codings[0].lower() != b"chunked"):
        return "The only supported Transfer-Encoding is chunked, in HTTP/1.1."
    return None
