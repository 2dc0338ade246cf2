"""An application that waits for Elasticsearch and switches to the method of its index."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import orjson
from fastapi.responses import JSONResponse

from reranker.app import make_app
from reranker.endpoints.asking import response_of
from reranker.errors import UpstreamUnreachable
from reranker.http.error_answers import in_shape
from reranker.http.exchange import encoded_index
from reranker.search.indices import ACCESS_DENIED, abouts_of, mapping_request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from fastapi import Response
    from starlette.types import Receive, Scope, Send

    from reranker.http.exchange import Answer, Upstream
    from reranker.service import Service

    About = Mapping[str, Any] | None

__all__ = ["Following"]

_log = logging.getLogger(__name__)

# Statuses of an Elasticsearch, or of a load balancer before it, that is still starting.
_NOT_YET = frozenset({429, 502, 503, 504})
_BETWEEN_S = 1.0
# Seconds between two reads of the index's method.
_LOOK_EVERY_S = 10.0
_LIVE, _READY = "/_camsearch/health/live", "/_camsearch/health/ready"


@dataclass
class _InUse:
    """A service, the method metadata it was made from, and its number of running requests."""

    service: Service
    about: About
    requests: int = 0

    def __post_init__(self) -> None:
        self.app = make_app(self.service)


class Following:
    """An ASGI application that follows the method of an index.

    Convention:
        Until Elasticsearch answers, requests are answered 503 with the reason; then they wait for
        the first service. When the method changes, running requests finish with the old service,
        which is closed after the last of them.

    Attributes:
        failure: why the first service could not be made.
        on_begin: called once the first service is made or has failed.
    """

    def __init__(
        self,
        upstream: Upstream,
        index: str,
        made: Callable[[About], Service],
        *,
        follows: bool = True,
    ) -> None:
        """Send no request yet.

        Args:
            upstream: has the index; closed with the application.
            index: whose method is used.
            made: makes a service from an index's method metadata; None for the packaged method.
            follows: whether to check for changes.
        """
        self._upstream, self._index, self._made, self._follows = upstream, index, made, follows
        self._now: _InUse | None = None
        self._said, self._last = "Elasticsearch has not been asked yet.", ""
        self._is_loading, self._begun = False, asyncio.Event()
        self.failure: Exception | None = None
        self.on_begin: Callable[[], None] = lambda: None

    @property
    def service(self) -> Service | None:
        """The service that takes the next request."""
        return None if self._now is None else self._now.service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or run the server's lifespan."""
        if scope["type"] == "lifespan":
            await self._live(receive, send)
            return
        if self._is_loading and scope["path"] != _LIVE:
            await self._begun.wait()
        now = self._now
        if now is None:
            await _not_yet(scope["path"], self._said)(scope, receive, send)
            return
        now.requests += 1
        try:
            await now.app(scope, receive, send)
        finally:
            now.requests -= 1
            await self._close_if_unused(now)

    async def begin(self) -> None:
        """Wait for Elasticsearch, then make the first service."""
        try:
            about = await self._first_about()
            self._is_loading = True
            self._now = _InUse(await asyncio.to_thread(self._made, about), about)
        except Exception as error:  # noqa: BLE001  the server raises it
            self.failure = error
        self._is_loading = False
        self._begun.set()
        self.on_begin()

    async def look(self) -> None:
        """Read the index's method once, and switch to it if it has changed."""
        before = self._now
        if before is None:
            raise RuntimeError("There is no service yet: call begin first.")
        try:
            answer = await self._ask()
            self._follows = answer.status not in ACCESS_DENIED
            found = _abouts(answer)
            if not found or before.about in found:
                return
            service = await asyncio.to_thread(self._made, found[0])
        except Exception as error:  # noqa: BLE001  the current service continues
            if str(error) != self._last:
                self._last = str(error)
                _log.warning("The method of [%s] cannot be loaded: %s", self._index, error)
            return
        self._now, self._last = _InUse(service, found[0]), ""
        _log.info("Switched to the method of [%s].", self._index)
        await self._close_if_unused(before)

    def close(self) -> None:
        """Close the last service."""
        if self._now is not None:
            self._now.service.close()

    async def _live(self, receive: Receive, send: Send) -> None:
        await receive()
        following = asyncio.create_task(self._follow())
        await send({"type": "lifespan.startup.complete"})
        await receive()
        following.cancel()
        await self._upstream.close()
        await send({"type": "lifespan.shutdown.complete"})

    async def _follow(self) -> None:
        await self.begin()
        while self._follows and self.failure is None:
            await asyncio.sleep(_LOOK_EVERY_S)
            await self.look()

    async def _first_about(self) -> About:
        """The index's method metadata; None if the index does not exist or access is denied."""
        while True:
            try:
                answer = await self._ask()
                if answer.status not in _NOT_YET:
                    break
                why = f"Elasticsearch answers with status {answer.status}: it may be starting."
            except UpstreamUnreachable as error:
                why = error.reason
            if why != self._said:
                self._said = why
                _log.warning("%s Retrying until it answers.", why)
            await asyncio.sleep(_BETWEEN_S)
        if answer.status != HTTPStatus.OK:
            _log.warning(
                "Elasticsearch answered %d for the mapping of [%s]: using the packaged method, or "
                "the one given by options, until the index has another.",
                answer.status,
                self._index,
            )
        return next(iter(_abouts(answer)), None)

    async def _ask(self) -> Answer:
        return await self._upstream.ask(mapping_request(encoded_index(self._index)))

    async def _close_if_unused(self, one: _InUse) -> None:
        if one is not self._now and not one.requests:
            await asyncio.to_thread(one.service.close)


def _abouts(answer: Answer) -> list[Mapping[str, Any]]:
    if answer.status != HTTPStatus.OK:
        return []
    return [*abouts_of(orjson.loads(answer.body)).values()]


def _not_yet(path: str, why: str) -> Response:
    """The answer while there is no service."""
    if path == _LIVE:
        return JSONResponse({"status": "live"})
    if path == _READY:
        check = {"name": "elasticsearch", "passed": False, "said": why}
        unknown = dict.fromkeys(("fingerprint", "weights", "whitening"), "")
        said = {"status": "not ready", "checks": [check], **unknown}
        return JSONResponse(said, HTTPStatus.SERVICE_UNAVAILABLE)
    refused = in_shape(HTTPStatus.SERVICE_UNAVAILABLE, "connect_transport_exception", why)
    response = response_of(refused)
    response.headers["retry-after"] = "1"
    return response
