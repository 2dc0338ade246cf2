"""Elasticsearch as the upstream: sends searches and forwards requests."""

from __future__ import annotations

import asyncio
import logging
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

from descriptors.errors import RequestError, SettingsError
from es_mappings.elastic_client import distrust, tls_context
from reranker.errors import UpstreamUnreachable
from reranker.http.bodies import is_damaged
from reranker.http.caller import Caller, CallerGone
from reranker.http.exchange import Answer, Request
from reranker.http.headers import coming_back, going_up, value_of
from reranker.http.paths import reads
from reranker.proxy.connection import BrokenOff, Connection
from reranker.proxy.connections import Connections

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from starlette.types import Receive, Scope, Send

    from reranker.http.exchange import Headers

    _Body = bytes | AsyncIterator[bytes] | None

__all__ = ["ElasticsearchUpstream", "UpstreamSettings"]

_log = logging.getLogger(__name__)

# Smaller bodies are sent in one piece, which is faster and allows a retry.
_SMALL = 1024 * 1024
# Bytes of an answer to collect before the first are sent.
_AT_ONCE = 256 * 1024
# Bodies of `ask` are not compressed.
_NOT_ASKED_WITH = frozenset({b"accept-encoding", b"content-encoding", b"content-length"})
_NOT_ANSWERED_WITH = frozenset({b"content-encoding", b"content-length"})
_PORTS = {"http": 80, "https": 443}
# Characters that would end the request line or a header early.
_CUTS = re.compile(rb"[\x00-\x20\x7f]")
_CUTS_HEADER = re.compile(rb"[\x00\r\n]")


@dataclass(frozen=True)
class UpstreamSettings:
    """Address and timeouts of Elasticsearch.

    Attributes:
        url: of a node or load balancer; its path is prepended to every path.
        connect_s: seconds to connect.
        ask_s: seconds for the whole answer to a request of `ask`.
        forward_s: seconds between two bytes of a forwarded request; long, since callers may wait
            for merges and snapshots, and disconnect otherwise.
        ca_file: CA certificates for https; None for the system's.
    """

    url: str = "http://localhost:9200"
    connect_s: float = 5.0
    ask_s: float = 30.0
    forward_s: float = 3600.0
    ca_file: str | None = None


class ElasticsearchUpstream:
    """Implements `reranker.http.exchange.Upstream` with its callers' credentials."""

    def __init__(self, settings: UpstreamSettings) -> None:
        """Do not connect yet.

        Raises:
            SettingsError: the URL or `ca_file` is not valid.
        """
        self._settings = settings
        address = _checked(settings.url)
        self._prefix, self._host = address.path.rstrip("/").encode("ascii"), address.netloc.encode()
        self._connections = Connections(
            address.hostname or "",
            address.port or _PORTS[address.scheme],
            tls_context(settings.ca_file) if address.scheme == "https" else None,
            settings.connect_s,
        )

    async def close(self) -> None:
        """Close all connections."""
        self._connections.close()

    async def ask(self, request: Request) -> Answer:
        """Send a request and read the whole answer.

        Raises:
            UpstreamUnreachable: there is no answer, or not in time.
        """
        sent = replace(request, headers=going_up(request.headers, _NOT_ASKED_WITH))
        pieces = []
        try:
            async with (
                asyncio.timeout(self._settings.ask_s),
                self._exchange(sent, request.body or None) as answer,
            ):
                while not answer.complete:
                    pieces.append(await answer.piece())
                pieces.append(await answer.piece())
        except (BrokenOff, TimeoutError) as error:
            raise self._unreachable(error) from error
        return Answer(
            answer.status, coming_back(answer.headers, _NOT_ANSWERED_WITH), b"".join(pieces)
        )

    async def forward(self, scope: Scope, receive: Receive, send: Send, body: bytes | None) -> None:
        """Forward an ASGI request; see `reranker.http.exchange.Upstream`.

        Raises:
            UpstreamUnreachable: there is no answer; nothing has been sent to the caller.
            RequestError: the same, because the body is damaged.

        Convention:
            If the caller disconnects, so does the proxy from Elasticsearch. If Elasticsearch
            disconnects within an answer, the answer is left incomplete and the server closes the
            connection.
        """
        caller = Caller(receive, body)
        try:
            async with caller.watched():
                sent = Request(
                    scope["method"],
                    scope["raw_path"].decode("ascii"),
                    scope["query_string"].decode("ascii"),
                    going_up(scope["headers"]),
                )
                read = await caller.body(scope["headers"], _SMALL)
                await self._forward(sent, read, caller, send)
        except CallerGone:
            _log.debug("The client disconnected before the answer.")

    async def _forward(self, sent: Request, body: _Body, caller: Caller, send: Send) -> None:
        try:
            async with self._exchange(sent, body) as answer:
                first = await _beginning(answer)
                start = {
                    "type": "http.response.start",
                    "status": answer.status,
                    "headers": coming_back(answer.headers),
                }
                if not answer.complete:
                    await send(start)
                    await _stream(first, answer, caller, send)
                    return
        except BrokenOff as error:
            await _check_is_no_fault_of(sent, body)
            raise self._unreachable(error) from error
        caller.answered = True
        await send(start)
        await send({"type": "http.response.body", "body": first})

    @asynccontextmanager
    async def _exchange(self, sent: Request, body: _Body) -> AsyncIterator[Connection]:
        """Send a request; yield a connection that has read the head of its answer.

        Raises:
            BrokenOff: there is no answer.

        Convention:
            A reused connection may turn out to be closed. The request is then retried once on a
            new one, if it only reads and its body is buffered.
        """
        connection = await self._connections.take()
        try:
            try:
                await self._start(connection, sent, body)
            except BrokenOff:
                if not (connection.used and _may_go_again(sent, body)):
                    raise
                self._connections.put_back(connection)
                connection = await self._connections.new()
                await self._start(connection, sent, body)
            yield connection
        finally:
            self._connections.put_back(connection)

    async def _start(self, connection: Connection, sent: Request, body: _Body) -> None:
        chunked = False
        headers = sent.headers
        if value_of(headers, b"content-length") is None:
            if isinstance(body, bytes):
                headers = (*headers, (b"content-length", b"%d" % len(body)))
            elif body is not None:
                chunked = True
                headers = (*headers, (b"transfer-encoding", b"chunked"))
        await connection.exchange(
            sent.method.encode("ascii"),
            self._start_of(sent, headers),
            body,
            chunked=chunked,
            patience_s=self._settings.forward_s,
        )

    def _start_of(self, sent: Request, headers: Headers) -> bytes:
        """Request line and headers.

        Raises:
            RequestError: a control character would end one of them early.
        """
        target = self._prefix + sent.path.encode("ascii")
        if sent.query:
            target += b"?" + sent.query.encode("ascii")
        if _CUTS.search(target) or any(_CUTS_HEADER.search(value) for _, value in headers):
            raise RequestError("A path or a header contains a control character: encode it.")
        fields = b"".join([b"%b: %b\r\n" % pair for pair in headers])
        line = b"%b %b HTTP/1.1\r\nhost: %b\r\n" % (sent.method.encode("ascii"), target, self._host)
        return line + fields + b"\r\n"

    def _unreachable(self, error: Exception) -> UpstreamUnreachable:
        """An error that does not quote the request."""
        if refused := distrust(error):
            return UpstreamUnreachable(f"Elasticsearch at {self._settings.url} {refused}")
        why = str(error) if isinstance(error, BrokenOff) else "It took too long."
        return UpstreamUnreachable(
            f"Elasticsearch at {self._settings.url} does not answer. {why} "
            "Check that it is running, then try again."
        )


