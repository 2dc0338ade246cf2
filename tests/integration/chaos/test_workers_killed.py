"""Workers that die, tasks with twins, and images that kill."""

from __future__ import annotations

import random
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

from descriptors.images import read_image
from tests.integration.chaos.processes import slow_decoder
from tests.support.clock import HANG_S, wait_for

if TYPE_CHECKING:
    from tests.integration.chaos.conftest import NewStage

POISON = b"poison of the tests"

# Stands for a decoder with a fault that ends the process: no Python code sees it coming.
DEADLY_DECODER = f"""
import os, signal
import indexer.reading
decode = indexer.reading.read_image
def deadly(data, *args, **options):
    if {POISON!r} in data:
        os.kill(os.getpid(), signal.SIGKILL)
    return decode(data, *args, **options)
indexer.reading.read_image = deadly
"""


def test_workers_killed_in_mid_batch_lose_nothing(
    new_stage: NewStage, elasticsearch_url: str, redis_db_url: str
) -> None:
    stage = new_stage(elasticsearch_url, redis_db_url, images=200, chunk=8)
    run = stage.enqueue()
    chance = random.Random(1)
    held = 0
    for _ in range(3):
        pair = [stage.worker(slow_decoder(0.1)), stage.worker(slow_decoder(0.1))]
        for worker in pair:
            worker.wait_until_ready()
        stage.wait_until_taken()
        for worker in pair:
            # Anywhere between reading the first image and counting the chunk.
            time.sleep(chance.uniform(0.0, 0.4))
            worker.kill()
        held += stage.ledger.taken()
    before = stage.ledger.state(run)
    assert before is not None
    assert not before.over, "all was done before the last kill: enqueue more images"
    assert held >= 3, "hardly any worker held a task when it was killed"
    stage.worker()
    stage.finish(run)
    stage.check(run)


def test_a_worker_asked_to_end_leaves_nothing_behind(
    new_stage: NewStage, elasticsearch_url: str, redis_db_url: str
) -> None:
    stage = new_stage(elasticsearch_url, redis_db_url, visibility_timeout=round(HANG_S))
    worker = stage.worker(slow_decoder(0.3), soft_shutdown=f"{HANG_S:.0f}")
    worker.wait_until_ready()
    run = stage.enqueue()
    stage.wait_until_taken()
    worker.ask_to_end()
    worker.wait_for_its_end()
    assert worker.status == 0
    assert not stage.ledger.taken(), "a task waits for the visibility timeout"
    stage.worker()
    stage.finish(run)
    state = stage.check(run)
    assert state.counts["indexed"] == 40  # none was done twice


def test_a_task_given_to_two_workers_is_counted_once(
    new_stage: NewStage, elasticsearch_url: str, redis_db_url: str
) -> None:
    stage = new_stage(elasticsearch_url, redis_db_url)
    run = stage.enqueue()
    waiting = stage.redis.lrange(stage.settings.queue, 0, -1)
    # The very same messages once more: as after a visibility timeout that was too short.
    stage.redis.lpush(stage.settings.queue, *waiting)
    slow = stage.worker(slow_decoder(0.5))
    slow.wait_until_ready()
    stage.wait_until_taken()
    # It holds its task beyond the timeout, neither dead nor alive, and then writes late.
    slow.pause()
    done = slow.said().count(" succeeded in ")
    stage.worker()
    stage.finish(run)
    # The run ends with its last image; the doubles of tasks may wait, or be held, for longer.
    wait_for(lambda: not stage.left(), f"the doubles, and the held task\n{stage.logs()}")
    stage.check(run)
    slow.go_on()
    late = f"the late end of the slow worker's task\n{stage.logs()}"
    wait_for(lambda: slow.said().count(" succeeded in ") > done, late)
    stage.check(run)


def test_an_image_that_kills_its_worker_is_set_aside_alone(
    new_stage: NewStage, elasticsearch_url: str, redis_db_url: str
) -> None:
    stage = new_stage(elasticsearch_url, redis_db_url, images=24, attempts=2)
    poisoned = stage.sources[9]
    path = Path(poisoned.uri)
    path.write_bytes(path.read_bytes() + POISON)
    read_image(path.read_bytes())  # a good image to everybody else
    run = stage.enqueue()
    supervisor = stage.supervised(DEADLY_DECODER)
    stage.finish(run)
    state = stage.check(run)
    failed = stage.ledger.failed(run)
    assert set(failed) == {poisoned.id}
    assert "killed its worker 2 times" in failed[poisoned.id]
    assert state.counts["indexed"] + state.counts["unchanged"] == 23
    # Twice with its chunk, twice alone; whatever a death took along comes twice as well.
    assert supervisor.statuses().count(-signal.SIGKILL) == 4
