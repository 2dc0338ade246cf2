"""Overhead of the proxy: requests passed through, re-ranked searches, many clients."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import Counter
from dataclasses import dataclass
from itertools import cycle, islice
from typing import TYPE_CHECKING, Any

import aiohttp
import numpy as np

from benchmarks.timing import percentiles
from descriptors.errors import RequestError
from es_mappings.fields import DESCRIPTOR
from es_mappings.windows import VECTOR

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.timing import Row

__all__ = ["Rounds", "bench_load", "bench_pass_through", "bench_searches", "search_body"]

_OK, _TOO_MANY = 200, 429
_KNN_K, _WARM_UP = 50, 5
_HEADERS = {"content-type": "application/json", "accept": "application/json"}


@dataclass(frozen=True)
class Rounds:
    """Number and size of the rounds.

    Attributes:
        count: rounds per way; the ways alternate, as does which is first.
        searches: sequential searches per round.
        seconds, clients: of the concurrent searches per round.
    """

    count: int = 5
    searches: int = 200
    seconds: float = 3.0
    clients: int = 8


def bench_pass_through(
    direct: str,
    proxy: str,
    index: str,
    queries: Sequence[Sequence[float]],
    rounds: Rounds | None = None,
) -> list[Row]:
    """The same kNN searches, direct and through the proxy.

    Returns:
        For each way: milliseconds with one client, searches per second with all clients (the
        median over the rounds), and the ratios of both to the direct way.
    """
    knn = {"field": DESCRIPTOR, "k": _KNN_K, "num_candidates": 2 * _KNN_K}
    bodies = [
        json.dumps(
            {"size": _KNN_K, "_source": False, "knn": {**knn, "query_vector": list(vector)}}
        ).encode()
        for vector in queries
    ]
    ways = {"direct": f"{direct}/{index}", "through the proxy": f"{proxy}/{index}"}
    return asyncio.run(_pass_through(ways, bodies, rounds or Rounds()))


async def _pass_through(ways: dict[str, str], bodies: Sequence[bytes], rounds: Rounds) -> list[Row]:
    took: dict[str, list[float]] = {way: [] for way in ways}
    rates: dict[str, list[float]] = {way: [] for way in ways}
    async with aiohttp.ClientSession(headers=_HEADERS) as session:
        for address in ways.values():  # warm-up
            await _one_after_another(session, address, bodies, rounds)
        for turn in range(rounds.count):
            for way in sorted(ways, reverse=bool(turn % 2)):
                took[way] += await _one_after_another(session, ways[way], bodies, rounds)
                rates[way].append(await _all_at_once(session, ways[way], bodies, rounds))
    p50 = {way: float(np.percentile(times, 50)) for way, times in took.items()}
    rate = {way: float(np.median(found)) for way, found in rates.items()}
    return [
        {
            "way": way,
            **percentiles(took[way]),
            "per_second": round(rate[way], 1),
            "clients": rounds.clients,
            "p50_ratio": round(p50[way] / p50["direct"], 3),
            "throughput_ratio": round(rate[way] / rate["direct"], 3),
        }
        for way in ways
    ]


async def _one_after_another(
    session: aiohttp.ClientSession, address: str, bodies: Sequence[bytes], rounds: Rounds
) -> list[float]:
    """Milliseconds of each search."""
    asked = islice(cycle(bodies), rounds.searches)
    return [await _timed(session, address, body) for body in asked]


async def _all_at_once(
    session: aiohttp.ClientSession, address: str, bodies: Sequence[bytes], rounds: Rounds
) -> float:
    """Searches per second of all clients."""
    started = time.perf_counter()

    async def ask(number: int) -> int:
        done = 0
        while time.perf_counter() - started < rounds.seconds:
            await _timed(session, address, bodies[(number + done) % len(bodies)])
            done += 1
        return done

    done = sum(await asyncio.gather(*(ask(client) for client in range(rounds.clients))))
    return done / (time.perf_counter() - started)


def bench_searches(
    proxy: str, index: str, ids: Sequence[str], images: Sequence[Path], repeats: int = 20
) -> list[Row]:
    """Milliseconds of sequential searches by id and by upload; R = 0 is not re-ranked.

    Raises:
        RequestError: if a search fails or is not re-ranked.
    """
    uploads = [{"data": base64.b64encode(path.read_bytes()).decode()} for path in images]
    stored = [{"id": one} for one in ids]
    kinds: dict[tuple[str, int, str], Sequence[dict[str, str]]] = {
        ("by id", 0, "whole images"): stored,
        ("by id", 0, "all windows"): stored,
        ("by id", 100, "windows"): stored,
        ("by id", 1000, "windows"): stored,
        ("by id", 100, "maps"): stored,
        ("by upload", 0, "whole images"): uploads,
        ("by upload", 100, "windows"): uploads,
        ("by upload", 100, "maps"): uploads,
    }

    async def ask_all() -> dict[tuple[str, int, str], list[float]]:
        took: dict[tuple[str, int, str], list[float]] = {kind: [] for kind in kinds}
        async with aiohttp.ClientSession(headers=_HEADERS) as session:
            for turn in range(-_WARM_UP, repeats):
                for kind, asked in kinds.items():
                    body = search_body(asked[turn % len(asked)], *kind[1:])
                    took[kind].append(await _timed(session, f"{proxy}/{index}", body))
        return took

    return [
        {"what": what, "R": window, "over": over} | percentiles(times[_WARM_UP:], 1)
        for (what, window, over), times in asyncio.run(ask_all()).items()
    ]


def search_body(image: dict[str, str], window: int, over: str) -> bytes:
    """The body of a search.

    Args:
        image: as in the dialect.
        window: R; 0 does not re-rank.
        over: "all windows" for a first search over windows, "maps" to re-rank by maps.
    """
    knn = {
        "field": VECTOR if over == "all windows" else DESCRIPTOR,
        "k": max(window, 10),
        "num_candidates": max(2 * window, 100),
        "query_vector_builder": {"camsearch": {"image": image}},
    }
    body: dict[str, Any] = {"size": 10, "_source": ["uri"]}
    if not window:
        return json.dumps(body | {"knn": knn}).encode()
    ours = {
        "retriever": {"knn": knn},
        "rank_window_size": window,
        "rerank": {"by": "maps" if over == "maps" else "windows"},
    }
    return json.dumps(body | {"retriever": {"camsearch": ours}}).encode()


async def _timed(session: aiohttp.ClientSession, index: str, body: bytes) -> float:
    """Milliseconds of a search; raises `RequestError` if it fails or has a warning."""
    started = time.perf_counter()
    async with session.post(f"{index}/_search", data=body) as answer:
        text = await answer.read()
        warned = answer.headers.get("warning")
        if answer.status != _OK or warned:
            raise RequestError(
                f"{index} answers a search with {answer.status}, {warned or text[:200]!r}: see "
                "the server's log."
            )
    return (time.perf_counter() - started) * 1e3


def bench_load(
    proxy: str,
    index: str,
    bodies: Sequence[bytes],
    resident_mb: Callable[[], float],
    clients: int = 50,
    seconds: float = 60,
) -> Row:
    """Many clients, each sending its next search when the last is answered.

    Returns:
        Counts of answers with status 200 (warned: those not re-ranked in time), 429, and others;
        milliseconds of the 200s; the proxy's median memory in the second and last quarter.
    """
    statuses: Counter[int] = Counter()
    warned, took, memory = list[bool](), list[float](), list[float]()

    async def ask(session: aiohttp.ClientSession, number: int) -> None:
        while time.perf_counter() - started < seconds:
            number += 1
            began = time.perf_counter()
            try:
                body = bodies[number % len(bodies)]
                async with session.post(f"/{index}/_search", data=body) as answer:
                    await answer.read()
                    status = answer.status
                    warned.append("warning" in answer.headers)
            except aiohttp.ClientError:
                status = 0
            statuses[status] += 1
            if status == _OK:
                took.append((time.perf_counter() - began) * 1e3)
            elif status == _TOO_MANY:
                await asyncio.sleep(0.2)

    async def watch() -> None:
        while time.perf_counter() - started < seconds:
            memory.append(resident_mb())
            await asyncio.sleep(0.5)

    async def ask_all() -> None:
        connector = aiohttp.TCPConnector(limit=clients)
        async with aiohttp.ClientSession(proxy, headers=_HEADERS, connector=connector) as session:
            await asyncio.gather(watch(), *(ask(session, 7 * n) for n in range(clients)))

    started = time.perf_counter()
    asyncio.run(ask_all())
    quarter = max(1, len(memory) // 4)
    return {
        "clients": clients,
        "seconds": seconds,
        "answered": statuses[_OK],
        "warned": sum(warned),
        "refused": statuses[_TOO_MANY],
        "errors": statuses.total() - statuses[_OK] - statuses[_TOO_MANY],
        "per_second": round(statuses[_OK] / seconds, 1),
        **percentiles(took or [float("nan")], 1),
        "mb_second_quarter": round(float(np.median(memory[quarter : 2 * quarter])), 1),
        "mb_last_quarter": round(float(np.median(memory[-quarter:])), 1),
    }
