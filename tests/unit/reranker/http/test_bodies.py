"""Bodies of searches, unpacked no further than the limit."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc

import pytest

from reranker.dialect.parsing import may_name_us
from reranker.errors import BodyTooLarge
from reranker.http.bodies import plain

GZIP = ((b"content-encoding", b" GZIP "),)


@pytest.mark.parametrize("size", [10, 200_000])
def test_a_packed_body_is_unpacked(size):
    assert asyncio.run(plain(gzip.compress(b"x" * size), GZIP, size)) == b"x" * size
    assert asyncio.run(plain(b"x" * size, (), 1)) == b"x" * size


def test_a_bomb_takes_no_memory():
    bomb = gzip.compress(b"\0" * 30_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            asyncio.run(plain(bomb, GZIP, 1_000_000))
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("body", [b"damaged", gzip.compress(b"x" * 100, mtime=0)[:-1], b""])
def test_a_damaged_body_is_left_to_elasticsearch(body):
    assert asyncio.run(plain(body, GZIP, 1000)) is None


def test_names_are_seen_plain_and_escaped():
    assert may_name_us(b'{"camsearch": 1}')
    assert may_name_us(rb'{"c\u0061msearch": 1}')
    assert not may_name_us(b'{"query": 1}')
