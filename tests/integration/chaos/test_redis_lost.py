"""A Redis that dies, and one that cannot be reached: nothing is lost, and workers find back."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from indexer.enqueueing import INDEX_IMAGES
from tests.integration.chaos.lines import Line
from tests.integration.chaos.processes import slow_decoder
from tests.integration.chaos.stage import VISIBILITY_S
from tests.support.clock import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.integration.chaos.conftest import NewStage
    from tests.services.redis import RedisServer

AWAY_S = VISIBILITY_S + 1


@pytest.fixture
def line(redis_db_url: str) -> Iterator[Line]:
    server = urlsplit(redis_db_url)
    assert server.hostname
    assert server.port
    made = Line(server.hostname, server.port)
    yield made
    made.close()


def over(line: Line, url: str) -> str:
    """The address of a server at the other end of a line."""
    return urlsplit(url)._replace(netloc=f"127.0.0.1:{line.port}").geturl()


def test_redis_killed_and_restarted_loses_nothing(
    new_stage: NewStage, elasticsearch_url: str, own_redis: Callable[[], RedisServer]
) -> None:
    redis = own_redis()
    stage = new_stage(elasticsearch_url, redis.url, images=32)
    worker = stage.worker(slow_decoder(0.3))
    worker.wait_until_ready()
    run = stage.enqueue()
    stage.wait_until_taken()
    redis.kill()  # while the worker has a task, and will want to count it
    time.sleep(1)
    redis.start()
    stage.finish(run)
    stage.check(run)
    assert worker.alive


@pytest.mark.parametrize(
    ("words", "cut", "seconds"),
    [
        pytest.param(b"", Line.break_off, 0.1, id="a-blink-in-its-task"),
        pytest.param(b"", Line.break_off, AWAY_S, id="broken-in-its-task"),
        pytest.param(b"", Line.fall_silent, AWAY_S, id="silent-in-its-task"),
        # Redis takes the first task out of its list and hands it over; nobody ever gets it.
        pytest.param(INDEX_IMAGES.encode(), Line.fall_silent, AWAY_S, id="silent-as-it-is-sent"),
        # With which kombu takes a task off the list of those taken.
        pytest.param(b"ZREM", Line.break_off, 0.1, id="broken-as-it-says-that-one-is-done"),
    ],
)
def test_a_worker_cut_off_from_redis_loses_nothing(
    words: bytes,
    cut: Callable[[Line], None],
    seconds: float,
    line: Line,
    new_stage: NewStage,
    elasticsearch_url: str,
    redis_db_url: str,
) -> None:
    stage = new_stage(elasticsearch_url, redis_db_url, images=24)
    worker = stage.worker(slow_decoder(0.2), broker=over(line, redis_db_url))
    worker.wait_until_ready()
    if words:
        line.cut_at(words, cut)
    run = stage.enqueue()
    if not words:
        stage.wait_until_taken()
        cut(line)
    wait_for(lambda: line.is_cut, "the cut")
    time.sleep(seconds)
    line.mend()
    stage.finish(run)
    stage.check(run)
    assert worker.alive
