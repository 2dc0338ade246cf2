"""A worker with a tiny network, a real Elasticsearch and a real Redis, all in this process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from redis import Redis

from descriptors.machine import Machine
from descriptors.settings import RegionSettings
from es_mappings import indices
from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_bulk import Bulk
from es_mappings.elastic_client import connect
from galleries.about import about_method
from indexer.app import make_celery_app
from indexer.ledger import Ledger
from indexer.settings import IndexerSettings
from indexer.tasks import register
from indexer.worker import GalleryWorker
from tests.support.images import encoded, shapes
from tests.support.tiny_network import tiny_method

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from celery import Celery
    from elasticsearch import Elasticsearch


@dataclass
class Stage:
    """Everything a test of indexing touches."""

    client: Elasticsearch
    ledger: Ledger
    settings: IndexerSettings
    worker: GalleryWorker
    app: Celery
    index: str
    images: Path

    @property
    def gallery(self) -> ElasticGallery:
        """The gallery as it stands, all writes visible."""
        self.client.indices.refresh(index=f"{self.settings.images}*")
        return self.worker.gallery(self.settings.images)

    def add(self, count: int, *, first: int = 0) -> list[str]:
        """Write images; returns their paths."""
        paths = []
        for number in range(first, first + count):
            path = self.images / f"{number:03d}.png"
            path.write_bytes(encoded(shapes(64, 48, seed=number), "PNG"))
            paths.append(str(path))
        return paths


@pytest.fixture
def stage(
    elasticsearch_url: str,
    index_prefix: str,
    redis_db_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Stage]:
    method = tiny_method()
    monkeypatch.setattr("indexer.worker.method_about", lambda _about, _machine: method)
    client = connect(elasticsearch_url)
    settings = IndexerSettings(
        elasticsearch=elasticsearch_url,
        broker=redis_db_url,
        images=f"{index_prefix}images",
        chunk=4,
    )
    about = about_method(method, RegionSettings(), maps=str(tmp_path / "maps"))
    plan = indices.IndexPlan("flat", replicas=0)
    index = indices.create_gallery(client, settings.images, about, about["dims"], plan)
    redis = Redis.from_url(redis_db_url, decode_responses=True)
    ledger = Ledger(redis)
    machine = Machine(precision="float32", batch_size=4, readers=2)
    worker = GalleryWorker(client, ledger, settings, machine, bulk=Bulk(client, patience=2))
    app = make_celery_app(settings)
    register(app, settings, lambda: worker)
    images = tmp_path / "images"
    images.mkdir()
    yield Stage(client, ledger, settings, worker, app, index, images)
    app.close()
    redis.close()
    client.close()
