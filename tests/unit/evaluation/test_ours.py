"""Our systems on a small folder: descriptions, OnA, theme, and a searcher that remembers."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from descriptors.arrays import Box
from descriptors.errors import RequestError
from descriptors.settings import RegionSettings
from evaluation.datasets.photos import read_trials
from evaluation.fitting import fit_method
from evaluation.ours import PreparedTrial, score_ours
from evaluation.scores import LeftOut
from evaluation.searching import OFFLINE_STAGES, MemoryGallery, online_vectors, stage_of
from evaluation.where import Where
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
        assert list(prepared.documents) == [image.path for image in gallery]
        for image in (gallery[0], gallery[-1]):
            [(_, maps)] = prepared.encoded.batches([image])
            row = prepared.method.describe_encoded(maps).descriptors[0].numpy()
            np.testing.assert_allclose(prepared.documents[image.path].descriptor, row, atol=1e-5)
            assert prepared.documents[image.path].uri == str(image.file)

    def test_queries_are_described_once_each(self, prepared):
        names = [one.query.name for one in prepared.asked]
        assert sorted(names) == sorted(query.name for query in prepared.trial.queries)
        fewer = prepared.with_regions(REGIONS.model_copy(update={"n_classes": 2}))
        assert [one.query.name for one in fewer.asked] == names
        assert prepared.with_regions(REGIONS) is prepared


@pytest.mark.parametrize("weighted", [False, True])
def test_online_vectors_are_as_the_method_describes_each_image(trials, encoded, *, weighted):
    mine = replace(encoded, encoder=tiny_encoder(tiny_settings(probability_weights=weighted)))
    method = fit_method(trials[0].fit, mine)
    images = trials[0].gallery
    vectors = online_vectors(method, mine, images, torch.tensor([1, 4, 6, 9]))
    classes = torch.tensor([9, 1])
    for image, row in zip(images, vectors.describe(classes), strict=True):
        [(_, maps)] = mine.batches([image])
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
                hits, took = mine.rank_timed(one.described, plan)
                assert [hit.key for hit in hits] == expected
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


@pytest.fixture(scope="module")
def with_windows(miniature, encoded):
    """Two queries for each other, in a method with windows."""
    trial, _ = read_trials(miniature, "boxes")
    mine = replace(encoded, encoder=tiny_encoder(tiny_settings(windows=5)))
    first = trial.queries[0]
    right = min(first.judgements["all"].positives)
    query = replace(first, places={right: (Box(0, 0, 48, 48),)})
    trial = replace(trial, queries=(query,))
    return PreparedTrial.of(trial, mine, fit_method(trial.fit, mine), REGIONS)


class TestWhere:
    def test_stages_without_boxes_say_nothing(self, with_windows):
        searcher, (one,) = with_windows.searcher(), with_windows.asked
        scores = list(with_windows.score("OfA", one, searcher, OFFLINE_STAGES))
        searcher.close()
        placed = {score.stage for score in scores if score.where is not None}
        without = {"first", "first+QE5", "first+QE10", "window100", "window100+QE5"}
        assert placed == {score.stage for score in scores} - without
        assert all(score.where is None or score.where.right == 1 for score in scores)

    def test_the_boxes_are_those_of_the_product(self, with_windows, tmp_path):
        method, (one,) = with_windows.method, with_windows.asked
        about = {"method": method.settings.model_dump(mode="json")}
        (right,) = one.query.places
        with LocalGallery.create(
            tmp_path, method.settings.dims, method.fingerprint(), about
        ) as gallery:
            gallery.put(list(with_windows.documents.values()))
            plain = Searcher(method, gallery, with_windows.encoded.store, REGIONS)
            searcher = with_windows.searcher()
            for stage in (stage_of(100, 0), *OFFLINE_STAGES[-3:]):
                plan = stage.plan(len(with_windows.documents), one.query.leave_out)
                hits, _ = searcher.rank_timed(one.described, plan)
                boxes = {h.document.id: h.box for h in plain.search(one.described, plan).hits}
                query = replace(one.query, places={right: (boxes[right],)})
                assert searcher.where(query, one.described, hits, plan) == Where(1, 1.0, 1.0, 1.0)
            plain.close()
            searcher.close()


class TestFitMethod:
    def test_the_packaged_whitening_fits_no_other_network(self, encoded):
        with pytest.raises(RequestError, match="name images to fit one on: --fit-on DIR"):
            fit_method((), encoded)


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
