"""What a worker makes of a chunk, however often and in whatever state it comes."""

from __future__ import annotations

import pytest

from descriptors.errors import RequestError
from galleries.about import features_of
from galleries.errors import FeatureStoreError, GalleryUnreachable
from indexer.pipeline import index_sources
from indexer.progress import Chunk
from indexer.sources import Source
from indexer.worker import TryAgain
from tests.support.documents import ids_of

RUN = "run-1"


def chunk_of(stage, paths, **said):
    sources = tuple(Source(path, path, {"n": i}) for i, path in enumerate(paths))
    return Chunk(**{"id": "c1", "sources": sources, "gallery": stage.settings.images, **said})


def given_up(stage, chunk):
    """What comes of a chunk that fails at each attempt."""
    for _ in range(stage.settings.attempts - 1):
        with pytest.raises(TryAgain):
            stage.worker.index(chunk)
    return stage.worker.index(chunk)


def fails_with(monkeypatch, error):
    def fail(*_args, **_named):
        raise error

    monkeypatch.setattr("indexer.worker.index_sources", fail)


def test_a_chunk_that_comes_twice_is_counted_once(stage):
    stage.ledger.open_run(RUN, stage.settings.images)
    stage.ledger.ask(RUN, 3, "c1", "{}")
    chunk = chunk_of(stage, stage.add(3), run=RUN)
    first, second = stage.worker.index(chunk), stage.worker.index(chunk)
    assert (first.progress.indexed, second.progress.unchanged) == (3, 3)
    state = stage.ledger.state(RUN)
    assert (state.asked, state.finished, state.counts["indexed"]) == (3, 3, 3)
    assert stage.gallery.count() == 3


def test_an_id_may_be_left_to_the_bytes(stage):
    (path,) = stage.add(1)
    sources = (Source("", path), Source("", "/nowhere/y.png"))
    stage.worker.index(Chunk("c", sources, stage.settings.images))
    (document,) = stage.gallery.documents()
    assert document.id == document.digest
    assert ids_of(stage.gallery.rejects()) == ["/nowhere/y.png"]


def test_metadata_that_no_longer_fits_the_mapping_is_a_reject(stage):
    one, two = stage.add(2)
    first = Chunk("c1", (Source("a", one, {"place": {"city": "Paris"}}),), stage.settings.images)
    second = Chunk("c2", (Source("b", two, {"place": "Rome"}),), stage.settings.images)
    stage.worker.index(first)
    assert stage.worker.index(second).progress.rejected == 1
    (reject,) = stage.gallery.rejects()
    assert (reject.id, reject.kind) == ("b", "malformed_document")
    assert "place" in reject.reason


def test_a_metadata_update_that_is_refused_leaves_what_was_there(stage):
    (path,) = stage.add(1)
    images = stage.settings.images

    def index(number, meta):
        return stage.worker.index(Chunk(f"c{number}", (Source("a", path, meta),), images)).progress

    assert index(1, {"place": {"city": "Paris"}}).indexed == 1
    (before,) = stage.gallery.documents()
    assert index(2, {"place": "Rome"}).rejected == 1
    (after,) = stage.gallery.documents()
    assert (after.meta, after.descriptor.tolist()) == (before.meta, before.descriptor.tolist())
    assert features_of(stage.gallery.settings).has("a")
    (reject,) = stage.gallery.rejects()
    assert "place" in reject.reason
    assert "The version indexed before is kept." in reject.reason
    assert index(3, {"place": "Rome"}).rejected == 1
    assert index(4, {"place": {"city": "Rome"}}).updated == 1
    assert [document.meta for document in stage.gallery.documents()] == [
        {"place": {"city": "Rome"}}
    ]
    assert list(stage.gallery.rejects()) == []


@pytest.mark.parametrize("id_", ["k" * 600, "a\ud800"])
def test_a_chunk_given_up_ends_whatever_its_ids_are(stage, monkeypatch, id_):
    chunk = Chunk("c1", (Source(id_, "/a\ud800.jpg", {"x": b"x"}),), stage.settings.images)
    fails_with(monkeypatch, ValueError("Broken \ud800."))
    assert given_up(stage, chunk).failed
    (reject,) = stage.gallery.rejects()
    assert reject.id.startswith("sha256-")


def test_an_unreachable_server_is_no_fault_of_the_chunk(stage, monkeypatch):
    chunk = chunk_of(stage, stage.add(2))
    fails_with(monkeypatch, GalleryUnreachable("Away."))
    for _ in range(stage.settings.attempts + 2):
        with pytest.raises(TryAgain, match="Away"):
            stage.worker.index(chunk)
    monkeypatch.undo()


def test_what_fails_again_and_again_is_taken_apart_and_listed(stage, monkeypatch):
    stage.ledger.open_run(RUN, stage.settings.images)
    stage.ledger.ask(RUN, 3, "c1", "{}")
    paths = stage.add(3)
    chunk = chunk_of(stage, paths, run=RUN)

    def fail_on_second(sources, *args, **named):
        sources = list(sources)
        if any(source.id == paths[1] for source in sources):
            raise RuntimeError("It broke.")
        return index_sources(sources, *args, **named)

    monkeypatch.setattr("indexer.worker.index_sources", fail_on_second)
    waiting = [chunk]
    for _ in range(50):
        if waiting:
            try:
                waiting += stage.worker.index(waiting[0]).apart
            except TryAgain:
                waiting.append(waiting[0])
            del waiting[0]
    assert not waiting
    assert ids_of(stage.gallery.documents()) == [paths[0], paths[2]]
    (reject,) = stage.gallery.rejects()
    assert (reject.id, reject.kind, reject.reason) == (
        paths[1], "failed_repeatedly", "RuntimeError: It broke."
    )  # fmt: skip
    state = stage.ledger.state(RUN)
    assert (state.finished, state.counts["indexed"], state.counts["failed"]) == (3, 2, 1)
    assert stage.ledger.failed(RUN) == {paths[1]: "RuntimeError: It broke."}


