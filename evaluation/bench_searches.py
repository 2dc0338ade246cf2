"""What re-ranked searches cost through the proxy, alone and with many callers."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import numpy as np

from descriptors.errors import RequestError
from es_mappings.fields import DESCRIPTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

__all__ = ["LoadRow", "SearchRow", "bench_load", "bench_searches"]

_OK, _TOO_MANY = 200, 429
_HEADERS = {"content-type": "application/json"}
_WARM_UP = 5


@dataclass(frozen=True)
class SearchRow:
    """Milliseconds of one kind of search, one caller.

    Attributes:
        what: by id or by upload.
        window: R; 0 for the first search alone.
        ms_p50, ms_p95: of the whole request.
        searches: measured.
    """

    what: str
    window: int
    ms_p50: float
    ms_p95: float
    searches: int

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


@dataclass(frozen=True)
class LoadRow:
    """Many callers at the same time, each asking again as soon as it is answered.

    Attributes:
        clients, seconds: how many, how long.
        answered, refused: with 200, with 429.
        warned: of the answered ones, those whose re-ranking did not end in time.
        errors: with anything else, or nothing.
        per_second: answered.
        ms_p50, ms_p95: of those that were answered.
        mb_second_quarter, mb_last_quarter: median resident memory of the proxy.
    """

    clients: int
    seconds: float
    answered: int
    warned: int
    refused: int
    errors: int
    per_second: float
    ms_p50: float
    ms_p95: float
    mb_second_quarter: float
    mb_last_quarter: float

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def bench_searches(
    proxy: str,
    index: str,
    ids: Sequence[str],
    pictures: Sequence[Path],
    windows: Sequence[int] = (100, 1000),
    repeats: int = 20,
) -> list[SearchRow]:
    """Searches one after another.

    Args:
        proxy: address.
        index: of the gallery.
        ids: of documents to search for.
        pictures: files to upload.
        windows: R.
        repeats: searches of each kind.

    Raises:
        RequestError: a search is not answered with 200, or its re-ranking not done.
    """
    return asyncio.run(_searches(proxy, index, ids, pictures, windows, repeats))


async def _searches(
    proxy: str,
    index: str,
    ids: Sequence[str],
    pictures: Sequence[Path],
    windows: Sequence[int],
    repeats: int,
) -> list[SearchRow]:
    uploads = [{"data": base64.b64encode(path.read_bytes()).decode()} for path in pictures]
    named = [{"id": one} for one in ids]
    kinds: list[tuple[str, int, Sequence[dict[str, str]]]] = [
        ("by upload", 0, uploads),
        *(("by id", window, named) for window in windows),
        ("by upload", windows[0], uploads),
    ]
    took: dict[tuple[str, int], list[float]] = {(what, r): [] for what, r, _ in kinds}
    async with aiohttp.ClientSession(proxy, headers=_HEADERS) as session:
        for turn in range(-_WARM_UP, repeats):
            for what, window, images in kinds:
                body = search_body(images[turn % len(images)], window)
                started = time.perf_counter()
                await _answered(session, index, body)
                if turn >= 0:
                    took[what, window].append((time.perf_counter() - started) * 1e3)
    return [_row(what, window, times) for (what, window), times in took.items()]


def search_body(image: dict[str, str], window: int) -> bytes:
    """A search as a client writes it."""
    knn = {
        "field": DESCRIPTOR,
        "k": max(window, 10),
        "num_candidates": max(2 * window, 100),
        "query_vector_builder": {"camsearch": {"image": image}},
    }
    body: dict[str, Any] = {"size": 10, "_source": ["uri"], "knn": knn}
    if window:
        ours = {"retriever": {"knn": knn}, "rank_window_size": window}
        body = {"size": 10, "_source": ["uri"], "retriever": {"camsearch": ours}}
    return json.dumps(body).encode()


async def _answered(session: aiohttp.ClientSession, index: str, body: bytes) -> None:
    async with session.post(f"/{index}/_search", data=body) as answer:
        text = await answer.read()
        warned = answer.headers.get("warning")
        if answer.status != _OK or warned:
            raise RequestError(
                f"A search was answered {answer.status}, {warned or text[:200]!r}: look at the "
                "proxy's log."
            )


def _row(what: str, window: int, times: Sequence[float]) -> SearchRow:
    p50, p95 = np.percentile(times, [50, 95]).round(1).tolist()
    return SearchRow(what, window, p50, p95, len(times))


def bench_load(
    proxy: str,
    index: str,
    bodies: Sequence[bytes],
    resident_mb: Callable[[], float],
    clients: int = 50,
    seconds: float = 60,
) -> LoadRow:
    """Many callers for some time.

    Args:
        proxy: address.
        index: of the gallery.
        bodies: of searches, asked in turn.
        resident_mb: memory of the proxy's process.
        clients: callers.
        seconds: how long.
    """
    return asyncio.run(_load(proxy, index, bodies, resident_mb, clients, seconds))


async def _load(
    proxy: str,
    index: str,
    bodies: Sequence[bytes],
    resident_mb: Callable[[], float],
    clients: int,
    seconds: float,
) -> LoadRow:
    statuses: Counter[int] = Counter()
    warned = 0
    took: list[float] = []
    memory: list[float] = []
    started = time.perf_counter()

    def over() -> bool:
        return time.perf_counter() - started > seconds

    async def ask(session: aiohttp.ClientSession, number: int) -> None:
        nonlocal warned
        while not over():
            number += 1
            began = time.perf_counter()
            try:
                body = bodies[number % len(bodies)]
                async with session.post(f"/{index}/_search", data=body) as answer:
                    await answer.read()
                    status = answer.status
                    warned += "warning" in answer.headers
            except aiohttp.ClientError:
                status = 0
            statuses[status] += 1
            if status == _OK:
                took.append((time.perf_counter() - began) * 1e3)
            elif status == _TOO_MANY:
                await asyncio.sleep(0.2)

    async def watch() -> None:
        while not over():
            memory.append(resident_mb())
            await asyncio.sleep(0.5)

    connector = aiohttp.TCPConnector(limit=clients)
    async with aiohttp.ClientSession(proxy, headers=_HEADERS, connector=connector) as session:
        await asyncio.gather(watch(), *(ask(session, 7 * n) for n in range(clients)))
    quarter = max(1, len(memory) // 4)
    p50, p95 = np.percentile(took or [float("nan")], [50, 95]).round(1).tolist()
    return LoadRow(
        clients,
        seconds,
        statuses[_OK],
        warned,
        statuses[_TOO_MANY],
        statuses.total() - statuses[_OK] - statuses[_TOO_MANY],
        round(statuses[_OK] / seconds, 1),
        p50,
        p95,
        round(float(np.median(memory[quarter : 2 * quarter])), 1),
        round(float(np.median(memory[-quarter:])), 1),
    )
