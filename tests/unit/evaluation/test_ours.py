"""Our systems on a small folder: OnA, theme, galleries, and a searcher that remembers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from descriptors.arrays import Size
from descriptors.method import Method
from descriptors.settings import RegionSettings
from es_mappings.documents import Document, FirstHit
from es_mappings.local import LocalGallery
from evaluation.encoding import EncodedPhotos, encode_photos
from evaluation.galleries import OfflineGallery, OnlineGallery
from evaluation.online import OnlineVectors, online_vectors
from evaluation.ours import THEME_CLASSES, fit_whitening, score_ours
from evaluation.own_vectors import OwnVectors, vectors_needed
from evaluation.photos import Trial, read_trials
from evaluation.stages import OFFLINE_STAGES, StageMemory, StageSearcher
from reranker.pipeline import Searcher
from tests.support.tiny_network import tiny_encoder, tiny_settings
from tests.support.tolerances import EIGHT_BIT, LEAST_COSINE
from tests.unit.evaluation.miniature import make_miniature

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


REGIONS = RegionSettings(n_classes=4, least_side=8)


@pytest.fixture(scope="module")
def trial(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    return read_trials(make_miniature(tmp_path_factory.mktemp("photos")), "full")[0]


@pytest.fixture(scope="module")
def encoded(trial: Trial, tmp_path_factory: pytest.TempPathFactory) -> EncodedPhotos:
    cache = tmp_path_factory.mktemp("maps")
    return encode_photos((*trial.gallery, *trial.fit), tiny_encoder(), cache, lambda *_: None)


@pytest.fixture(scope="module")
def method(trial: Trial, encoded: EncodedPhotos) -> Method:
    return Method(encoded.encoder, fit_whitening(trial.fit, encoded))


def documents_of(trial: Trial, encoded: EncodedPhotos, method: Method) -> dict[str, Document]:
    made = {}
    for photo in trial.gallery:
        [(_, maps)] = encoded.batches([photo])
        row = method.describe_encoded(maps).descriptors[0].numpy()
        digest = encoded.digests[photo.file]
        made[photo.path] = Document(photo.path, str(photo.file), digest, *photo.size, row)
    return made


@pytest.fixture
def gallery(
    trial: Trial, encoded: EncodedPhotos, method: Method, tmp_path: Path
) -> Iterator[LocalGallery]:
    with LocalGallery.create(tmp_path, method.settings.dims, method.fingerprint(), {}) as gallery:
        gallery.put(list(documents_of(trial, encoded, method).values()))
        yield gallery


class TestEncodedPhotos:
    def test_maps_come_with_their_photos(self, trial: Trial, encoded: EncodedPhotos):
        seen = [photo for batch, _ in encoded.batches(trial.gallery) for photo in batch]
        assert sorted(photo.path for photo in seen) == [photo.path for photo in trial.gallery]
        for batch, maps in encoded.batches(trial.gallery):
            assert len(batch) == len(maps)
            assert {Size(photo.size.width, photo.size.height) for photo in batch}


class TestOwnVectors:
    @pytest.mark.parametrize("most_bytes", [2**30, 0])
    def test_as_the_method_describes_each_photo(
        self,
        trial: Trial,
        encoded: EncodedPhotos,
        method: Method,
        monkeypatch: pytest.MonkeyPatch,
        most_bytes: int,
    ):
        monkeypatch.setattr("evaluation.own_vectors._MOST_BYTES", most_bytes)
        own = OwnVectors(encoded, vectors_needed([trial], [method.settings]))
        described = own.describe(trial.gallery, method.whitening, method.settings)
        rows = {
            photo: row for batch, here in described for photo, row in zip(batch, here, strict=True)
        }
        assert rows.keys() == set(trial.gallery)
        for photo, row in rows.items():
            [(_, maps)] = encoded.batches([photo])
            expected = method.describe_encoded(maps).descriptors[0]
            torch.testing.assert_close(row, expected, rtol=EIGHT_BIT.rtol, atol=EIGHT_BIT.atol)

    def test_as_many_as_any_settings_need(self, trial: Trial):
        few, many = tiny_settings(n_classes=2, n_pca=3), tiny_settings(n_classes=5, n_pca=1)
        needed = vectors_needed([trial], [few, many])
        assert {needed[photo] for photo in trial.gallery} == {5}
        assert {needed[photo] for photo in trial.fit} == {3}


class TestOnlineVectors:
    @pytest.mark.parametrize("weighted", [False, True])
    def test_as_the_method_describes_each_photo(
        self, trial: Trial, encoded: EncodedPhotos, *, weighted: bool
    ):
        settings = tiny_settings(probability_weights=weighted)
        encoder = tiny_encoder(settings)
        mine = replace(encoded, encoder=encoder)
        method = Method(encoder, fit_whitening(trial.fit, mine))
        vectors = online_vectors(method, mine, trial.gallery, torch.tensor([1, 4, 6, 9]))
        classes = torch.tensor([9, 1])
        found = vectors.describe(classes)
        for photo, row in zip(trial.gallery, found, strict=True):
            [(_, maps)] = mine.batches([photo])
            expected = method.describe_classes(maps, classes.expand(1, 2))[0, 0]
            assert float(row @ expected) > LEAST_COSINE
            torch.testing.assert_close(row, expected, rtol=EIGHT_BIT.rtol, atol=EIGHT_BIT.atol)


class TestGalleries:
    def test_offline_searches_as_its_gallery(self, gallery: LocalGallery):
        documents = {document.id: document for document in gallery.documents()}
        mine = OfflineGallery(gallery, documents)
        vector = next(iter(documents.values())).descriptor
        assert mine.knn(vector, 5) == gallery.knn(vector, 5)
        assert mine.get(["unknown", *list(documents)[:2]]).keys() == set(list(documents)[:2])

    def test_online_has_descriptors_of_its_own(self):
        mine = OnlineGallery(_documents("ab"), _vectors([[[0, 1], [1, 0]], [[1, 0], [0, 1]]]))
        mine.see_with(torch.tensor([7]))
        assert mine.knn(np.array([0, 1], dtype=np.float32), 1) == [FirstHit("a", 1.0)]
        assert mine.get(["b", "c"])["b"].descriptor.tolist() == [1, 0]
        mine.see_with(torch.tensor([3]))
        assert mine.get(["b"])["b"].descriptor.tolist() == [0, 1]

    def test_online_ties_keep_the_order_of_ids(self):
        mine = OnlineGallery(_documents("abc"), _vectors([[[1, 0], [1, 0]]] * 3))
        mine.see_with(torch.tensor([3]))
        found = mine.knn(np.ones(2, dtype=np.float32), 3)
        assert [hit.id for hit in found] == ["a", "b", "c"]


def _documents(ids: str) -> dict[str, Document]:
    descriptor = np.array([1, 0], dtype=np.float32)
    return {i: Document(i, i, "", 1, 1, descriptor) for i in ids}


def _vectors(rows: list[list[list[int]]]) -> OnlineVectors:
    """Photos x the classes 7 and 3 x dimensions, of one layer."""
    return OnlineVectors({7: 0, 3: 1}, (torch.tensor(rows, dtype=torch.float16),), None)


class TestStageSearcher:
    def test_ranks_as_the_product_does(
        self, trial: Trial, encoded: EncodedPhotos, method: Method, gallery: LocalGallery
    ):
        plain = Searcher(method, gallery, encoded.store, REGIONS)
        mine = StageSearcher(method, gallery, encoded.store, REGIONS, StageMemory())
        photo = trial.queries[0].photo
        [(_, maps)] = encoded.batches([photo])
        query = method.describe_kept_query(maps, photo.size, REGIONS)
        for stage in OFFLINE_STAGES:
            plan = stage.plan(len(trial.gallery), photo.path)
            expected = [hit.document.id for hit in plain.search(query, plan).hits]
            ranking, took = mine.rank_timed(query, plan)
            assert ranking == expected
            assert took > 0

    def test_a_hit_is_matched_once_for_all_stages(
        self, trial: Trial, encoded: EncodedPhotos, method: Method, gallery: LocalGallery
    ):
        memory = StageMemory()
        mine = StageSearcher(method, gallery, encoded.store, REGIONS, memory)
        photo = trial.queries[0].photo
        [(_, maps)] = encoded.batches([photo])
        query = method.describe_kept_query(maps, photo.size, REGIONS)
        plans = [stage.plan(len(trial.gallery), photo.path) for stage in OFFLINE_STAGES]
        mine.rank_timed(query, plans[3])
        assert len(memory.matches) == len(trial.gallery) - 1
        before = memory.spared_ms  # the maps alone were at hand
        known = dict(memory.matches)
        _, took = mine.rank_timed(query, plans[4])
        assert memory.matches == known
        assert took > memory.spared_ms > before
        memory.forget()
        assert not memory.matches


class TestScoreOurs:
    def test_theme_has_one_list_of_classes(self, trial: Trial, encoded: EncodedPhotos):
        scores = score_ours(trial, encoded, REGIONS, lambda *_: None)
        assert {score.system for score in scores} == {"OfA", "OnA", "theme"}
        assert THEME_CLASSES == 16
        # Sixteen of the ten classes are all of them: the theme's order plays no part.
        assert len([s for s in scores if s.system == "theme"]) == 3 * len(trial.queries)
