"""Lost tasks are found, and counts stay right where a chunk is divided."""

from __future__ import annotations

from typing import TYPE_CHECKING
from unittest.mock import Mock

import pytest
from redis import Redis

from indexer.enqueueing import Resender, task_text
from indexer.ledger import Ledger
from indexer.progress import Progress
from indexer.settings import IndexerSettings

if TYPE_CHECKING:
    from collections.abc import Iterator

RUN, QUEUE = "r", "q"
IMAGES = [{"uri": "a.jpg"}]


@pytest.fixture
def redis(redis_db_url: str) -> Iterator[Redis]:
    with Redis.from_url(redis_db_url, decode_responses=True) as client:
        yield client


@pytest.fixture
def ledger(redis: Redis) -> Ledger:
    made = Ledger(redis)
    made.open_run(RUN, "images")
    return made


@pytest.fixture
def app() -> Mock:
    return Mock(spec=["send_task"])


@pytest.fixture
def resender(app: Mock, ledger: Ledger) -> Resender:
    return Resender(app, ledger, IndexerSettings(queue=QUEUE, visibility_timeout=5))


def ask(ledger: Ledger, chunk: str, queue: str = QUEUE) -> None:
    ledger.ask(RUN, 1, chunk, task_text(IMAGES, {"chunk": chunk}, queue))


def test_a_task_that_is_nowhere_at_two_looks_is_sent_again(
    app: Mock, ledger: Ledger, resender: Resender
) -> None:
    ask(ledger, "c")
    assert resender.look() == 0
    assert resender.look() == 1
    app.send_task.assert_called_once_with(
        "camsearch.index_images",
        args=[IMAGES],
        kwargs={"chunk": "c"},
        queue=QUEUE,
        ignore_result=True,
    )


@pytest.mark.parametrize("place", ["queue", "unacked"])
def test_a_task_that_may_be_somewhere_is_not(
    place: str, redis: Redis, ledger: Ledger, resender: Resender
) -> None:
    ask(ledger, "c")
    assert resender.look() == 0
    if place == "queue":
        redis.lpush(QUEUE, "some task")
    else:
        redis.hset("unacked", "tag", "some task")
    assert [resender.look(), resender.look()] == [0, 0]
    redis.delete(QUEUE, "unacked")
    assert resender.look() == 0  # two looks in a row, from here on
    assert resender.look() == 1


def test_counted_tasks_and_those_of_other_queues_are_not(
    ledger: Ledger, resender: Resender
) -> None:
    ask(ledger, "done")
    ledger.count(RUN, "done", Progress(indexed=1), {})
    ask(ledger, "elsewhere", queue="another")
    assert [resender.look() for _ in range(3)] == [0, 0, 0]
    assert set(ledger.open_tasks()) == {"elsewhere"}


def test_one_worker_of_many_sends(app: Mock, ledger: Ledger, resender: Resender) -> None:
    ask(ledger, "c")
    other = Resender(app, ledger, IndexerSettings(queue=QUEUE, visibility_timeout=5))
    assert [one.look() for one in (resender, other, resender, other)] == [0, 0, 1, 0]


def test_a_divided_chunk_counts_by_its_parts_alone(ledger: Ledger) -> None:
    ledger.ask(RUN, 2, "c", "whole")
    parts = {"c.0": "first", "c.1": "second"}
    assert ledger.divide(RUN, "c", parts) == {"c.0", "c.1"}
    assert ledger.open_tasks() == parts
    # A worker that was thought dead was only slow.
    assert not ledger.count(RUN, "c", Progress(indexed=2), {})
    assert ledger.count(RUN, "c.0", Progress(indexed=1), {})
    # Divided again, when it is delivered again: only what is left.
    assert ledger.divide(RUN, "c", parts) == {"c.1"}
    assert ledger.open_tasks() == {"c.1": "second"}


def test_a_chunk_that_is_counted_is_not_divided(ledger: Ledger) -> None:
    ledger.ask(RUN, 2, "c", "whole")
    ledger.count(RUN, "c", Progress(indexed=2), {})
    assert ledger.divide(RUN, "c", {"c.0": "first", "c.1": "second"}) == set()
    assert ledger.open_tasks() == {}
