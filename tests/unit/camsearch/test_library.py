"""The Python door: what a newcomer writes, and what it refuses."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import threading
import uuid
from contextlib import closing
from pathlib import Path

import fsspec
import numpy as np
import pytest

import camsearch
from camsearch.library import ImageLibrary
from descriptors.arrays import Box
from descriptors.backbones import NETWORKS
from descriptors.errors import ArtifactError, CamsearchError, RequestError
from descriptors.expansion import combined_query
from descriptors.images import ImageLimits
from descriptors.machine import Machine
from descriptors.settings import RegionSettings
from descriptors.whitening import LayerWhitening, Whitening
from galleries.about import with_own_windows
from galleries.errors import FingerprintMismatch, GalleryDamaged, GalleryNotFound, NoWindows
from galleries.filters import Term
from indexer.progress import Progress
from indexer.sources import Source
from reranker.errors import OneImageOnly
from reranker.ranking import SearchPlan
from tests.support.images import encoded, shapes
from tests.support.tiny_network import TINY
from tests.support.tolerances import WHITENED
from tests.unit.camsearch.conftest import MACHINE

COUNT = 9


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(COUNT):
        size = (96, 64) if i % 2 else (64, 96)
        (folder / f"{i}.jpg").write_bytes(encoded(shapes(*size, seed=i), "JPEG", quality=95))
    (folder / "bad.jpg").write_bytes(b"bad")
    return folder


def ids(hits):
    return [hit.document.id for hit in hits]


def settings_of(folder):
    """The settings that a gallery's file holds, to be changed behind its back."""
    with closing(sqlite3.connect(folder / "gallery.sqlite")) as rows:
        return json.loads(rows.execute("SELECT settings FROM gallery").fetchone()[0])


def write_settings(folder, settings):
    with closing(sqlite3.connect(folder / "gallery.sqlite")) as rows, rows:
        rows.execute("UPDATE gallery SET settings = ?", [json.dumps(settings)])


def test_the_package_offers_the_library(tiny):
    assert sorted(camsearch.__all__) == ["ImageLibrary", "Machine"]
    assert camsearch.ImageLibrary is ImageLibrary
    assert camsearch.Machine is Machine
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        camsearch.Nothing  # noqa: B018 - asking is the test


def test_index_and_search(tiny, photos, tmp_path):
    library = tiny.library(tmp_path / "gallery")
    progress = library.index([photos])
    assert progress == Progress(asked=COUNT + 1, indexed=COUNT, rejected=1)

    ranking = library.search(photos / "3.jpg", box=(10, 4, 90, 60), k=5, rerank=4, expand=2)
    assert len(ranking.hits) == 5
    for hit in ranking.hits:
        assert hit.document.uri.endswith(".jpg")
        assert -1 <= hit.score <= 1
    assert sum(hit.box is not None for hit in ranking.hits) >= 3
    assert library.search(photos / "3.jpg").hits[0].document.uri == str(photos / "3.jpg")
    library.close()


def test_it_closes_itself(tiny, photos, tmp_path):
    before = set(threading.enumerate())
    with tiny.library(tmp_path / "gallery") as library:
        library.index([photos])
        library.search(photos / "3.jpg", rerank=5)
    with pytest.raises(sqlite3.ProgrammingError):
        library.gallery.count()
    assert set(threading.enumerate()) <= before


