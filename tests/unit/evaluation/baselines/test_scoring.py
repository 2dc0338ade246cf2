"""Every baseline on a small folder, and R-MAC's re-ranking against numpy."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from evaluation.baselines.dense import Bench, DenseSystem, PostProcessing
from evaluation.baselines.localisation import Localiser
from evaluation.baselines.maps import Pooler, asked_keys, gallery_keys, stacked
from evaluation.baselines.r_mac import r_mac, r_mac_regions, search_and_localise
from evaluation.baselines.systems import SYSTEMS, score_baselines
from evaluation.datasets.photos import read_trials
from evaluation.encoding import EncodedImages
from evaluation.scores import LeftOut
from tests.unit.evaluation.baselines.made_maps import maxima, unit
from tests.unit.evaluation.miniature import tell_nobody

if TYPE_CHECKING:
    from pathlib import Path


FIRST = ["first", "first+QE5", "first+QE10"]
STAGES = dict.fromkeys(SYSTEMS, FIRST) | {
    "R-MAC": [*FIRST, "R100", "R100+QE5"],
    "Razavian": ["first"],
    "BoW": ["first", "R100"],
}


def score(trials, encoded, cache, *names):
    return score_baselines(trials, encoded, cache, tell_nobody, names or tuple(SYSTEMS), LeftOut())


def values(scores):
    return [[one.average_precision for one in of_trial] for of_trial in scores]


class TestScoreBaselines:
    def test_every_query_at_every_stage(self, encoded, miniature, cache):
        trials = read_trials(miniature, "boxes")
        for trial, scores in zip(trials, score(trials, encoded, cache), strict=True):
            expected = [(name, stage) for name, stages in STAGES.items() for stage in stages]
            found = [(one.system, one.stage) for one in scores]
            assert list(dict.fromkeys(found)) == expected
            assert set(Counter(found).values()) == {len(trial.queries)}
            assert all(0 <= one.average_precision <= 1 for one in scores)

    def test_maps_are_read_once_for_all_pooled_systems(self, encoded, trials, cache, monkeypatch):
        read: Counter[Path] = Counter()
        batches = EncodedImages.batches

        def counted(self, images):
            read.update(image.file for image in images)
            return batches(self, images)

        monkeypatch.setattr(EncodedImages, "batches", counted)
        names = [name for name in SYSTEMS if name not in {"R-MAC", "BoW"}]
        score(trials, encoded, cache, *names)
        assert set(read.values()) == {1}
        assert len(read) == 24

    def test_images_that_nothing_is_fitted_on_are_described_alike(self, encoded, trials, cache):
        # Of both trials all images are fitted on; of one alone its gallery is not.
        names = ["raw", "CroW", "R-MAC+power", "Razavian"]
        both, alone = (score(some, encoded, cache, *names) for some in (trials, trials[:1]))
        assert values(both)[0] == pytest.approx(values(alone)[0])

    def test_a_query_outside_of_the_gallery_that_leaves_nothing_out(self, encoded, trials, cache):
        trial = trials[0]
        query = replace(trial.queries[0], leave_out=None)
        gallery = tuple(image for image in trial.gallery if image != query.image)
        outside = replace(trial, gallery=gallery, queries=(query,))
        inside = replace(trial, queries=trial.queries[:1])
        names = [name for name in SYSTEMS if name not in {"BoW", "R-MAC"}]
        found = [score((one,), encoded, cache, *names) for one in (outside, inside)]
        assert values(found[0]) == values(found[1])
        [scores] = score((outside,), encoded, cache)
        assert len(scores) == sum(len(stages) for stages in STAGES.values())


def r_mac_bench(encoded, trial):
    """R-MAC without a whitening, which the slow version below need not know."""
    vectors = {}
    for batch in Pooler.of(encoded, [r_mac], [trial]).batches(trial.gallery):
        vectors.update({key: pooled[r_mac] for key, pooled in batch})
    describe = PostProcessing.fitted(DenseSystem(r_mac, whitened=False), [], [])
    gallery, queries = (
        describe(stacked(vectors[key] for key in keys))
        for keys in (gallery_keys(trial), asked_keys(trial))
    )
    return Bench(trial, encoded, describe, gallery, queries)


def slow_region(encoded, query, hit):
    """R-MAC of the window of a hit in which a full-image query is found."""
    layers = []
    for image in (query, hit):
        [(_, maps)] = encoded.batches([image])
        layers.append(maps.features)
    asked, seen = (Localiser.of(features) for features in layers)
    width, height = asked.finest.width, asked.finest.height
    mac = asked.vectors(np.array([[0, 0, width, height]]))
    window = seen.find(mac, np.array([width / height]))
    described = []
    for layer in seen.layers:
        [[x0, y0, x1, y1]] = seen.cut(window, layer).tolist()
        cut = layer.maps.values()[0, :, y0:y1, x0:x1].numpy()
        regions = [unit(maxima(cut, *r)) for r in r_mac_regions(y1 - y0, x1 - x0)]
        described.append(unit(np.sum(regions, axis=0)))
    return unit(np.concatenate(described))


class TestSearchAndLocalise:
    def test_against_numpy(self, encoded, trials):
        trial = replace(trials[0], queries=trials[0].queries[:3])
        bench = r_mac_bench(encoded, trial)
        found = {one.stage: one.rows for one in search_and_localise(bench, 6)}
        assert list(found) == [*FIRST, "R6", "R6+QE5"]
        for q, query in enumerate(trial.queries):
            first = found["first"][q].tolist()
            regions = {
                row: slow_region(encoded, query.image, trial.gallery[row]) for row in first[:6]
            }
            asked = bench.queries[q].numpy()
            once = sorted(first[:6], key=lambda row: -regions[row] @ asked)
            assert found["R6"][q].tolist() == once + first[6:]
            more = unit(asked + sum(regions[row] for row in once[:5]))
            twice = sorted(first[:6], key=lambda row: -regions[row] @ more)
            assert found["R6+QE5"][q].tolist() == twice + first[6:]

    def test_a_query_is_its_own_best_hit(self, encoded, trials):
        queries = tuple(replace(query, leave_out=None) for query in trials[0].queries)
        bench = r_mac_bench(encoded, replace(trials[0], queries=queries))
        *_, reranked, _ = search_and_localise(bench)
        own = [trials[0].gallery.index(query.image) for query in queries]
        assert torch.tensor(own).tolist() == reranked.rows[:, 0].tolist()
