"""The benchmarks against a real Elasticsearch: what they compare does the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from redis import Redis

from benchmarks import bulk
from benchmarks.nested import bench_nested
from benchmarks.proxy import Rounds, bench_load, bench_pass_through
from benchmarks.recall import bench_recall, empty_gallery, fill_index
from descriptors.errors import RequestError
from es_mappings.fields import source_of
from es_mappings.indices import IndexPlan
from galleries.documents import Document
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
    made = np.random.default_rng(0).standard_normal((12, 64)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


def test_all_ways_write_the_same_and_are_compared_with_the_bare_client(
    client: Elasticsearch, ledger: Ledger, vectors: np.ndarray
):
    rows = bulk.bench_bulk(client, ledger, SETTINGS, vectors, count=50, repeats=2)
    whats = ["bare streaming_bulk", "worker", "worker, 20 a task"]
    assert [row["what"] for row in rows] == whats
    assert rows[0]["ratio"] is None
    assert all(row["ratio"] > 0 for row in rows[1:])
    assert {(row["documents"], row["repeats"]) for row in rows} == {(50, 2)}


def test_a_way_that_writes_something_else_is_refused(
    client: Elasticsearch, ledger: Ledger, vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch
):
    def other(document: Document, **how: bool) -> dict:
        return source_of(replace(document, width=1), **how)

    monkeypatch.setattr(bulk, "source_of", other)
    with pytest.raises(RequestError, match="wrote a different document"):
        bulk.bench_bulk(client, ledger, SETTINGS, vectors, count=20, repeats=1)


def test_recall_of_an_exact_index_is_whole(client: Elasticsearch, vectors: np.ndarray):
    [row] = bench_recall(client, vectors, 150, queries=3, graphs=["flat"])
    assert (row["graph"], row["vectors"], row["recall"]) == ("flat", 150, 1.0)
    assert 0 < row["ms_p50"] <= row["ms_p95"]
    assert row["index_bytes"] > 150 * 64 * 4


def test_windows_cost_bytes_and_are_found_exactly_by_the_default_profile(
    client: Elasticsearch, vectors: np.ndarray
):
    rows = bench_nested(client, vectors, (120,), queries=3)
    size = {row["profile"]: row["bytes_a_document"] for row in rows}
    assert size["none"] + 14 * 64 < size["rerank"] < size["search"]
    recall = {row["profile"]: row["recall"] for row in rows if row["search"] == "windows"}
    assert recall["rerank"] > 0.95  # of a query that is rounded to 8 bits
    assert list(recall) == ["rerank", "search"]


def test_passing_through_is_compared_with_the_direct_way(
    client: Elasticsearch, elasticsearch_url: str, vectors: np.ndarray
):
    documents = (Document(str(i), "", "d", 1, 1, v) for i, v in enumerate(vectors))
    with empty_gallery(client, 64, IndexPlan("flat", replicas=0)) as gallery:
        fill_index(client, gallery.index, documents)
        url = elasticsearch_url.rstrip("/")
        rounds = Rounds(count=2, searches=5, seconds=0.1, clients=2)
        rows = bench_pass_through(url, url, gallery.index, vectors.tolist(), rounds)
        load = bench_load(url, gallery.index, [b"{}"], lambda: 7.0, clients=2, seconds=1.3)
    assert [row["way"] for row in rows] == ["direct", "through the proxy"]
    assert rows[0]["p50_ratio"] == rows[0]["throughput_ratio"] == 1
    assert all(row["per_second"] > 0 for row in rows)
    assert load["answered"] > 0
    assert (load["refused"], load["errors"], load["mb_last_quarter"]) == (0, 0, 7.0)