class TestIndex:
    @pytest.fixture
    def library(self, tiny, tmp_path):
        with tiny.library(tmp_path / "gallery", maps="maps") as library:
            yield library

    def test_folders_files_text_and_sources(self, library, photos):
        given = [str(photos / "0.jpg"), photos / "1.jpg", Source("two", str(photos / "2.jpg"))]
        assert library.index(given).indexed == 3
        found = [document.id for document in library.gallery.documents()]
        assert found == [str(photos / "0.jpg"), str(photos / "1.jpg"), "two"]

    def test_one_folder_without_a_list(self, library, photos):
        assert library.index(str(photos)).indexed == COUNT

    def test_what_is_not_there(self, library, photos):
        with pytest.raises(RequestError, match="There is no file or folder"):
            library.index([photos / "0.jpg", photos / "gone"])

    def test_again_and_rejects_again(self, library, photos):
        library.index([photos])
        assert library.index([photos]) == Progress(asked=10, unchanged=9, rejected=1)
        assert library.index([photos], again=True) == Progress(asked=10, indexed=9, rejected=1)
        (photos / "bad.jpg").unlink()
        told = []
        library.index([photos], retry_rejects=True, on_progress=told.append)
        assert told[-1].asked == 9

    def test_what_a_killed_writer_left_is_swept(self, library, photos):
        left = Path(f"{library.features.path_of('a')}.0123.part")
        left.parent.mkdir(parents=True)
        left.write_bytes(b"half")
        os.utime(left, (0, 0))
        library.index([photos / "0.jpg"])
        assert not left.exists()

    def test_classes_have_names(self, library, photos):
        library.index([photos])
        document = next(library.gallery.documents())
        assert all(one.name and not one.name.isdigit() for one in document.classes)

    def test_limits_are_the_machine_s(self, tiny, photos, tmp_path):
        machine = Machine(limits=ImageLimits(max_pixels=100), precision="float32")
        with tiny.library(tmp_path / "gallery", machine=machine) as library:
            assert library.index([photos]).rejected == COUNT + 1
            with pytest.raises(CamsearchError, match="100 pixels are allowed"):
                library.search(photos / "0.jpg")

    def test_deleted_images_go_with_their_maps(self, library, photos):
        library.index([photos])
        doomed, stays = str(photos / "0.jpg"), str(photos / "1.jpg")
        assert library.delete([doomed, "unknown", str(photos / "bad.jpg")]) == (
            [doomed, str(photos / "bad.jpg")]
        )
        assert not library.features.has(doomed)
        assert library.features.has(stays)
        assert doomed not in ids(library.search(photos / "0.jpg").hits)
        assert list(library.gallery.rejects()) == []


@pytest.fixture(scope="module")
def made(tiny_files, tmp_path_factory):
    folder = tmp_path_factory.mktemp("search")
    sources = []
    for i in range(COUNT):
        path = folder / f"{i}.png"
        path.write_bytes(encoded(shapes(96, 64, seed=i)))
        sources.append(Source(f"{i}", str(path), {"even": i % 2 == 0, "number": i}))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(NETWORKS, "tiny", TINY)
        library = tiny_files.library(folder / "gallery")
    library.index(sources)
    yield library, folder
    library.close()


class TestSearch:
    def test_an_image_that_is_read_already(self, made):
        library, folder = made
        read = library.read(folder / "4.png")
        for image in (read, folder / "4.png", str(folder / "4.png")):
            assert ids(library.search(image, k=3).hits)[0] == "4"

    def test_options_reach_the_search(self, made):
        library, folder = made
        query = folder / "4.png"
        assert len(library.search(query, k=2).hits) == 2
        coarse = [hit.box for hit in library.search(query, k=9, rerank=3).hits]
        assert all(coarse)
        assert [h.box for h in library.search(query, k=9, rerank=3, refine=True).hits] != coarse
        by_maps = library.search(query, k=9, rerank=3, by="maps").hits
        assert [hit.box is not None for hit in by_maps] == [True] * 3 + [False] * 6
        whole = Box(0, 0, 96, 64)
        by_images = library.search(query, k=9, rerank=3, by="images").hits
        assert [hit.box for hit in by_images] == [whole] * 3 + [None] * 6
        even = library.search(query, k=9, matching=Term("meta.even", value=True))
        assert sorted(ids(even.hits)) == ["0", "2", "4", "6", "8"]
        plain = library.search(query, k=9, expand=3)
        weighted = library.search(query, k=9, expand=3, alpha=3.0)
        assert [h.score for h in plain.hits] != [h.score for h in weighted.hits]

    def test_several_images_are_one_query(self, made):
        library, folder = made
        images = [folder / "4.png", (library.read(folder / "5.png"), (0, 0, 40, 40))]
        both = library.search(images=images, without=[folder / "6.png"], k=9, rerank=9)
        boxed = library.describe(library.read(folder / "5.png"), (0, 0, 40, 40))
        four, six = (library.describe(library.read(folder / f"{i}.png")) for i in (4, 6))
        expected = library.searcher.search(
            combined_query([four, boxed], [six]), SearchPlan(k=9, window=9)
        )
        assert ids(both.hits) == ids(expected.hits)
        assert [h.score for h in both.hits] == pytest.approx([h.score for h in expected.hits])

    def test_a_negative_example_moves_its_like_down(self, made):
        library, folder = made
        one, other = folder / "4.png", folder / "5.png"
        for described in ({"image": one}, {"images": [one]}):
            plain = library.search(**described, k=9)
            less = library.search(**described, without=[other], k=9)
            before, after = (
                next(h.score for h in found.hits if h.document.id == "5") for found in (plain, less)
            )
            assert after < before

    def test_several_images_are_not_compared_by_maps(self, made):
        library, folder = made
        images = [folder / "4.png", folder / "5.png"]
        for by in ("maps", "images"):
            with pytest.raises(OneImageOnly, match="re-rank by windows"):
                library.search(images=images, rerank=5, by=by)
        with pytest.raises(OneImageOnly):
            library.search(images[0], without=images[1:], rerank=5, by="maps")

    @pytest.mark.parametrize(
        "given", [{}, {"image": "a", "images": ["b"]}, {"images": ["a"], "box": (1, 2, 3, 4)}]
    )
    def test_an_image_or_images_are_given(self, made, given):
        library, _ = made
        with pytest.raises(RequestError, match="one of the two"):
            library.search(**given)

    def test_a_box_makes_another_query(self, made):
        library, folder = made
        whole = library.search(folder / "4.png", k=9)
        part = library.search(folder / "4.png", (0, 0, 40, 40), k=9)
        everything = library.search(folder / "4.png", (0, 0, 96, 64), k=9)
        assert [h.score for h in part.hits] != [h.score for h in whole.hits]
        assert ids(everything.hits) == ids(whole.hits)
        WHITENED.check([h.score for h in whole.hits], [h.score for h in everything.hits])

    def test_heat_maps_lie_between_0_and_1(self, made):
        library, folder = made
        image = library.read(folder / "4.png")
        query = library.describe(image)
        heat = library.query_heat(image, query)
        assert heat.ndim == 2
        assert (heat.min() >= 0, heat.max()) == (True, pytest.approx(1))


