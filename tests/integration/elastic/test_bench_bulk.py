"""The benchmark of bulk writing: what it compares does the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from redis import Redis

from descriptors.errors import RequestError
from evaluation import bench_bulk
from indexer.ledger import Ledger
from indexer.settings import IndexerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

    from elasticsearch import Elasticsearch

SETTINGS = IndexerSettings(chunk=20)


@pytest.fixture
def ledger(redis_db_url: str) -> Iterator[Ledger]:
    with Redis.from_url(redis_db_url, decode_responses=True) as redis:
        yield Ledger(redis)


@pytest.fixture
def vectors() -> np.ndarray:
    made = np.random.default_rng(0).standard_normal((7, 64)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def test_all_ways_write_the_same_and_are_compared_with_the_bare_client(
    client: Elasticsearch, ledger: Ledger, vectors: np.ndarray
):
    rows = bench_bulk.bench_bulk(client, ledger, SETTINGS, vectors, count=50, repeats=2)
    whats = ["bare streaming_bulk", "worker", "worker, 20 a task"]
    assert [row.what for row in rows] == whats
    assert [row.ratio is None for row in rows] == [True, False, False]
    assert all(row.documents == 50 and row.repeats == 2 and row.per_second > 0 for row in rows)
    assert all(row.ratio is None or row.ratio > 0 for row in rows)


def test_a_way_that_writes_something_else_is_refused(
    client: Elasticsearch, ledger: Ledger, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    bare = bench_bulk._write_bare

    def other(client, gallery, documents):
        bare(client, gallery, [replace(one, width=1) for one in documents])

    monkeypatch.setattr(bench_bulk, "_write_bare", other)
    with pytest.raises(RequestError, match="wrote another document"):
        bench_bulk.bench_bulk(client, ledger, SETTINGS, vectors, count=20, repeats=1)
