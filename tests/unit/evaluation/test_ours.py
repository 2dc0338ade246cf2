"""Our systems on a small folder: descriptions, OnA, theme, and a searcher that remembers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from descriptors.settings import RegionSettings
from evaluation.ours import PreparedTrial, fit_method, score_ours
from evaluation.scores import LeftOut
from evaluation.searching import OFFLINE_STAGES, MemoryGallery, online_vectors, stage_of
from galleries.documents import Document, FirstHit
from galleries.local import LocalGallery
from reranker.pipeline import Searcher
from tests.support.tiny_network import tiny_encoder, tiny_settings
from tests.support.tolerances import EIGHT_BIT, MIN_COSINE
from tests.unit.evaluation.miniature import tell_nobody

REGIONS = RegionSettings(n_classes=4, min_side=8)


@pytest.fixture(scope="module")
def prepared(trials, encoded):
    return PreparedTrial.of(trials[0], encoded, fit_method(trials[0].fit, encoded), REGIONS)


class TestPreparedTrial:
    def test_documents_are_those_of_the_method_in_order_of_their_ids(self, prepared):
        gallery = prepared.trial.gallery
        assert list(prepared.documents) == [photo.path for photo in gallery]
        for photo in (gallery[0], gallery[-1]):
            [(_, maps)] = prepared.encoded.batches([photo])
            row = prepared.method.describe_encoded(maps).descriptors[0].numpy()
            np.testing.assert_allclose(prepared.documents[photo.path].descriptor, row, atol=1e-5)
            assert prepared.documents[photo.path].uri == str(photo.file)

    def test_queries_are_described_once_each(self, prepared):
        names = [one.query.name for one in prepared.asked]
        assert sorted(names) == sorted(query.name for query in prepared.trial.queries)
        fewer = prepared.with_regions(REGIONS.model_copy(update={"n_classes": 2}))
        assert [one.query.name for one in fewer.asked] == names
        assert prepared.with_regions(REGIONS) is prepared


@pytest.mark.parametrize("weighted", [False, True])
def test_online_vectors_are_as_the_method_describes_each_photo(trials, encoded, *, weighted):
    mine = replace(encoded, encoder=tiny_encoder(tiny_settings(probability_weights=weighted)))
    method = fit_method(trials[0].fit, mine)
    photos = trials[0].gallery
    vectors = online_vectors(method, mine, photos, torch.tensor([1, 4, 6, 9]))
    classes = torch.tensor([9, 1])
    for photo, row in zip(photos, vectors.describe(classes), strict=True):
        [(_, maps)] = mine.batches([photo])
        expected = method.describe_classes(maps, classes.expand(1, 2))[0, 0]
        assert float(row @ expected) > MIN_COSINE
        torch.testing.assert_close(row, expected, rtol=EIGHT_BIT.rtol, atol=EIGHT_BIT.atol)


def test_a_gallery_in_memory_answers_equal_ones_in_their_order():
    vector = np.array([1, 0], dtype=np.float32)
    gallery = MemoryGallery({i: Document(i, i, "", 1, 1, vector) for i in "cab"})
    assert gallery.knn(vector, 2) == [FirstHit("c", 1.0), FirstHit("a", 1.0)]
    assert list(gallery.get(["b", "none"])) == ["b"]
    assert MemoryGallery({}).knn(vector[:0], 3) == []


class TestStageSearcher:
    def test_ranks_as_the_product_does(self, prepared, tmp_path):
        method = prepared.method
        about = {"method": method.settings.model_dump(mode="json")}
        with LocalGallery.create(
            tmp_path, method.settings.dims, method.fingerprint(), about
        ) as gallery:
            gallery.put(list(prepared.documents.values()))
            plain = Searcher(method, gallery, prepared.encoded.store, REGIONS)
            mine, one = prepared.searcher(), prepared.asked[0]
            for stage in OFFLINE_STAGES:
                plan = stage.plan(len(prepared.documents), one.query.leave_out)
                expected = [hit.document.id for hit in plain.search(one.described, plan).hits]
                ranking, took = mine.rank_timed(one.described, plan)
                assert ranking == expected
                assert took > 0
            plain.close()
            mine.close()

    def test_a_hit_is_matched_once_for_all_stages_of_a_query(self, prepared, monkeypatch):
        matched: list[int] = []
        match = Searcher.match

        def counted(self, query, documents, plan):
            matched.append(len(documents))
            return match(self, query, documents, plan)

        monkeypatch.setattr(Searcher, "match", counted)
        searcher, one = prepared.searcher(), prepared.asked[0]
        plans = [
            stage_of(100, expand).plan(len(prepared.documents), one.query.leave_out)
            for expand in (0, 5)
        ]
        for plan in plans:
            searcher.rank_timed(one.described, plan)
        others = len(prepared.documents) - 1
        assert matched == [others, 0]
        searcher.next_query()
        searcher.rank_timed(one.described, plans[0])
        assert matched == [others, 0, others]
        searcher.close()


class TestScoreOurs:
    def test_theme_has_one_list_of_classes(self, trials, encoded):
        scores = score_ours(trials[0], encoded, REGIONS, tell_nobody)
        assert {score.system for score in scores} == {"OfA", "OnA", "theme"}
        theme = [score for score in scores if score.system == "theme"]
        assert len(theme) == 3 * len(trials[0].queries)

    def test_class_vectors_that_do_not_fit_memory_are_not_made(self, trials, encoded, monkeypatch):
        monkeypatch.setattr("evaluation.ours.MAX_ONLINE_BYTES", 1000)
        left_out, first = LeftOut(), [stage_of(0, 0)]
        stages = {"OfA": first, "OnA": first}
        scores = score_ours(trials[0], encoded, REGIONS, tell_nobody, stages, left_out)
        assert {score.system for score in scores} == {"OfA"}
        assert "OnA" in left_out.reasons
