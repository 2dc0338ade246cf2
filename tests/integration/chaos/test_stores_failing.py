"""An Elasticsearch that dies or is too busy, and a full disk under the feature maps."""

from __future__ import annotations

import os
import subprocess
import time
from typing import TYPE_CHECKING

import pytest

from galleries.features import FeatureStore
from tests.integration.chaos.busy import BusyServer
from tests.integration.chaos.processes import slow_decoder
from tests.support.clock import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.chaos.conftest import NewStage
    from tests.services.elasticsearch import ElasticsearchServer


def test_elasticsearch_killed_in_mid_bulk_and_restarted_loses_nothing(
    new_stage: NewStage, own_elasticsearch: Callable[[], ElasticsearchServer], redis_db_url: str
) -> None:
    server = own_elasticsearch()
    stage = new_stage(server.url, redis_db_url, chunk=8)
    worker = stage.worker(slow_decoder(0.1))
    worker.wait_until_ready()
    run = stage.enqueue()
    gallery = stage.gallery()
    ids = [source.id for source in stage.sources]
    some = "some documents written"
    wait_for(lambda: 4 <= len(gallery.known(ids)[0]) < len(ids), some, pause=0.005)
    server.kill()
    time.sleep(1)
    server.start()
    stage.finish(run)
    stage.check(run)
    assert worker.alive


def test_429_for_a_third_of_the_items_loses_nothing(
    new_stage: NewStage, elasticsearch_url: str, redis_db_url: str
) -> None:
    busy = BusyServer(elasticsearch_url)
    try:
        stage = new_stage(elasticsearch_url, redis_db_url)
        broken = stage.sources[5]
        with open(broken.uri, "wb") as file:  # noqa: PTH123
            file.write(b"no image")
        stage.worker(elasticsearch=busy.url)
        run = stage.enqueue()
        stage.finish(run)
        state = stage.check(run)
    finally:
        busy.close()
    assert state.counts["indexed"] == 39
    assert state.counts["rejected"] == 1
    assert busy.refused >= busy.items // 3 > 10


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk for the maps of about ten images; `grow` makes it larger."""
    if os.geteuid() != 0:
        pytest.skip("Only root may mount a small disk: run the tests as root, as in a container.")
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=128k", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"No small disk can be mounted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def grow(folder: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True)


def test_a_full_disk_of_maps_is_listed_and_cured(
    new_stage: NewStage, elasticsearch_url: str, redis_db_url: str, small_disk: Path
) -> None:
    stage = new_stage(
        elasticsearch_url, redis_db_url, images=24, chunk=6, attempts=2, maps=str(small_disk)
    )
    stage.worker()
    run = stage.enqueue()
    stage.finish(run)
    state = stage.check(run)  # no document stands without its maps
    failed = stage.ledger.failed(run)
    assert 0 < len(failed) < 24, "the disk is too large or too small for this test"
    assert all("No space left" in reason for reason in failed.values())
    assert state.counts["rejected"] == 0
    rejects = list(stage.gallery().rejects())
    assert {reject.kind for reject in rejects} == {"failed_repeatedly"}

    grow(small_disk)
    again = stage.enqueue([s for s in stage.sources if s.id in failed], retry=True)
    stage.finish(again)
    gallery = stage.gallery()
    assert gallery.count() == 24
    assert list(gallery.rejects()) == []
    store = FeatureStore(stage.maps, gallery.fingerprint)
    assert all(store.has(source.id) for source in stage.sources)
    store.close()
