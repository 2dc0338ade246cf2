"""Queries by several images: what they are compared with, and what is left out."""

from __future__ import annotations

import numpy as np
import pytest

from descriptors.settings import RegionSettings
from evaluation.examples import EXAMPLES, LIKE_NEGATIVE, score_examples
from evaluation.fitting import fit_method
from evaluation.ours import PreparedTrial
from evaluation.scores import trapezoidal_average_precision
from evaluation.searching import FIRST_STAGES
from tests.unit.evaluation.miniature import SCENES, VIEWS

REGIONS = RegionSettings(n_classes=4, min_side=8)


@pytest.fixture(scope="module")
def prepared(trials, encoded):
    return PreparedTrial.of(trials[0], encoded, fit_method(trials[0].fit, encoded), REGIONS)


@pytest.fixture(scope="module")
def scores(prepared):
    found: dict[tuple[str, str], list] = {}
    for score in score_examples(prepared, EXAMPLES):
        found.setdefault((score.system, score.stage), []).append(score)
    return found


def by_hand(prepared, paths, vector):
    """Average precision of whole images other than these, for the scene of these."""
    others = [path for path in prepared.documents if path not in paths]
    rows = np.stack([prepared.documents[path].descriptor for path in others])
    scene = paths[0].rpartition("/")[0]
    ranking = [others[row] for row in np.argsort(-(rows @ vector), kind="stable")]
    ranks = [rank for rank, path in enumerate(ranking) if path.startswith(scene)]
    return trapezoidal_average_precision(ranks, len(ranks))


def test_each_view_begins_a_query_with_those_after_it(prepared, scores):
    for system in ("views 2", "best of 2", "views 3", "best of 3"):
        for stage in EXAMPLES[system]:
            found = scores[system, stage.name]
            assert len(found) == len(prepared.asked) == VIEWS * len(SCENES) // 2
            for score in found:
                assert score.positives == VIEWS - int(system[-1])
                assert score.query.image.path not in {answer.path for answer in score.answers}


def test_two_views_by_hand(prepared, scores):
    for one, both in zip(scores["best of 2", "first"], scores["views 2", "first"], strict=True):
        folder, _, name = both.query.image.path.rpartition("/")
        paths = [f"{folder}/{(int(name[:3]) + i) % VIEWS:03d}.jpg" for i in range(2)]
        vectors = [prepared.documents[path].descriptor for path in paths]
        alone = [by_hand(prepared, paths, vector) for vector in vectors]
        assert one.average_precision == pytest.approx(max(alone))
        together = by_hand(prepared, paths, vectors[0] + vectors[1])
        assert both.average_precision == pytest.approx(together)


def test_a_negative_is_a_wrong_hit_of_the_first_page(prepared, scores):
    found, without = scores["negative", "first"], scores["no negative", "first"]
    assert [s.query.name for s in found] == [s.query.name for s in without]
    for score in found:
        assert score.positives == VIEWS - 1
        assert len(score.ranks) <= VIEWS - 1
        assert 0 <= score.precision[LIKE_NEGATIVE] <= 1
    shares = [np.mean([s.precision[LIKE_NEGATIVE] for s in some]) for some in (found, without)]
    assert shares[0] <= shares[1]


def test_only_what_is_wanted_is_measured(prepared):
    scores = list(score_examples(prepared, {"OfA": FIRST_STAGES, "views 2": FIRST_STAGES[:1]}))
    assert {(score.system, score.stage) for score in scores} == {("views 2", "first")}
