"""A gallery in a folder in Elasticsearch's place."""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import orjson

from descriptors.errors import CamsearchError
from es_mappings.local import LocalGallery
from reranker.dialect.filter_path import filtered
from reranker.http.caller import Caller, CallerGone
from reranker.http.exchange import Answer, Headers, Request
from reranker.http.headers import value_of
from reranker.local_elasticsearch.endpoints import Call, Reply
from reranker.local_elasticsearch.media_types import answer_type
from reranker.local_elasticsearch.parameters import Parameters
from reranker.local_elasticsearch.paths import endpoint_of
from reranker.local_elasticsearch.refusals import Refused, error_body, in_our_words, missing, plain

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = ["LocalUpstream"]

_JSON = "application/json"
_TOO_LARGE = 413
_MOST_BODY_BYTES = 100 * 1024 * 1024
_EITHER_ZLIB_OR_GZIP = 47


class LocalUpstream:
    """Implements `reranker.http.exchange.Upstream` with a gallery in a folder.

    Answers `_search` with `knn` or a filter, `_msearch`, `_count`, `_doc/{id}`, `_mget` and what
    clients ask of a cluster; all else is refused with 501 and what is missing.
    """

    def __init__(
        self,
        gallery: LocalGallery,
        index_name: str = "images",
        *,
        most_body_bytes: int = _MOST_BODY_BYTES,
    ) -> None:
        """Serve a gallery.

        Args:
            gallery: stays the caller's to close.
            index_name: under which it is the cluster's only index.
            most_body_bytes: of a request, after it is unpacked; Elasticsearch's own limit.
        """
        self._gallery, self._index = gallery, index_name
        self._most_body_bytes = most_body_bytes

    async def close(self) -> None:
        """Nothing to end: the gallery is the caller's."""

    async def ask(self, request: Request) -> Answer:
        """The answer to a request; what is refused is an answer too."""
        # SQLite and the product with all vectors block, so all of it happens in a thread.
        return await asyncio.to_thread(self._answer, request)

    async def forward(self, scope: Scope, receive: Receive, send: Send, body: bytes | None) -> None:
        """Answer an ASGI request.

        Args:
            scope, receive, send: of the request.
            body: what has been read of it already, all of it, as it came; None if nothing has.
        """
        headers = tuple(scope["headers"])
        try:
            packed = await self._read(receive, body)
            request = _request(scope, headers, self._unpacked(packed, headers))
        except CallerGone:
            return
        except Refused as refused:
            answer = _refusal(refused, headers)
        else:
            answer = await self.ask(request)
        # The length is that of the answer to GET, as HTTP has it.
        shown = b"" if scope["method"] == "HEAD" else answer.body
        start = {
            "type": "http.response.start",
            "status": answer.status,
            "headers": (*answer.headers, (b"content-length", str(len(answer.body)).encode())),
        }
        await send(start)
        await send({"type": "http.response.body", "body": shown})

    def _answer(self, request: Request) -> Answer:
        content_type = _JSON
        try:
            content_type = answer_type(request.headers, has_body=bool(request.body))
            endpoint, names = endpoint_of(request.method, request.path)
            parameters = Parameters(request.query)
            reply = endpoint(Call(self._gallery, self._index, names, parameters, request.body))
            body = _written(_asked_for(reply, parameters), pretty=parameters.pretty)
        except CamsearchError as error:
            return _refusal(in_our_words(error), request.headers, content_type)
        except RecursionError:
            return _refusal(_too_deep(), request.headers, content_type)
        return Answer(reply.status, _headers(request.headers, content_type), body)

    async def _read(self, receive: Receive, body: bytes | None) -> bytes:
        """The whole body.

        Raises:
            CallerGone: it will not come any more.
            Refused: it is too large.
        """
        whole = await Caller(receive, body).body((), 0)
        if whole is None or isinstance(whole, bytes):
            return whole or b""
        pieces, held = [], 0
        async for piece in whole:
            held += len(piece)
            if held > self._most_body_bytes:
                raise self._too_large()
            pieces.append(piece)
        return b"".join(pieces)

    def _unpacked(self, body: bytes, headers: Headers) -> bytes:
        """The body without its compression.

        Raises:
            Refused: it is packed in a way we do not read, damaged, or too large.
        """
        encoding = (value_of(headers, b"content-encoding") or b"").decode("latin-1").strip().lower()
        if len(body) > self._most_body_bytes:
            raise self._too_large()
        if not body or encoding in {"", "identity"}:
            return body
        if encoding not in {"gzip", "deflate"}:
            raise missing(f"The content encoding [{encoding}]")
        unpacker = zlib.decompressobj(_EITHER_ZLIB_OR_GZIP)
        try:
            unpacked = unpacker.decompress(body, self._most_body_bytes + 1)
        except zlib.error as error:
            raise Refused(f"The body is no {encoding} ({error}): pack it again.") from error
        if len(unpacked) > self._most_body_bytes:
            raise self._too_large()
        if not unpacker.eof:
            raise Refused(f"The body breaks off within its {encoding}: send it whole.")
        return unpacked

    def _too_large(self) -> Refused:
        return plain(
            f"The body has more than {self._most_body_bytes} bytes: send less at once.", _TOO_LARGE
        )


def _asked_for(reply: Reply, parameters: Parameters) -> Any:
    """The parts of an answer that `filter_path` names; errors are answered whole."""
    if not parameters.filter_path:
        return reply.body
    if isinstance(reply.body, list):  # of `_cat`
        return [filtered(row, parameters.filter_path) for row in reply.body]
    return filtered(reply.body, parameters.filter_path)


def _too_deep() -> Refused:
    return missing("Metadata or a request nested so deep")


def _request(scope: Scope, headers: Headers, body: bytes) -> Request:
    # Servers may leave the path as it was sent out; decoded it is always there.
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    query = scope.get("query_string", b"").decode("latin-1")
    return Request(scope["method"], raw.decode("latin-1"), query, headers, body)


def _refusal(refused: Refused, asked_with: Headers, content_type: str = _JSON) -> Answer:
    headers = (*_headers(asked_with, content_type), *refused.headers)
    return Answer(refused.status, headers, _written(error_body(refused), pretty=False))


def _headers(asked_with: Headers, content_type: str) -> Headers:
    """Those of every answer; the caller's own mark comes back."""
    found = [(b"x-elastic-product", b"Elasticsearch"), (b"content-type", content_type.encode())]
    mark = value_of(asked_with, b"x-opaque-id")
    return tuple(found if mark is None else [(b"x-opaque-id", mark), *found])


def _written(body: Any, *, pretty: bool) -> bytes:
    options = orjson.OPT_SERIALIZE_NUMPY | (orjson.OPT_INDENT_2 if pretty else 0)
    try:
        return orjson.dumps(body, option=options)
    except orjson.JSONEncodeError:
        # Metadata may hold integers of any size and be nested deeper than orjson goes.
        return json.dumps(body, default=lambda array: array.tolist(), ensure_ascii=False).encode()