class TestCreateAndOpen:
    def test_opened_it_answers_as_before(self, tiny, photos, tmp_path):
        regions = RegionSettings(min_side=16, n_classes=3)
        with tiny.library(tmp_path / "gallery", regions=regions) as first:
            first.index([photos])
            before = first.search(photos / "2.jpg", k=9, rerank=9)
        with ImageLibrary.open(tmp_path / "gallery", MACHINE) as second:
            assert second.regions == regions
            after = second.search(photos / "2.jpg", k=9, rerank=9)
        assert ids(before.hits) == ids(after.hits)
        assert [h.box for h in before.hits] == [h.box for h in after.hits]
        np.testing.assert_allclose([h.score for h in before.hits], [h.score for h in after.hits])

    def test_it_can_be_moved(self, tiny, photos, tmp_path):
        with tiny.library(tmp_path / "gallery", maps="maps") as first:
            first.index([photos])
        shutil.move(tmp_path / "gallery", tmp_path / "elsewhere")
        with ImageLibrary.open(tmp_path / "elsewhere", MACHINE) as moved:
            ranking = moved.search(photos / "2.jpg", rerank=9, by="maps")
            assert ranking.warnings == ()
            assert all(moved.features.has(id_) for id_ in ids(ranking.hits))

    @pytest.mark.parametrize("name", ["a::b", "写真 [x] 50%"])
    def test_a_folder_of_any_name(self, tiny, photos, tmp_path, name):
        with tiny.library(tmp_path / name, maps="maps") as first:
            first.index([photos / "0.jpg"])
        with ImageLibrary.open(tmp_path / name, MACHINE) as second:
            assert second.search(photos / "0.jpg", rerank=5, by="maps").warnings == ()
        assert len(list((tmp_path / name).rglob("*.maps"))) == 1

    def test_other_settings_are_another_gallery(self, tiny, tmp_path):
        tiny.library(tmp_path / "gallery").close()
        other = tiny.settings.model_copy(update={"n_classes": 3})
        with pytest.raises(FingerprintMismatch, match="another folder"):
            tiny.library(tmp_path / "gallery", settings=other)

    def test_another_whitening_put_into_the_folder_is_noticed(self, tiny, tmp_path):
        tiny.library(tmp_path / "gallery").close()
        true = Whitening.load(tiny.whitening)
        first = LayerWhitening(true.layers[0].mean * 2, true.layers[0].projection)
        other = Whitening((first, *true.layers[1:]), true.vector_digest, true.weights_digest, "x")
        other.save(tmp_path / "gallery" / "whitening.safetensors")
        with pytest.raises(FingerprintMismatch, match="put back the weights and the whitening"):
            ImageLibrary.open(tmp_path / "gallery", MACHINE)

    def test_weights_that_are_gone(self, tiny, tmp_path):
        weights = shutil.copy(tiny.weights, tmp_path / "weights.safetensors")
        tiny.library(tmp_path / "gallery", weights=weights).close()
        weights.unlink()
        with pytest.raises(ArtifactError, match="There is no weight file"):
            ImageLibrary.open(tmp_path / "gallery", MACHINE)

    @pytest.mark.parametrize("damage", ["gone", "cut", "json gone"])
    def test_a_damaged_whitening_is_said_and_mended_by_indexing(
        self, tiny, photos, tmp_path, damage
    ):
        folder = tmp_path / "gallery"
        with tiny.library(folder) as library:
            library.index([photos])
        whitening = folder / "whitening.safetensors"
        if damage == "json gone":
            whitening.with_suffix(".json").unlink()
        elif damage == "gone":
            whitening.unlink()
        else:  # as a kill in the middle of the copy leaves it
            whitening.write_bytes(whitening.read_bytes()[:100])
        with pytest.raises(ArtifactError, match="camsearch fit"):
            ImageLibrary.open(folder, MACHINE)
        tiny.library(folder).close()
        with ImageLibrary.open(folder, MACHINE) as mended:
            assert mended.gallery.count() == COUNT
        assert not list(folder.glob("*.part"))

    def test_the_gallery_s_own_whitening_may_be_given(self, tiny, tmp_path):
        tiny.library(tmp_path / "gallery").close()
        own = tmp_path / "gallery" / "whitening.safetensors"
        tiny.library(tmp_path / "gallery", whitening=own).close()

    @pytest.mark.parametrize(
        "change",
        [
            lambda settings: settings.pop("method"),
            lambda settings: settings.pop("weights"),
            lambda settings: settings.pop("regions"),
            lambda settings: settings["regions"].update(from_the_future=1),
        ],
    )
    def test_settings_of_another_version(self, tiny, tmp_path, change):
        folder = tmp_path / "gallery"
        tiny.library(folder).close()
        settings = settings_of(folder)
        change(settings)
        write_settings(folder, settings)
        with pytest.raises(GalleryDamaged, match="cannot be read by this version"):
            ImageLibrary.open(folder, MACHINE)

    def test_a_gallery_that_says_no_more_than_before_opens(self, tiny, tmp_path):
        """Until folders said of their method what an index does."""
        folder = tmp_path / "gallery"
        tiny.library(folder, maps="maps").close()
        settings = settings_of(folder)
        write_settings(
            folder, {name: settings[name] for name in ("method", "regions", "weights", "maps")}
        )
        with ImageLibrary.open(folder, MACHINE) as library:
            assert library.method.fingerprint() == settings["fingerprint"]
            assert library.features.address == str(folder / "maps")

    def test_no_gallery(self, tmp_path):
        with pytest.raises(GalleryNotFound, match="camsearch index"):
            ImageLibrary.open(tmp_path / "gallery")

    def test_the_packaged_whitening_fits_the_default_settings_only(self, tiny, tmp_path):
        with pytest.raises(ArtifactError, match="fit one on your images"):
            tiny.library(tmp_path / "gallery", whitening=None)
        assert not (tmp_path / "gallery").exists()


