"""The public tasks by name, through a real Redis: sent, taken, answered."""

from __future__ import annotations

import os
import time

import pytest
from celery import Celery
from celery.contrib.testing.worker import start_worker
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis

from indexer.enqueueing import Enqueuer, new_run
from indexer.errors import MalformedRow
from indexer.sources import Source
from tests.support.clock import HANG_S
from tests.support.documents import ids_of
from tests.support.task_values import ENTRIES, METADATA

CASES = int(os.environ.get("CAMSEARCH_TEST_CASES") or 10)


@pytest.fixture
def stranger(stage):
    """An app of somebody else, who imports nothing of ours; a worker of ours runs meanwhile."""
    app = Celery("stranger", broker=stage.settings.broker, backend=stage.settings.broker)
    options = {"perform_ping_check": False, "pool": "solo", "queues": [stage.settings.queue]}
    with start_worker(stage.app, shutdown_timeout=HANG_S, **options):
        yield app
    app.close()


def sent(app, stage, name, *args, **kwargs):
    kwargs = {"gallery": stage.settings.images, **kwargs}
    task = app.send_task(name, queue=stage.settings.queue, args=args, kwargs=kwargs)
    return task.get(timeout=HANG_S)


def test_images_are_indexed_and_deleted_by_name(stage, stranger):
    paths = stage.add(2)
    images = [{"id": "a", "uri": paths[0], "meta": {"city": "Paris"}}, {"uri": paths[1]}]
    counts = sent(stranger, stage, "camsearch.index_images", images)
    assert counts == {
        "indexed": 2, "unchanged": 0, "updated": 0, "rejected": 0, "out_of_reach": 0,
        "failed": {}, "divided": 0,
    }  # fmt: skip
    documents = {document.id: document for document in stage.gallery.documents()}
    assert documents["a"].meta == {"city": "Paris"}
    assert abs(documents["a"].revision / 1000 - time.time()) < 60
    assert sent(stranger, stage, "camsearch.delete_images", ["a", "nobody"]) == 1
    assert len(ids_of(stage.gallery.documents())) == 1


def test_malformed_images_are_rejects_and_nothing_else_is_lost(stage, stranger):
    (path,) = stage.add(1)
    wrong = [{}, {"uri": ""}, {"meta": []}, {"revision": -1}, {"revision": "1"}, {"colour": "red"}]
    images = [{"id": f"{i}", "uri": "/a.jpg"} | one for i, one in enumerate(wrong)]
    del images[0]["uri"]
    images += ["no object", {"id": "good", "uri": path}]
    counts = sent(stranger, stage, "camsearch.index_images", images)
    assert (counts["indexed"], counts["rejected"]) == (1, 7)
    rejects = list(stage.gallery.rejects())
    assert len(rejects) == 7
    assert {reject.kind for reject in rejects} == {"malformed_row"}
    assert all("send an object with uri" in reject.reason for reject in rejects)


@settings(max_examples=CASES, deadline=None, suppress_health_check=list(HealthCheck))
@given(entries=st.lists(ENTRIES, max_size=4), meta=METADATA)
def test_whatever_a_task_holds_it_ends_and_its_neighbours_are_indexed(
    stage, stranger, entries, meta
):
    path, other = stage.add(2)
    images = [*entries, {"id": "good", "uri": path}, {"id": "rich", "uri": other, "meta": meta}]
    counts = sent(stranger, stage, "camsearch.index_images", images)
    assert (counts.pop("divided"), counts.pop("failed")) == (0, {})
    assert sum(counts.values()) == len(images)
    assert stage.worker.gallery(stage.settings.images).known(["good"])[0]
    known, rejects = stage.worker.gallery(stage.settings.images).known(["rich"])
    assert known or rejects


def test_what_is_no_list_is_refused_to_the_caller(stage, stranger):
    with pytest.raises(Exception, match="needs a list of objects"):
        sent(stranger, stage, "camsearch.index_images", {"uri": "x"})
    with pytest.raises(Exception, match="needs a list of ids"):
        sent(stranger, stage, "camsearch.delete_images", "a")


def test_any_number_of_images_is_enqueued_and_followed(stage, stranger):
    assert stranger
    paths = stage.add(10)
    sources = [Source(path, path, {"n": i}) for i, path in enumerate(paths)]
    sources.append(Source("bad", "row 11", problem=MalformedRow("Row 11 names no image.")))
    run, told = new_run(), []
    enqueuer = Enqueuer(stage.app, stage.ledger, stage.settings)
    assert enqueuer.enqueue(iter(sources), stage.settings.images, run, told.append) == 11
    state = enqueuer.follow(run, told.append, seconds=HANG_S)
    assert state.over
    assert (state.asked, state.counts["indexed"], state.counts["rejected"]) == (11, 10, 1)
    assert ids_of(stage.gallery.documents()) == paths
    assert ids_of(stage.gallery.rejects()) == ["bad"]
    again = new_run()
    enqueuer.enqueue(iter(sources), stage.settings.images, again)
    state = enqueuer.follow(again, told.append, seconds=HANG_S)
    assert (state.counts["unchanged"], state.counts["rejected"]) == (10, 1)


def test_enqueueing_waits_while_too_many_tasks_wait(stage):
    # Nobody works here: the test takes a task away whenever the enqueuer sleeps.
    settings = stage.settings.model_copy(update={"max_waiting": 2, "chunk": 1})
    highest = []
    sources = [Source(str(i), f"/{i}.jpg") for i in range(8)]
    with Redis.from_url(settings.broker) as redis:

        def work(_seconds):
            highest.append(stage.ledger.waiting(settings.queue))
            redis.lpop(settings.queue)

        enqueuer = Enqueuer(stage.app, stage.ledger, settings, sleep=work)
        assert enqueuer.enqueue(sources, stage.settings.images, new_run()) == 8
    assert max(highest) == 2
    assert len(highest) == 6


def test_long_metadata_makes_smaller_tasks(stage):
    sources = [Source(str(i), f"/{i}.jpg", {"text": "x" * 300_000}) for i in range(4)]
    Enqueuer(stage.app, stage.ledger, stage.settings).enqueue(
        sources, stage.settings.images, new_run()
    )
    assert stage.ledger.waiting(stage.settings.queue) == 4


def test_an_id_that_comes_twice_is_counted_twice(stage, stranger):
    assert stranger
    (path,) = stage.add(1)
    run = new_run()
    enqueuer = Enqueuer(stage.app, stage.ledger, stage.settings)
    enqueuer.enqueue([Source(path, path), Source(path, path)], stage.settings.images, run)
    state = enqueuer.follow(run, lambda _: None, seconds=HANG_S)
    assert state.over
    assert (state.counts["indexed"], state.counts["unchanged"]) == (1, 1)
