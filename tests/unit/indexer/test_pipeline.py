"""Every image ends as a document or as a reject with its reason, whatever happens on the way."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import sqlite3
from contextlib import closing
from pathlib import Path
from unittest.mock import Mock

import fsspec
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from descriptors.arrays import Size
from descriptors.errors import RequestError
from descriptors.images import read_image
from galleries.documents import ImageClass
from galleries.errors import FeatureStoreError, GalleryBusy
from galleries.features import FeatureStore
from galleries.filters import Term
from galleries.local import LocalGallery
from indexer.encoding import encode_documents
from indexer.errors import MalformedRow
from indexer.manifests import read_manifest
from indexer.progress import Progress
from indexer.reading import (
    IndexingPlan,
    Prepared,
    Refused,
    batches_of_one_shape,
    prepare_images,
)
from indexer.sources import Source, find_images
from tests.support.clock import HANG_S, wait_for
from tests.support.forked import forked_command
from tests.support.images import encoded, gradient, noise, shapes
from tests.support.tiny_network import tiny_method
from tests.support.tolerances import WHITENED
from tests.unit.indexer.corpus import House, bad_images, good_images


@pytest.fixture(scope="module")
def method():
    return tiny_method()


@pytest.fixture
def house(tmp_path, method):
    made = House(tmp_path, method)
    yield made
    made.assert_consistent()
    made.close()


class TestDocuments:
    def test_a_document_says_what_the_image_is(self, house):
        image = shapes(100, 50, seed=1)
        id_ = house.add("a.png", image)
        names = tuple("abcdefghij")
        house.index([Source(id_, id_, {"city": "Köln"})], class_names=names)
        document = house.documents[id_]
        assert (document.id, document.uri, document.meta) == (id_, id_, {"city": "Köln"})
        assert (document.width, document.height) == (100, 50)
        assert len(document.digest) == 64
        assert document.indexed_at.endswith("+00:00")
        assert [type(one) for one in document.classes] == [ImageClass] * 4
        assert {one.name for one in document.classes} < set(names)
        scores = [one.score for one in document.classes]
        assert scores == sorted(scores, reverse=True)
        assert 0 < sum(scores) <= 1

    def test_descriptors_are_those_of_each_image_by_itself(self, house, method):
        ids = house.add_some(10)
        house.index(batch_size=4)
        for id_ in ids:
            image = read_image(Path(id_).read_bytes())
            alone = method.describe_encoded(method.encode(image)).descriptors[0].numpy()
            WHITENED.check(alone, house.documents[id_].descriptor, id_)

    def test_a_turned_image_has_its_upright_size(self, house):
        images = good_images()
        ids = [house.add(name, images[name]) for name in images if name.startswith("turned")]
        house.index()
        assert len(ids) == 8
        assert {(d.width, d.height) for d in house.documents.values()} == {(64, 48)}
        first = house.documents[ids[0]].descriptor
        assert min(np.dot(first, d.descriptor) for d in house.documents.values()) > 0.9

    def test_images_at_an_address(self, house):
        memory = fsspec.filesystem("memory")
        memory.pipe_file("/pipeline/a.png", encoded(shapes(64, 64)))
        source = Source("A", "memory://pipeline/a.png")
        assert house.index([source]).indexed == 1
        assert house.index([source]).unchanged == 1
        memory.pipe_file("/pipeline/a.png", encoded(shapes(64, 64, seed=3)))
        assert house.index([source]).indexed == 1


class TestBadImages:
    """A batch never dies, and nothing else is lost."""

    def test_each_ends_as_a_reject_with_its_kind_and_the_good_ones_are_indexed(self, house):
        kinds = {}
        good = []
        for i, (name, (data, kind)) in enumerate(bad_images().items()):
            kinds[house.add(f"{i:02d}-{name}", data)] = kind
            good.append(house.add(f"{i:02d}-good.png", shapes(64, 48 + i % 3 * 16, seed=i)))
        good += [house.add(f"odd-{name}", data) for name, data in good_images().items()]
        progress = house.index()
        assert {reject.id: reject.kind for reject in house.rejects.values()} == kinds
        for reject in house.rejects.values():
            assert reject.uri == reject.id
            assert re.fullmatch(r"(?!.*Traceback).+: .{10,}", reject.reason), reject
            assert reject.rejected_at.endswith("+00:00")
            assert reject.source_tag
        assert sorted(house.documents) == sorted(good)
        assert progress == Progress(
            asked=len(kinds) + len(good), indexed=len(good), rejected=len(kinds)
        )
        assert progress.finished == progress.asked

    def test_what_is_no_image_at_all(self, house, tmp_path):
        fine = house.add("fine.png", shapes(64, 64))
        fifo = tmp_path / "pipe.jpg"
        os.mkfifo(fifo)
        problem = MalformedRow("Line 3 names no image: mend it.")
        sources = [
            Source("gone", str(tmp_path / "gone.jpg")),
            Source("web", "https://localhost/a.jpg"),
            Source("scheme", "nosuch://a.jpg"),
            Source("folder", str(tmp_path)),
            Source("pipe", str(fifo)),
            Source("null", "a\0b.jpg"),
            Source("name", os.fsdecode(b"caf\xe9.png")),
            Source("row", "images.csv:3", problem=problem),
            Source(fine, fine),
        ]
        progress = house.index(sources)
        assert {i: reject.kind for i, reject in house.rejects.items()} == dict.fromkeys(
            ["gone", "web", "scheme", "folder", "pipe", "null", "name"], "source_unreadable"
        ) | {"row": "malformed_row"}
        assert house.rejects["row"].reason == "Line 3 names no image: mend it."
        assert progress == Progress(asked=9, indexed=1, rejected=8)

    def test_metadata_that_no_gallery_can_hold(self, house):
        first, second = house.add_some(2)
        metas = [{"when": object()}, {"x": float("nan")}, {"x": "\udcff"}, {"x": {"y": {1}}}]
        sources = [Source(f"{i}", first, meta) for i, meta in enumerate(metas)]
        named = {"dc.title": "x", "dc.title.alternative": "y"}
        sources.append(Source("unread", "/nowhere/gone.jpg", named))
        progress = house.index([*sources, Source("fine", second, {"x": 1})])
        assert progress == Progress(asked=6, indexed=1, rejected=5)
        assert {reject.kind for reject in house.rejects.values()} == {"malformed_document"}
        assert "'dc.title' beside 'dc.title.alternative'" in house.rejects["unread"].reason
        assert house.rejects["unread"].meta == named
        assert list(house.documents) == ["fine"]

    def test_an_image_in_which_the_network_sees_nothing(self, tmp_path):
        # Its first layer answers to strong edges only, and its second to the first only.
        blind = tiny_method()
        with torch.inference_mode():
            blind.encoder.module.get_submodule("conv1").bias -= 4.0
            blind.encoder.module.get_submodule("conv2").bias.clamp_(max=0)
        house = House(tmp_path, blind)
        faint = house.add("faint.png", gradient(64, 64).point(lambda v: 100 + v // 100))
        strong = house.add("strong.png", noise(64, 64))
        assert house.index() == Progress(asked=2, indexed=1, rejected=1)
        assert list(house.documents) == [strong]
        assert house.rejects[faint].kind == "featureless_image"
        assert house.index() == Progress(asked=2, unchanged=1, rejected=1)
        house.assert_consistent()
        house.close()

    def test_a_gallery_of_other_dimensions_holds_none(self, house, tmp_path):
        house.add_some(2)
        with LocalGallery.create(tmp_path / "other", 3, "f", {}) as other:
            progress = house.index(gallery=other, features=None)
            assert progress == Progress(asked=2, rejected=2)
            assert {reject.kind for reject in other.rejects()} == {"malformed_document"}


class TestAgain:
    def test_what_has_not_changed_is_not_even_read(self, house):
        ids = house.add_some(5)
        house.index()
        before = house.documents
        for id_ in ids:  # the same size and time, and no image: whoever reads it will notice
            status = os.stat(id_)
            Path(id_).write_bytes(bytes(status.st_size))
            os.utime(id_, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert house.index() == Progress(asked=5, unchanged=5)
        assert house.documents.keys() == before.keys()
        assert [d.indexed_at for d in house.documents.values()] == (
            [d.indexed_at for d in before.values()]
        )

    def test_a_changed_image_replaces(self, house):
        first, second = house.add_some(2)
        house.index()
        before = house.documents
        house.add("p000.png", shapes(64, 64, seed=60))
        assert house.index() == Progress(asked=2, indexed=1, unchanged=1)
        after = house.documents
        assert after.keys() == before.keys()
        assert after[first].digest != before[first].digest
        assert after[first].width == after[first].height == 64
        assert not np.allclose(after[first].descriptor, before[first].descriptor)
        assert np.array_equal(after[second].descriptor, before[second].descriptor)

    def test_a_touched_image_is_read_but_not_described_again(self, house):
        first, _ = house.add_some(2)
        house.index()
        before = house.documents[first]
        house.touch(first)
        assert house.index() == Progress(asked=2, updated=1, unchanged=1)
        after = house.documents[first]
        assert after.source_tag != before.source_tag
        assert np.array_equal(after.descriptor, before.descriptor)
        assert house.index() == Progress(asked=2, unchanged=2)

    def test_a_source_without_a_tag_is_told_by_its_bytes(self, house, monkeypatch):
        # A file system that says nothing of its files.
        memory = fsspec.filesystem("memory")
        ukey = Mock(side_effect=NotImplementedError)
        monkeypatch.setattr("fsspec.spec.AbstractFileSystem.ukey", ukey)
        memory.pipe_file("/untagged/a.png", encoded(shapes(64, 64)))
        source = Source("A", "memory://untagged/a.png")
        assert house.index([source]).indexed == 1
        assert house.documents["A"].source_tag == ""
        assert house.index([source]) == Progress(asked=1, updated=1)

    def test_changed_metadata_is_written_without_reading_the_image(self, house):
        (id_,) = house.add_some(1)
        house.index([Source(id_, id_, {"city": "Köln"})])
        before = house.documents[id_]
        progress = house.index([Source(id_, id_, {"city": "Bonn", "year": 1999})])
        assert progress == Progress(asked=1, updated=1)
        after = house.documents[id_]
        assert after.meta == {"city": "Bonn", "year": 1999}
        assert np.array_equal(after.descriptor, before.descriptor)
        assert house.gallery.count(Term("meta.city", "Köln")) == 0
        assert house.gallery.count(Term("meta.year", 1999)) == 1
        assert house.index([Source(id_, id_)]) == Progress(asked=1, updated=1)
        assert house.documents[id_].meta == {}

    def test_again_describes_what_has_not_changed(self, house):
        house.add_some(3)
        house.index()
        shutil.rmtree(house.root / "maps")
        assert house.index(again=True) == Progress(asked=3, indexed=3)
        assert house.index(again=False) == Progress(asked=3, unchanged=3)

    def test_an_image_that_moved_under_its_own_id_is_found_at_its_new_place(self, house):
        id_ = house.add("old.png", shapes(64, 64))
        house.index([Source("A", id_)])
        new = house.photos / "new.png"
        Path(id_).rename(new)
        assert house.index([Source("A", str(new))]).rejected == 0
        assert house.documents["A"].uri == str(new)
        assert house.index([Source("A", str(new))]) == Progress(asked=1, unchanged=1)

    def test_one_source_twice_in_a_run(self, house):
        # As `camsearch index photos photos/a.jpg` asks for.
        ids = house.add_some(3)
        twice = [Source(id_, id_) for id_ in (*ids, *ids)]
        progress = house.index(twice)
        assert progress.finished == progress.asked == 6
        assert list(house.documents) == ids
        assert house.index(twice) == Progress(asked=6, unchanged=6)

    def test_of_one_id_twice_in_a_run_the_later_revision_stays(self, house):
        old, new = house.add("old.png", shapes(64, 64)), house.add("new.png", shapes(64, 48))
        sources = [Source("A", new, revision=5), Source("A", old, revision=3)]
        assert house.index(sources) == Progress(asked=2, indexed=1, unchanged=1)
        document = house.documents["A"]
        assert (document.uri, document.revision) == (new, 5)


class TestRejectsAgain:
    def test_a_refused_image_is_skipped_until_asked_for(self, house):
        bad = house.add("bad.jpg", b"no image")
        house.index()
        first = house.rejects[bad]
        assert house.index() == Progress(asked=1, rejected=1)
        assert house.rejects[bad] == first
        assert house.index(retry_rejects=True) == Progress(asked=1, rejected=1)

    def test_a_good_image_clears_the_reject_of_another_of_its_id_in_the_same_run(self, house):
        # What is between them is more than is looked up, or noted, at once.
        bad, good = house.add("bad.png", b"no image"), house.add("good.png", shapes(64, 64))
        between = [Source(f"{i}", "/nowhere/gone.jpg") for i in range(600)]
        progress = house.index([Source("A", bad), *between, Source("A", good)])
        assert progress == Progress(asked=602, indexed=1, rejected=601)
        assert list(house.documents) == ["A"]
        assert house.rejects.keys() == {source.id for source in between}

    def test_an_image_out_of_reach_stays(self, house):
        # A share that is not mounted must not empty the gallery.
        first, second = house.add_some(2)
        house.index()
        before = house.documents[first]
        Path(first).unlink()
        sources = [Source(first, first), Source(second, second)]
        assert house.index(sources) == Progress(asked=2, unchanged=1, out_of_reach=1)
        assert np.array_equal(house.documents[first].descriptor, before.descriptor)
        assert house.features.has(first)
        assert house.index(sources, again=True) == Progress(asked=2, indexed=1, out_of_reach=1)
        assert house.rejects == {}

    def test_a_row_that_became_malformed_takes_its_document_s_place_only_by_its_id(self, house):
        (id_,) = house.add_some(1)
        manifest = house.root / "m.jsonl"
        manifest.write_text(json.dumps({"id": "A", "path": id_}))
        house.index(read_manifest(manifest))
        manifest.write_text(json.dumps({"id": "A"}))
        assert house.index(read_manifest(manifest)) == Progress(asked=1, rejected=1)
        assert list(house.documents) == ["A"]
        assert [reject.kind for reject in house.rejects.values()] == ["malformed_row"]


class TestProgress:
    def test_it_is_told_after_each_batch_and_at_the_end(self, house):
        house.add_some(10)
        seen = []
        house.index(on_progress=lambda p: seen.append((p.asked, p.finished)), batch_size=2)
        assert seen[-1] == (10, 10)
        assert len(seen) == 6 + 1  # three shapes, 4 + 3 + 3 images, two a batch
        assert seen == sorted(seen)

    @pytest.mark.parametrize(("batch_size", "readers"), [(1, 8), (64, 1)])
    def test_nothing_depends_on_batches_and_threads(self, house, batch_size, readers):
        ids = house.add_some(11)
        house.add("bad.jpg", b"bad")
        progress = house.index(batch_size=batch_size, readers=readers)
        assert progress == Progress(asked=12, indexed=11, rejected=1)
        assert list(house.documents) == ids


def prepared(number, shape):
    height, width = shape
    pixels = torch.zeros((3, height, width), dtype=torch.uint8)
    return Prepared(Source(f"{number}", ""), "", "", Size(width, height), pixels)


class TestBatches:
    @given(
        shapes=st.lists(st.tuples(st.integers(1, 6), st.integers(1, 6)), max_size=150),
        batch_size=st.integers(1, 4),
    )
    def test_nothing_is_lost_or_repeated_and_memory_is_bounded(self, shapes, batch_size):
        given_out = []

        def stream():
            for number, shape in enumerate(shapes):
                given_out.append(number)
                yield prepared(number, shape)

        came = []
        for batch in batches_of_one_shape(stream(), batch_size):
            assert 1 <= len(batch) <= batch_size
            assert len({tuple(one.pixels.shape) for one in batch}) == 1
            numbers = [int(one.source.id) for one in batch]
            assert numbers == sorted(numbers)
            came += numbers
            assert len(given_out) - len(came) <= 16 * batch_size
        assert sorted(came) == list(range(len(shapes)))


class TestPreparing:
    def test_answers_come_in_the_order_of_the_sources(self, house):
        ids = house.add_some(9)
        ids.insert(3, house.add("q.png", b"bad"))
        sources = [Source(id_, id_) for id_ in ids]
        outcomes = list(prepare_images(sources, house.method.settings, IndexingPlan(2, 4)))
        assert [outcome.source.id for outcome in outcomes] == ids
        assert [type(outcome) for outcome in outcomes].count(Refused) == 1
        assert isinstance(outcomes[3], Refused)

    def test_no_more_is_read_ahead_than_two_batches(self, house):
        (id_,) = house.add_some(1)
        taken = []

        def stream():
            for number in range(100):
                taken.append(number)
                yield Source(f"{number}", id_)

        outcomes = prepare_images(stream(), house.method.settings, IndexingPlan(3, 2))
        for _ in range(5):
            next(outcomes)
        assert len(taken) <= 5 + 2 * 3
        outcomes.close()


class StoppingStore(FeatureStore):
    """A feature store whose disk is full after some batches."""

    def __init__(self, address, fingerprint, batches):
        super().__init__(address, fingerprint)
        self.left = batches

    def put(self, maps):
        if not self.left:
            raise FeatureStoreError("Feature maps cannot be written: free space there.")
        self.left -= 1
        super().put(maps)


class TestFailures:
    def test_a_store_that_is_full_leaves_whole_batches(self, house, method):
        house.add_some(18)
        store = StoppingStore(str(house.root / "maps"), method.fingerprint(), batches=4)
        with pytest.raises(FeatureStoreError, match="free space"):
            house.index(features=store, batch_size=2)
        store.close()
        assert len(house.documents) == 8
        house.assert_consistent()
        assert house.index() == Progress(asked=18, indexed=10, unchanged=8)

    def test_a_gallery_that_another_process_holds_stops_the_run(self, house):
        house.add_some(3)
        folder = house.root / "gallery"
        with LocalGallery.open(folder, busy_seconds=0.05) as impatient:
            other = sqlite3.connect(folder / "gallery.sqlite", isolation_level=None)
            with closing(other):
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(GalleryBusy):
                    house.index(gallery=impatient)
            assert house.documents == {}
            assert house.index(gallery=impatient).indexed == 3

    def test_a_source_that_fails_in_the_middle_keeps_what_is_done(self, house):
        ids = house.add_some(20)
        bad = house.add("bad.png", b"bad")

        def sources():
            yield Source(bad, bad)
            yield from (Source(id_, id_) for id_ in ids)
            yield from (Source(f"x{i}", ids[0]) for i in range(250))
            raise RequestError("The manifest cannot be read any further.")

        with pytest.raises(RequestError, match="any further"):
            house.index(sources())
        assert list(house.rejects) == [bad]
        assert house.index().finished == 21
        assert set(ids) <= set(house.documents)

    def test_an_interrupt_keeps_what_is_done_and_the_next_run_completes(self, house):
        house.add_some(20)
        bad = house.add("a-bad.jpg", b"bad")
        told = iter(range(4))

        def interrupt(_):
            if next(told, None) is None:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            house.index(on_progress=interrupt, batch_size=2)
        assert (len(house.documents), list(house.rejects)) == (10, [bad])
        house.assert_consistent()
        assert house.index() == Progress(asked=21, indexed=10, unchanged=10, rejected=1)


class TestEncodeDocuments:
    def test_maps_of_documents_from_their_images(self, house, method):
        ids = house.add_some(7)
        house.index()
        documents = house.documents
        made = encode_documents(list(documents.values()), method, IndexingPlan(batch_size=2))
        assert sorted(made) == ids
        kept = house.features.get({i: d.digest for i, d in documents.items()})
        for id_ in ids:
            assert made[id_].digest == kept[id_].digest
            assert made[id_].working == kept[id_].working
            for one, other in zip(made[id_].layers, kept[id_].layers, strict=True):
                assert one.levels.shape == other.levels.shape
                difference = (one.levels.float() - other.levels.float()).abs().max()
                assert difference <= 1  # rounding differs with the batch

    def test_what_cannot_be_read_any_more_is_left_out(self, house, method):
        # Another image too: a document may name any file; its digest shows who has had the bytes.
        gone, bad, changed, fine = house.add_some(4)
        house.index()
        documents = list(house.documents.values())
        Path(gone).unlink()
        Path(bad).write_bytes(b"bad")
        Path(changed).write_bytes(encoded(shapes(64, 64, seed=99)))
        assert list(encode_documents(documents, method, IndexingPlan())) == [fine]


# The usual answer to Ctrl-C, which a test run in the background lacks.
INTERRUPTIBLE = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"


def in_the_middle(log, command, gallery, stop):
    """Start a command, stop it once the gallery holds a few images; returns its status."""
    process = forked_command(log, *command, prelude=INTERRUPTIBLE)
    wait_for(lambda: images_in(gallery) >= 8 or not process.is_alive(), "some images", 0.02)
    os.kill(process.pid, stop)
    process.join(HANG_S)
    return process.exitcode


def images_in(gallery):
    if not (gallery / "gallery.sqlite").is_file():
        return 0
    try:
        with LocalGallery.open(gallery) as opened:
            return opened.count()
    except Exception:  # noqa: BLE001 - it is just being made
        return 0


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT], ids=lambda stop: stop.name)
def test_a_command_that_is_stopped_goes_on_from_there(tmp_path, camsearch, stop):
    photos, gallery = tmp_path / "photos", tmp_path / "gallery"
    photos.mkdir()
    for i in range(100):  # flat ones, which the network passes quickly
        (photos / f"{i:03d}.png").write_bytes(encoded(noise(128, 16, seed=i)))
    (photos / "000-bad.png").write_bytes(b"bad")
    log = tmp_path / "log"
    command = ("index", str(photos), "--gallery", str(gallery), "--maps", "maps")
    status = in_the_middle(log, command, gallery, stop)
    told = log.read_text()
    with LocalGallery.open(gallery) as opened:
        done = opened.count()
        assert 8 <= done < 100
        store = FeatureStore(str(gallery / "maps"), opened.fingerprint)
        digests = {document.id: document.digest for document in opened.documents()}
        assert store.get(digests).keys() == digests.keys()
        store.close()
    if stop == signal.SIGINT:
        assert status == 130
        assert f"Stopped: {done} new images are kept" in told
        assert "Traceback" not in told
    else:
        assert status == -signal.SIGKILL
    assert f"{100 - done} indexed, {done} unchanged" in camsearch(*command).err
    with LocalGallery.open(gallery) as opened:
        assert [document.id for document in opened.documents()] == (
            [source.id for source in find_images([photos]) if "bad" not in source.id]
        )
        assert [reject.kind for reject in opened.rejects()] == ["unreadable_image"]
