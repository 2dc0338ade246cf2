"""Readiness: whether image searches can be answered."""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import TYPE_CHECKING

import orjson
from pydantic import BaseModel

from descriptors.errors import CamsearchError
from reranker.http.exchange import Answer, encoded_index
from reranker.search.indices import ACCESS_DENIED, abouts_of, mapping_request

if TYPE_CHECKING:
    from galleries.features import FeatureStore
    from reranker.http.exchange import Ask

__all__ = ["Check", "Readiness"]

# Seconds that a check may take, and that its result is cached for further probes.
_PATIENCE_S = 2.0
_BELIEVED_S = 1.0


class Check(BaseModel):
    """The result of a check."""

    name: str
    passed: bool
    said: str


class Readiness:
    """Checks Elasticsearch, without credentials, and the storage of kept maps."""

    def __init__(
        self, ask: Ask, index: str, fingerprint: str, features: FeatureStore | None
    ) -> None:
        """Args: index and fingerprint of the gallery; features is None if no maps are kept."""
        self._ask, self._index = ask, index
        self._fingerprint, self._features = fingerprint, features
        self._last: tuple[float, tuple[Check, ...]] = (float("-inf"), ())
        self._running: asyncio.Task[tuple[Check, ...]] | None = None
        # A separate thread, since a network share may hang.
        self._prober = ThreadPoolExecutor(1, "ready")

    async def checks(self) -> tuple[Check, ...]:
        """Results at most one second old, within two seconds."""
        at, found = self._last
        if time.monotonic() - at < _BELIEVED_S:
            return found
        if self._running is None:
            self._running = asyncio.create_task(self._check())
            self._running.add_done_callback(self._remember)
        # Shielded, since other probes wait for the same task.
        return await asyncio.shield(self._running)

    def _remember(self, done: asyncio.Task[tuple[Check, ...]]) -> None:
        self._running = None
        if not done.cancelled() and done.exception() is None:
            self._last = time.monotonic(), done.result()

    async def _check(self) -> tuple[Check, ...]:
        return tuple(await asyncio.gather(self._index_fits(), self._maps_are_there()))

    async def _index_fits(self) -> Check:
        name = "elasticsearch"
        try:
            async with asyncio.timeout(_PATIENCE_S):
                answer = await self._ask(mapping_request(encoded_index(self._index)))
        except TimeoutError:
            return _failed(name, f"Elasticsearch does not answer within {_PATIENCE_S:.0f} s.")
        except CamsearchError as error:
            return _failed(name, error.reason)
        if answer.status in ACCESS_DENIED:
            return _passed(name, f"[{self._index}] was not checked: it requires authentication.")
        if answer.status == HTTPStatus.NOT_FOUND:
            return _failed(
                "index",
                f"There is no index [{self._index}]: make it with `camsearch gallery create`, or "
                "name another.",
            )
        if answer.status != HTTPStatus.OK:
            return _failed(name, f"Elasticsearch answers with status {answer.status}.")
        return self._compared(answer)

    def _compared(self, answer: Answer) -> Check:
        try:
            found = abouts_of(orjson.loads(answer.body))
        except orjson.JSONDecodeError:
            return _failed("elasticsearch", "The server is not an Elasticsearch.")
        if not found:
            return _failed("index", f"[{self._index}] was not made by camsearch.")
        for name, about in found.items():
            if about["fingerprint"] != self._fingerprint:
                return _failed(
                    "index",
                    f"The vectors of [{name}] were made by another method "
                    f"({about['fingerprint'][:16]}): the server switches to it within seconds, "
                    "unless its options name another; see its log.",
                )
        return _passed("index", f"[{', '.join(found)}] was made by this method.")

    async def _maps_are_there(self) -> Check:
        if self._features is None:
            return _passed("maps", "None are kept: images are read and encoded again.")
        try:
            async with asyncio.timeout(_PATIENCE_S):
                loop = asyncio.get_running_loop()
                reachable = await loop.run_in_executor(self._prober, self._features.is_reachable)
        except TimeoutError:
            return _failed("maps", f"Their storage does not answer within {_PATIENCE_S:.0f} s.")
        if not reachable:
            return _failed("maps", "Their storage is not available: mount it again.")
        return _passed("maps", "Their storage is available.")


def _passed(name: str, said: str) -> Check:
    return Check(name=name, passed=True, said=said)


def _failed(name: str, said: str) -> Check:
    return Check(name=name, passed=False, said=said)