def test_a_full_disk_fails_the_chunk_as_a_whole(stage, monkeypatch):
    paths = stage.add(3)
    chunk = chunk_of(stage, paths)
    fails_with(monkeypatch, FeatureStoreError("The disk is full."))
    assert sorted(given_up(stage, chunk).failed) == paths
    assert [reject.kind for reject in stage.gallery.rejects()] == ["failed_repeatedly"] * 3


def test_an_image_that_was_indexed_stays_when_its_new_version_fails(stage, monkeypatch):
    paths = stage.add(1)
    stage.worker.index(chunk_of(stage, paths))
    fails_with(monkeypatch, RuntimeError("x"))
    chunk = chunk_of(stage, paths, id="c2", again=True)
    assert sorted(given_up(stage, chunk).failed) == paths
    assert ids_of(stage.gallery.documents()) == paths
    assert list(stage.gallery.rejects()) == []


def test_what_ended_its_worker_too_often_is_not_begun_again(stage, monkeypatch):
    chunk = chunk_of(stage, stage.add(1))
    for _ in range(stage.settings.attempts):  # each time the process died
        stage.ledger.begin_attempt(chunk.id)
    fails_with(monkeypatch, AssertionError("must not be called"))
    result = stage.worker.index(chunk)
    assert "killed its worker 3 times" in next(iter(result.failed.values()))
    assert next(iter(stage.gallery.rejects())).kind == "worker_lost"


def test_deleted_images_take_their_maps_along(stage):
    paths = stage.add(2)
    stage.worker.index(chunk_of(stage, paths))
    assert stage.worker.delete([paths[0], "nobody"], stage.settings.images) == 1
    store = features_of(stage.gallery.settings)
    assert [store.has(path) for path in paths] == [False, True]
    assert ids_of(stage.gallery.documents()) == [paths[1]]


def test_a_worker_is_alive_by_its_progress(stage):
    assert stage.ledger.workers(since=0) == []
    stage.worker.index(chunk_of(stage, stage.add(3)))
    (worker,) = stage.ledger.workers(since=0)
    assert worker.images == 3
    assert stage.ledger.workers(since=worker.last_progress + 1) == []


def test_a_worker_asks_for_the_version_of_the_server_once(stage, monkeypatch):
    asked = []
    info = stage.client.info
    monkeypatch.setattr(stage.client, "info", lambda: asked.append(1) or info())
    for number in range(3):
        stage.worker.index(chunk_of(stage, stage.add(1, first=number)))
    assert len(asked) == 1
    assert stage.gallery.count() == 3


def test_a_worker_that_is_fast_notes_its_progress_seldom_and_at_the_end(stage, monkeypatch):
    noted = []
    beat = stage.ledger.beat
    monkeypatch.setattr(stage.ledger, "beat", lambda state: noted.append(state) or beat(state))
    stage.worker.index(chunk_of(stage, stage.add(40)))
    assert len(noted) < 10  # a batch has four
    assert noted[-1].images == 40


def test_a_fit_that_cannot_be_is_refused(stage):
    with pytest.raises(RequestError, match=r"must end in \.safetensors"):
        stage.worker.fit([], "w.bin", {})
    with pytest.raises(RequestError, match="These settings are not valid"):
        stage.worker.fit([], "w.safetensors", {"side": "huge"})


def test_new_metadata_that_no_longer_fits_is_one_reject_among_the_others(stage):
    paths = stage.add(3)
    sources = [Source(path, path, {"place": {"city": "Ulm"}}) for path in paths]
    stage.worker.index(Chunk("c1", tuple(sources), stage.settings.images))
    sources[1] = Source(paths[1], paths[1], {"place": "Rome"})
    sources[2] = Source(paths[2], paths[2], {"place": {"city": "Bonn"}})
    progress = stage.worker.index(Chunk("c2", tuple(sources), stage.settings.images)).progress
    assert (progress.unchanged, progress.updated, progress.rejected) == (1, 1, 1)
    assert ids_of(stage.gallery.rejects()) == [paths[1]]


def test_an_index_that_takes_no_writes_makes_no_image_bad(stage):
    paths = stage.add(2)
    stage.worker.index(chunk_of(stage, paths))
    blocked = {"index.blocks.write": True}
    stage.client.indices.put_settings(index=stage.index, settings=blocked)
    chunk = chunk_of(stage, paths, id="c2", again=True)
    with pytest.raises(TryAgain, match="refuses every write"):
        stage.worker.index(chunk)
    assert ids_of(stage.gallery.documents()) == paths
    assert list(stage.gallery.rejects()) == []
    stage.client.indices.put_settings(index=stage.index, settings={"index.blocks.write": False})
    assert stage.worker.index(chunk).progress.indexed == 2
