"""Serve a gallery in a folder through the part of Elasticsearch's API that image search needs."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Mapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import orjson

from descriptors.errors import CamsearchError, RequestError
from es_mappings.indices import IndexPlan
from galleries.errors import GalleryNotFound
from galleries.filters import parse_filter
from galleries.local import LocalGallery
from reranker.dialect.answers import filtered
from reranker.dialect.msearch import check_end, pairs_of, read_header
from reranker.dialect.values import fits, parameters_of, written_json
from reranker.errors import DialectError
from reranker.folder_search import (
    ONE_SHARD,
    PARAMETERS,
    Parameters,
    View,
    check_served,
    not_served,
    search_folder,
)
from reranker.http.bodies import plain, read_whole
from reranker.http.caller import CallerGone
from reranker.http.error_answers import refusal
from reranker.http.exchange import Answer, Headers, Request
from reranker.http.headers import value_of
from reranker.http.paths import words_of

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

__all__ = ["LocalUpstream"]

_MAX_BODY_BYTES = 100 * 1024 * 1024  # Elasticsearch's
_ALL = "_all"
_DOCUMENT = "_doc/{id}"
_METHODS = {
    "/": ("GET", "HEAD"),
    _DOCUMENT: ("GET", "HEAD"),
    "_mapping": ("GET",),
    "_search": ("GET", "POST"),
    "_msearch": ("GET", "POST"),
    "_count": ("GET", "POST"),
}
# Official clients accept this media type, and expect it back.
_VENDOR_TYPE = re.compile(rb"(application/vnd\.elasticsearch\+json)\s*;\s*(compatible-with=[89])\b")
# Clients check the version; this is the Elasticsearch that the contract tests compare with.
_ABOUT = {
    "name": "camsearch",
    "cluster_name": "camsearch",
    "version": {
        "number": "9.5.3",
        "build_flavor": "default",
        "build_type": "camsearch",
        "build_hash": "local",
        "build_date": "2026-09-01T00:00:00.000Z",
        "build_snapshot": False,
        "lucene_version": "10.5.1",
        "minimum_wire_compatibility_version": "8.19.0",
        "minimum_index_compatibility_version": "8.0.0",
    },
    "tagline": "You Know, for Search",
}


class LocalUpstream:
    """Implements `reranker.http.exchange.Upstream` with a gallery in a folder.

    Answers `_search`, `_msearch`, `_count`, `_doc/{id}`, `_mapping` and `GET /`; everything else
    is answered 501.
    """

    def __init__(
        self,
        gallery: LocalGallery,
        index_name: str = "images",
        *,
        max_body_bytes: int = _MAX_BODY_BYTES,
    ) -> None:
        """Serve a gallery.

        Args:
            gallery: closed by the caller.
            index_name: name of the only index.
            max_body_bytes: of a request, decompressed.
        """
        self._gallery, self._index = gallery, index_name
        self._max_body_bytes = max_body_bytes

    async def close(self) -> None:
        """Do nothing: the caller closes the gallery."""

    async def ask(self, request: Request) -> Answer:
        """Answer a request; errors become answers."""
        # SQLite and the search over all vectors block, so they run in a thread.
        return await asyncio.to_thread(self.answer, request)

    async def forward(self, scope: Scope, receive: Receive, send: Send, body: bytes | None) -> None:
        """Answer an ASGI request; see `reranker.http.exchange.Upstream`."""
        try:
            answer = await self.ask(await _read(scope, receive, body, self._max_body_bytes))
        except CallerGone:
            return
        except RequestError as error:
            answer = refusal(error)
        # For HEAD, the length of the answer to GET (RFC 9110 section 8.6).
        headers = (*answer.headers, (b"content-length", str(len(answer.body)).encode()))
        start = {"type": "http.response.start", "status": answer.status, "headers": headers}
        await send(start)
        shown = b"" if scope["method"] == "HEAD" else answer.body
        await send({"type": "http.response.body", "body": shown})

    def answer(self, request: Request) -> Answer:
        """As `ask`, but blocking."""
        parameters = parameters_of(request.query)
        try:
            status, said = self._reply(request, parameters)
            said = filtered(said, parameters.get("filter_path", ""))
            body = written_json(said, pretty=parameters.get("pretty", "false") != "false")
            answer = Answer(status, (), body)
        except CamsearchError as error:
            answer = refusal(error)
        return Answer(answer.status, _headers(request.headers), answer.body)

    def _reply(self, request: Request, parameters: Parameters) -> tuple[int, dict[str, Any]]:
        endpoint, names, document_id = _taken_apart(request)
        check_served(parameters, PARAMETERS, "the query string")
        if endpoint == "/":
            return HTTPStatus.OK, _ABOUT | {"cluster_uuid": self._gallery.fingerprint[:22]}
        if endpoint == "_msearch":
            return HTTPStatus.OK, self._search_many(request, names)
        self._check_index(names)
        if endpoint == "_mapping":
            return HTTPStatus.OK, {self._index: {"mappings": _mapping(self._gallery)}}
        if endpoint == _DOCUMENT:
            return self._document(document_id, parameters)
        body = _object_of(request.body)
        if endpoint == "_search":
            return HTTPStatus.OK, search_folder(self._gallery, self._index, body, parameters)
        check_served(body, {"query"}, "a count")
        matching = parse_filter(body["query"]) if "query" in body else None
        return HTTPStatus.OK, {"count": self._gallery.count(matching), "_shards": ONE_SHARD}

    def _check_index(self, names: str) -> None:
        for name in names.split(","):
            if name != _ALL and not fits(name, self._index):
                raise GalleryNotFound(
                    f"no such index [{name}]: the only index of a gallery in a folder is "
                    f"[{self._index}]."
                )

    def _search_many(self, request: Request, names: str) -> dict[str, Any]:
        started = time.perf_counter()
        check_end(request.body)
        pairs = pairs_of(request.body)
        responses = [self._one_of_many(*pair, request.query, names) for pair in pairs]
        return {"took": int((time.perf_counter() - started) * 1e3), "responses": responses}

    def _one_of_many(self, header: bytes, body: bytes, query: str, names: str) -> dict[str, Any]:
        try:
            index, query = read_header(header, query, names)
            self._check_index(index)
            found = search_folder(
                self._gallery, self._index, _object_of(body), parameters_of(query)
            )
        except CamsearchError as error:
            found = orjson.loads(refusal(error).body)
        return {"status": HTTPStatus.OK, **found}

    def _document(self, document_id: str, parameters: Parameters) -> tuple[int, dict[str, Any]]:
        view = View.asked({}, parameters)
        head = {"_index": self._index, "_id": document_id}
        document = self._gallery.get([document_id]).get(document_id)
        if document is None:
            return HTTPStatus.NOT_FOUND, head | {"found": False}
        about = {"_version": document.revision, "found": True}
        return HTTPStatus.OK, head | about | view.of(document)


def _mapping(gallery: LocalGallery) -> Any:
    """The mapping that Elasticsearch would have, with the method's settings in `_meta`."""
    about = {**gallery.settings, "fingerprint": gallery.fingerprint, "dims": gallery.dims}
    # Search is exact, as in a flat index.
    return IndexPlan(graph="flat", replicas=0).body(about, gallery.dims)["mappings"]


