"""Another method for a gallery that is searched all the while."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from descriptors.encoder import to_working_size
from descriptors.images import read_image
from es_mappings.elastic import ElasticGallery
from es_mappings.elastic_client import connect
from es_mappings.indices import indices_of, rejects_index
from tests.integration.chaos.conftest import LAYERS, FastMethod
from tests.integration.chaos.processes import slow_decoder
from tests.support.clock import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from indexer.sources import Source
    from tests.conftest import Run
    from tests.integration.chaos.conftest import NewStage
    from tests.integration.chaos.stage import Stage

K = 7


def vectors(method: FastMethod, sources: Sequence[Source]) -> dict[str, np.ndarray]:
    """What this method makes of the images, by their ids."""
    encoder = method.method.encoder
    read = [read_image(Path(s.uri).read_bytes(), reduce_to=method.side) for s in sources]
    pixels = encoder.prepare([to_working_size(one, encoder.settings) for one in read])
    described = method.method.describe_images(pixels).descriptors.float().numpy()
    return {s.id: row for s, row in zip(sources, described, strict=True)}


@dataclass
class Searchers:
    """Search by three ways, each in a thread of its own, and note every answer."""

    address: str
    name: str
    known: Mapping[str, Mapping[str, np.ndarray]]  # vectors by fingerprint and id
    errors: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)  # the index of each answer to a plain client
    fingerprints: list[str] = field(default_factory=list)  # of each gallery opened by its alias
    stayed: int = 0
    _end: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._client = connect(self.address)
        ways = (self._plain_client, self._opened_each_time, self._opened_once())
        self._threads = [threading.Thread(target=self._repeat, args=(way,)) for way in ways]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._end.set()
        for thread in self._threads:
            thread.join()
        self._client.close()

    def _repeat(self, search: Callable[[], None]) -> None:
        while not self._end.wait(0.02):
            try:
                search()
            except Exception as error:  # noqa: BLE001 - whatever it is, a search has failed
                self.errors.append(f"{search.__name__}: {error!r}")

    def _plain_client(self) -> None:
        """An application that knows the alias and nothing else."""
        vector = next(iter(next(iter(self.known.values())).values()))
        knn: dict[str, Any] = {"field": "descriptor", "query_vector": vector.tolist()}
        knn |= {"k": K, "num_candidates": 100}
        answer = self._client.search(index=self.name, knn=knn, size=K, source=False)
        hits = answer["hits"]["hits"]
        there = {hit["_index"] for hit in hits}
        if len(hits) != K or len(there) != 1 or answer["_shards"]["failed"]:
            self.errors.append(f"plain client: {len(hits)} hits of {sorted(there)}")
        self.seen += there

    def _opened_each_time(self) -> None:
        gallery = self._open()
        self.fingerprints.append(gallery.fingerprint)
        self._search(gallery)

    def _opened_once(self) -> Callable[[], None]:
        gallery = self._open()

        def search_as_before() -> None:
            self._search(gallery)
            self.stayed += 1

        return search_as_before

    def _open(self) -> ElasticGallery:
        return ElasticGallery(self._client, self.name, rejects_index(self.name))

    def _search(self, gallery: ElasticGallery) -> None:
        """An image finds itself, which it would hardly do among vectors of another method."""
        for id_, vector in list(self.known[gallery.fingerprint].items())[:3]:
            hits = gallery.knn(vector, K)
            if len(hits) != K or hits[0].id != id_ or hits[0].cosine < 0.99:
                self.errors.append(f"{id_} in {gallery.index}: {len(hits)} hits, {hits[:1]}")


@pytest.fixture
def on(camsearch: Run, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Runs a command for the gallery of a stage."""

    def run(stage: Stage, *arguments: str) -> None:
        for name in ("elasticsearch", "broker", "images", "chunk", "visibility_timeout"):
            value = str(getattr(stage.settings, name))
            monkeypatch.setenv(f"CAMSEARCH_{name.upper()}", value)
        said = camsearch(*arguments)
        assert said.status == 0, f"{said.out}\n{said.err}\n{stage.logs()}"

    return run


def test_searches_go_on_while_another_method_takes_over(
    new_stage: NewStage,
    elasticsearch_url: str,
    redis_db_url: str,
    fast_method: Callable[[int], FastMethod],
    on: Callable[..., None],
) -> None:
    stage = new_stage(elasticsearch_url, redis_db_url, images=20)
    stage.worker(slow_decoder(0.05)).wait_until_ready()
    run = stage.enqueue()
    stage.finish(run)
    stage.check(run)
    old, new = fast_method(64), fast_method(96)
    known = {m.method.fingerprint(): vectors(m, stage.sources) for m in (old, new)}
    name = stage.settings.images
    (before,) = indices_of(stage.client, name)
    with Searchers(elasticsearch_url, name, known) as searchers:
        method = ["--layers", LAYERS, "--side", "96", "--whitening", str(new.whitening)]
        plan = ["--maps", stage.maps, "--graph", "hnsw", "--replicas", "0"]
        on(stage, "gallery", "rebuild", *method, *plan)
        assert set(searchers.seen) == {before}
        (after,) = set(indices_of(stage.client, name)) - {before}
        on(stage, "gallery", "switch", after)
        answered = len(searchers.seen)
        stage.worker()  # that one starts with the new method
        wait_for(lambda: len(searchers.seen) > answered + 10, "searches after the switch")
    assert not searchers.errors, "\n".join(searchers.errors[:10])
    order = list(dict.fromkeys(searchers.seen))
    assert order == [before, after]
    assert searchers.seen == sorted(searchers.seen, key=order.index), "an answer came back"
    assert list(dict.fromkeys(searchers.fingerprints)) == list(known)
    assert min(answered, len(searchers.seen) - answered, searchers.stayed) > 10
    assert stage.gallery().count() == len(stage.sources)