class TestWindows:
    def test_a_gallery_made_before_goes_on_without(self, tiny, photos, tmp_path):
        before = tiny.settings.model_copy(update={"windows": 0})
        folder = tmp_path / "gallery"
        with tiny.library(folder, settings=before) as library:
            library.index([photos / "0.jpg"])
        settings = settings_of(folder)
        del settings["method"]["windows"]
        write_settings(folder, settings)
        assert with_own_windows(folder, tiny.settings) == before
        with ImageLibrary.open(folder, MACHINE) as library:
            library.index([photos])
            assert library.gallery.count() == COUNT
            assert library.search(photos / "2.jpg", rerank=9).hits[0].box is not None
            with pytest.raises(NoWindows, match="--windows 14"):
                library.search(photos / "2.jpg", rerank=9, by="windows")
        with pytest.raises(FingerprintMismatch, match="another folder"):
            tiny.library(folder)

    def test_without_a_gallery_settings_stay_as_they_are(self, tiny, tmp_path):
        assert with_own_windows(tmp_path / "none", tiny.settings) == tiny.settings


class TestMaps:
    def test_none_are_kept_unless_asked_for(self, tiny, photos, tmp_path):
        with tiny.library(tmp_path / "gallery") as library:
            library.index([photos])
            assert library.features is None
            assert library.search(photos / "1.jpg", rerank=9, by="maps").warnings == ()
        assert not list(tmp_path.rglob("*.maps"))

    def test_kept_at_an_address(self, tiny, photos, tmp_path):
        place = uuid.uuid4().hex
        with tiny.library(tmp_path / "gallery", maps=f"memory://{place}") as library:
            library.index([photos])
            memory = fsspec.filesystem("memory")
            assert len(memory.find(f"/{place}")) == COUNT
            assert library.search(photos / "1.jpg", k=9, rerank=9, by="maps").warnings == ()
            library.delete([str(photos / "1.jpg")])
            assert len(memory.find(f"/{place}")) == COUNT - 1
        with ImageLibrary.open(tmp_path / "gallery", MACHINE) as again:
            assert again.features.has(str(photos / "2.jpg"))