async def _beginning(answer: Connection) -> bytes:
    """The whole body if it is short, else its beginning.

    Convention:
        Elasticsearch sends even short answers in three segments; sending them on as one is a
        large part of the proxy's speed. Event streams are not collected.
    """
    if answer.complete:
        return await answer.piece()
    kind = value_of(answer.headers, b"content-type") or b""
    most = 1 if kind.startswith(b"text/event-stream") else _AT_ONCE
    pieces, size = [], 0
    while size < most and not answer.complete:
        pieces.append(await answer.piece())
        size += len(pieces[-1])
    if answer.complete:
        pieces.append(await answer.piece())
    return b"".join(pieces)


async def _stream(piece: bytes, answer: Connection, caller: Caller, send: Send) -> None:
    """Send the rest of an answer piece by piece, until it ends or breaks off."""
    while not answer.complete:
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        try:
            piece = await answer.piece()
        except BrokenOff as error:
            _log.warning("Elasticsearch disconnected within an answer. %s", error)
            return
    piece += await answer.piece()
    caller.answered = True
    await send({"type": "http.response.body", "body": piece})


async def _check_is_no_fault_of(sent: Request, body: _Body) -> None:
    """Check whether Elasticsearch closed the connection because it cannot decompress the body.

    Raises:
        RequestError: the body is buffered, and damaged.
    """
    if isinstance(body, bytes) and await is_damaged(body, sent.headers):
        packed = (value_of(sent.headers, b"content-encoding") or b"").decode("latin-1")
        raise RequestError(
            f"The body does not match [Content-Encoding: {packed[:20]}], and Elasticsearch closed "
            "the connection: compress it again, or send it uncompressed."
        )


def _may_go_again(sent: Request, body: _Body) -> bool:
    return isinstance(body, bytes | None) and reads(sent.method, sent.path)


def _checked(address: str) -> SplitResult:
    try:
        url = urlsplit(address)
        fits = url.scheme in _PORTS and url.hostname and not url.query and url.port != 0
    except ValueError:
        fits = False
    if not fits:
        raise SettingsError(
            f"{address!r} is not a valid Elasticsearch URL: give one like http://localhost:9200."
        )
    if "@" in url.netloc:
        raise SettingsError(
            "The URL of Elasticsearch must not contain a user or password: the proxy uses the "
            "credentials of its callers."
        )
    return url
