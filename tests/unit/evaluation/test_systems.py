"""The compared systems on a small folder: whitening, ranking, expansion, boxes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from descriptors.errors import RequestError
from descriptors.settings import LayerSettings
from evaluation.encoding import EncodedPhotos, encode_photos
from evaluation.photos import Trial, read_photos, read_trials
from evaluation.pooling import sum_pooled
from evaluation.systems import (
    SYSTEMS,
    System,
    dense_ranking,
    describe,
    fit_layers,
    pool_photos,
    score_system,
)
from tests.support.tiny_network import tiny_encoder
from tests.unit.evaluation.miniature import make_miniature

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_miniature(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def encoded(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> EncodedPhotos:
    cache = tmp_path_factory.mktemp("maps")
    return encode_photos(read_photos(folder), tiny_encoder(), cache, lambda *_: None)


@pytest.fixture(scope="module")
def trial(folder: Path) -> Trial:
    return read_trials(folder, "full")[0]


class TestPoolPhotos:
    def test_rows_follow_the_photos_asked_for(self, encoded: EncodedPhotos, trial: Trial):
        pooled = pool_photos(System(sum_pooled), encoded, trial.gallery)
        assert [tuple(v.shape) for v in pooled.of(trial.gallery)] == [(12, 1, 8), (12, 1, 12)]
        photo = trial.gallery[5]
        [(_, maps)] = encoded.batches([photo])
        for vectors, layer in zip(pooled.of([photo]), maps.features, strict=True):
            torch.testing.assert_close(vectors, sum_pooled(layer))

    def test_fewer_vectors_are_filled_with_zero(self, encoded: EncodedPhotos, trial: Trial):
        # The 80 x 96 views have more regions along their longer side than the square ones.
        pooled = pool_photos(SYSTEMS["R-MAC"], encoded, trial.gallery)
        lengths = pooled.layers[0].norm(dim=2)
        assert set(lengths.flatten().round(decimals=4).tolist()) == {0.0, 1.0}


class TestDescribe:
    def test_without_a_whitening_layers_are_joined(self):
        one, other = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
        expected = torch.tensor([[1.0, 0.0, 0.0, 1.0]]) / 2**0.5
        torch.testing.assert_close(describe([one, other], None), expected)

    def test_whitened_against_numpy(self):
        random = np.random.default_rng(0)
        rows = random.random((40, 1, 6), dtype=np.float32)
        rows /= np.linalg.norm(rows, axis=2, keepdims=True)
        [whitening] = fit_layers([torch.from_numpy(rows)], [LayerSettings(name="x", dims=3)])
        centred = rows[:, 0] - rows[:, 0].mean(axis=0)
        values, axes = np.linalg.eigh(np.cov(centred.T))
        best = np.argsort(-values)[:3]
        expected = centred @ (axes[:, best] / np.sqrt(values[best]))
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        found = describe([torch.from_numpy(rows)], [whitening]).numpy()
        # The sign of an axis is free, so cosines are compared.
        np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-4)

    def test_vectors_are_summed_and_zero_rows_add_nothing(self):
        two = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]])
        expected = torch.tensor([[1.0, 1.0]]) / 2**0.5
        torch.testing.assert_close(describe([two], None), expected)

    def test_a_photo_without_activation_stays_zero(self):
        rows = torch.rand(20, 1, 6)
        whitening = fit_layers([rows], [LayerSettings(name="x", dims=3)])
        assert (describe([torch.zeros(1, 1, 6)], whitening) == 0).all()

    def test_too_few_photos_to_fit_on(self):
        with pytest.raises(RequestError, match="fit on more pictures"):
            fit_layers([torch.rand(3, 1, 6)], [LayerSettings(name="x", dims=3)])


class TestDenseRanking:
    GALLERY = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0], [-1.0, 0.0]])
    IDS = ("a", "b", "c", "d")

    def test_by_cosine_without_the_query(self):
        query = torch.tensor([1.0, 0.0])
        assert dense_ranking(self.GALLERY, query, self.IDS, "a") == ["b", "c", "d"]

    def test_expansion_by_hand(self):
        # a leads with .96 to b's .80; q' is along (.96, .28) + (1, 0) + (.8, .6): the same order.
        query = torch.tensor([0.6, 0.8])
        assert dense_ranking(self.GALLERY, query, self.IDS, "none")[:2] == ["b", "c"]
        # The two first hits pull towards c: (.6, .8) + (.8, .6) + (0, 1) has c before a.
        found = dense_ranking(self.GALLERY, query, self.IDS, "none", 2)
        assert found == ["b", "c", "a", "d"]

    def test_ties_keep_their_order(self):
        gallery = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
        query = torch.tensor([1.0, 0.0])
        assert dense_ranking(gallery, query, ("x", "y", "z"), "none") == ["y", "z", "x"]


class TestScoreSystem:
    @pytest.mark.parametrize("name", SYSTEMS)
    def test_every_query_at_every_stage(self, name: str, encoded: EncodedPhotos, folder: Path):
        for trial in read_trials(folder, "full"):
            pooled = pool_photos(SYSTEMS[name], encoded, (*trial.gallery, *trial.fit))
            scores = score_system(name, trial, encoded, pooled)
            assert len(scores) == 3 * len(trial.queries)
            assert {score.stage for score in scores} == {"first", "first+QE5", "first+QE10"}
            assert all(0 <= score.average_precision <= 1 for score in scores)

    def test_views_of_a_scene_are_found(self, encoded: EncodedPhotos, trial: Trial):
        pooled = pool_photos(SYSTEMS["raw"], encoded, (*trial.gallery, *trial.fit))
        first = [s for s in score_system("raw", trial, encoded, pooled) if s.stage == "first"]
        assert np.mean([score.average_precision for score in first]) > 0.8

    @pytest.mark.parametrize("name", SYSTEMS)
    def test_boxes_pool_the_cells_inside(self, name: str, encoded: EncodedPhotos, folder: Path):
        for trial in read_trials(folder, "boxes"):
            pooled = pool_photos(SYSTEMS[name], encoded, (*trial.gallery, *trial.fit))
            scores = score_system(name, trial, encoded, pooled)
            assert len(scores) == 3 * len(trial.queries)
