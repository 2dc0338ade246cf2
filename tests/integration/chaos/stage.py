"""A gallery, a manifest, a queue and workers: what each test of this folder plays on."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from camsearch.settings import CommandSettings
from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_client import connect
from es_mappings.indices import live_index, rejects_index
from galleries.features import FeatureStore
from indexer.app import make_celery_app
from indexer.enqueueing import Enqueuer, new_run
from indexer.ledger import Ledger
from indexer.sources import Source
from tests.integration.chaos.processes import Supervisor, WorkerProcess
from tests.support.clock import HANG_S, wait_for

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from indexer.ledger import RunState

VISIBILITY_S = 5


@dataclass
class Stage:
    """Everything is reached directly from here; workers may be given other addresses.

    `settings` are the test's own, `sources` the manifest.
    """

    settings: CommandSettings
    folder: Path
    maps: str
    sources: Sequence[Source]
    workers: list[WorkerProcess] = field(default_factory=list)
    supervisors: list[Supervisor] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.redis = Redis.from_url(self.settings.broker, decode_responses=True)
        self.ledger = Ledger(self.redis)
        self.client = connect(self.settings.elasticsearch)
        self._app = make_celery_app(self.settings)

    def worker(self, prelude: str = "", **changed: str) -> WorkerProcess:
        """Starts one; `changed` are settings in its environment, such as ``broker``."""
        s = self.settings
        named = {
            "elasticsearch": s.elasticsearch,
            "broker": s.broker,
            "images": s.images,
            "queue": s.queue,
            "visibility_timeout": str(s.visibility_timeout),
            "attempts": str(s.attempts),
            "soft_shutdown": "5",
            "batch_size": "2",
            "readers": "2",
        }
        log = self.folder / f"worker-{len(self.workers)}.log"
        self.workers.append(WorkerProcess(log, named | changed, prelude))
        return self.workers[-1]

    def supervised(self, prelude: str = "", **changed: str) -> Supervisor:
        """Starts one, and another whenever it ends."""
        self.supervisors.append(Supervisor(lambda: self.worker(prelude, **changed)))
        return self.supervisors[-1]

    def enqueue(self, sources: Iterable[Source] | None = None, *, retry: bool = False) -> str:
        """Sends the manifest to the workers, as `camsearch enqueue` does; returns the run."""
        run = new_run()
        sender = Enqueuer(self._app, self.ledger, self.settings)
        chosen = self.sources if sources is None else sources
        sender.enqueue(chosen, self.settings.images, run, retry_rejects=retry)
        return run

    def wait_until_taken(self) -> None:
        wait_for(self.ledger.taken, f"a task taken\n{self.logs()}", pause=0.002)

    def finish(self, run: str) -> RunState:
        """Waits until the run is over; fails with what the workers said last."""
        deadline = time.monotonic() + HANG_S
        state = self.ledger.state(run)
        while state is None or not state.over:
            if time.monotonic() > deadline:
                for worker in self.workers:
                    worker.say_where()
                waiting, taken = self.ledger.waiting(self.settings.queue), self.ledger.taken()
                pytest.fail(
                    f"The run is not over within {HANG_S:g} s: {state}, {waiting} tasks wait, "
                    f"{taken} are taken.\n{self.logs()}"
                )
            time.sleep(0.1)
            state = self.ledger.state(run)
        return state

    def left(self) -> int:
        """How many tasks wait or are taken."""
        return self.ledger.waiting(self.settings.queue) + self.ledger.taken()

    def gallery(self) -> ElasticGallery:
        """The live index; what was written is seen by searches from here on."""
        name = self.settings.images
        index = live_index(self.client, name)
        assert index is not None
        self.client.indices.refresh(index=[index, rejects_index(name)])
        return ElasticGallery(self.client, index, rejects_index(name))

    def check(self, run: str) -> RunState:
        """Every image is indexed once or listed with a reason, and all counts agree."""
        wait_for(lambda: not self.ledger.waiting(self.settings.queue), "an empty queue")
        state = self.ledger.state(run)
        gallery = self.gallery()
        documents = {document.id: document for document in gallery.documents()}
        rejects = {reject.id: reject.reason for reject in gallery.rejects()}
        listed = rejects | self.ledger.failed(run)
        asked = [source.id for source in self.sources]
        logs = self.logs()
        assert sorted([*documents, *listed]) == sorted(asked), logs
        assert all(listed.values())
        assert gallery.count() == len(documents), logs
        assert state is not None
        assert state.asked == len(asked)
        counts = Counter(state.counts)
        assert counts.total() == len(asked), f"{counts}\n{logs}"
        in_index = counts["indexed"] + counts["unchanged"] + counts["updated"]
        assert in_index == len(documents), f"{counts}\n{logs}"
        assert counts["failed"] == len(self.ledger.failed(run))
        store = FeatureStore(self.maps, gallery.fingerprint)
        kept = store.get({id_: document.digest for id_, document in documents.items()})
        store.close()
        assert set(kept) == set(documents), logs
        return state

    def logs(self) -> str:
        return "\n".join(worker.log_tail(30) for worker in self.workers[-4:])

    def close(self) -> None:
        for supervisor in self.supervisors:
            supervisor.close()
        for worker in self.workers:
            worker.close()
        self._app.close()
        self.redis.close()
        self.client.close()
