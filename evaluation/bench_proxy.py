"""What the proxy costs a request that it only passes through: direct and through it, by turns."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import aiohttp
import numpy as np

from descriptors.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["PassThroughRow", "bench_pass_through"]

_KNN_K = 50
_JSON = {"Content-Type": "application/json", "Accept": "application/json"}


@dataclass(frozen=True)
class PassThroughRow:
    """One way to Elasticsearch.

    Attributes:
        way: direct or through the proxy.
        ms_p50, ms_p95: milliseconds of a kNN search, one client.
        per_second: searches a second of all clients together, median of the rounds.
        clients: of that.
        p50_ratio, throughput_ratio: to direct, in the same run.
    """

    way: str
    ms_p50: float
    ms_p95: float
    per_second: float
    clients: int
    p50_ratio: float
    throughput_ratio: float

    def to_json(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


@dataclass(frozen=True)
class _Load:
    """What is asked, and for how long.

    Attributes:
        path: of the search.
        bodies: asked in turn.
        searches: one after another, a round.
        seconds: of all clients together, a round.
        clients: that ask at the same time.
        rounds: of each way; the two take turns, and begin by turns.
    """

    path: str
    bodies: Sequence[bytes]
    searches: int = 200
    seconds: float = 3.0
    clients: int = 8
    rounds: int = 5


def bench_pass_through(
    direct: str,
    proxy: str,
    index: str,
    field: str,
    queries: Sequence[Sequence[float]],
    rounds: int = 5,
) -> list[PassThroughRow]:
    """Both ways with the same kNN searches.

    Args:
        direct: address of Elasticsearch.
        proxy: address of the proxy before it, a process of its own.
        index: to search.
        field: of its vectors.
        queries: vectors.
        rounds: of each way.
    """
    bodies = [
        json.dumps(
            {
                "size": _KNN_K,
                "_source": False,
                "knn": {
                    "field": field,
                    "query_vector": list(vector),
                    "k": _KNN_K,
                    "num_candidates": 2 * _KNN_K,
                },
            }
        ).encode()
        for vector in queries
    ]
    load = _Load(f"/{index}/_search", bodies, rounds=rounds)
    return asyncio.run(_bench({"direct": direct, "through the proxy": proxy}, load))


async def _bench(ways: dict[str, str], load: _Load) -> list[PassThroughRow]:
    took: dict[str, list[float]] = {way: [] for way in ways}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    async with aiohttp.ClientSession() as session:
        for address in ways.values():  # warm both: code, caches, connections
            await _one_after_another(session, address, load)
        for turn in range(load.rounds):
            for way in sorted(ways, reverse=bool(turn % 2)):
                took[way] += await _one_after_another(session, ways[way], load)
                rates[way].append(await _all_at_once(session, ways[way], load))
    p50 = {way: float(np.percentile(times, 50)) for way, times in took.items()}
    rate = {way: float(np.median(found)) for way, found in rates.items()}
    return [
        PassThroughRow(
            way=way,
            ms_p50=round(p50[way], 3),
            ms_p95=round(float(np.percentile(took[way], 95)), 3),
            per_second=round(rate[way], 1),
            clients=load.clients,
            p50_ratio=round(p50[way] / p50["direct"], 3),
            throughput_ratio=round(rate[way] / rate["direct"], 3),
        )
        for way in ways
    ]


async def _one_after_another(
    session: aiohttp.ClientSession, address: str, load: _Load
) -> list[float]:
    """Milliseconds of each."""
    took = []
    for number in range(load.searches):
        started = time.perf_counter()
        await _search(session, address, load, number)
        took.append((time.perf_counter() - started) * 1e3)
    return took


async def _all_at_once(session: aiohttp.ClientSession, address: str, load: _Load) -> float:
    """Searches a second of all clients together."""
    started = time.perf_counter()

    async def ask(first: int) -> int:
        done = 0
        while time.perf_counter() - started < load.seconds:
            await _search(session, address, load, first + done)
            done += 1
        return done

    done = sum(await asyncio.gather(*(ask(client) for client in range(load.clients))))
    return done / (time.perf_counter() - started)


async def _search(session: aiohttp.ClientSession, address: str, load: _Load, number: int) -> None:
    """Ask and read.

    Raises:
        RequestError: it is refused, so that its time means nothing.
    """
    body = load.bodies[number % len(load.bodies)]
    async with session.post(f"{address}{load.path}", data=body, headers=_JSON) as answer:
        text = await answer.read()
        if answer.status != 200:  # noqa: PLR2004
            raise RequestError(f"{address} answers {answer.status}: {text[:200]!r}.")