def _taken_apart(request: Request) -> tuple[str, str, str]:
    """Endpoint, index names and document id of a request.

    Raises:
        NotServed: the endpoint or its method is not supported.
    """
    names, document_id = _ALL, ""
    match words_of(request.path):
        case ():
            endpoint = "/"
        case (endpoint,):
            pass
        case (names, endpoint):
            pass
        case (names, "_doc", document_id):
            endpoint = _DOCUMENT
        case _:
            endpoint = ""
    if request.method not in _METHODS.get(endpoint, ()):
        raise not_served(f"{request.method} {request.path}")
    return endpoint, unquote(names), unquote(document_id)


def _headers(asked_with: Headers) -> Headers:
    """Response headers; ``X-Opaque-Id`` is returned."""
    accepted = _VENDOR_TYPE.search((value_of(asked_with, b"accept") or b"").lower())
    kind = b";".join(accepted.groups()) if accepted else b"application/json"
    headers = ((b"x-elastic-product", b"Elasticsearch"), (b"content-type", kind))
    mark = value_of(asked_with, b"x-opaque-id")
    return headers if mark is None else (*headers, (b"x-opaque-id", mark))


def _object_of(body: bytes) -> Mapping[str, Any]:
    """Parse a body as a JSON object; an empty body is an empty object.

    Raises:
        DialectError: it is not valid JSON, or not an object.
    """
    try:
        value = orjson.loads(body) if body.strip() else {}
    except orjson.JSONDecodeError as error:
        raise DialectError(f"The body is not valid JSON ({error}): send an object.") from error
    if not isinstance(value, dict):
        raise DialectError("The body must be an object.")
    # Typed clients send null for absent keys.
    return {key: one for key, one in value.items() if one is not None}


async def _read(scope: Scope, receive: Receive, body: bytes | None, most: int) -> Request:
    """Read the whole request and decompress its body.

    Raises:
        BodyTooLarge, DialectError: its body is too large, or cannot be decompressed.
        CallerGone: the client has disconnected.
    """
    headers: Headers = tuple(scope["headers"])
    whole = await read_whole(receive, headers, most) if body is None else body
    unpacked = await plain(whole, headers, most)
    if unpacked is None:
        raise DialectError(
            "The body does not match its Content-Encoding, or is truncated: send all of it."
        )
    # ASGI servers may omit raw_path.
    raw = scope.get("raw_path") or quote(scope["path"]).encode()
    query = scope.get("query_string", b"").decode("latin-1")
    return Request(scope["method"], raw.decode("latin-1"), query, headers, unpacked)
