"""Every dataset, from its files to its rows, with the tiny network."""

from __future__ import annotations

import pytest

from descriptors.settings import RegionSettings
from evaluation.datasets.catalogue import FitOn, read_dataset
from evaluation.encoding import encode_photos
from evaluation.ours import score_ours
from evaluation.scores import summarise
from evaluation.searching import stage_of
from evaluation.trials import all_photos
from tests.support.datasets import (
    make_csv_folder,
    make_distractors,
    make_folder,
    make_holidays,
    make_oxford,
    make_revisited,
)
from tests.support.tiny_network import tiny_encoder
from tests.unit.evaluation.miniature import tell_nobody

REGIONS = RegionSettings(n_classes=4, min_side=8)
FIRST = [stage_of(0, 0)]
STAGES = {"OfA": [*FIRST, stage_of(100, 5)], "OnA": FIRST, "theme": FIRST}
MAKERS = {
    "oxford5k": (make_oxford, ("all",)),
    "roxford5k": (make_revisited, ("medium", "easy", "hard")),
    "holidays": (make_holidays, ("all",)),
    "folder": (make_folder, ("all",)),
}


def rows_of(name, root, cache, **options):
    """What is measured of one dataset, by system and stage."""
    trials = read_dataset(name, root, cache=cache, **options)
    encoded = encode_photos(all_photos(trials), tiny_encoder(), cache, tell_nobody)
    scores = [score_ours(trial, encoded, REGIONS, tell_nobody, STAGES) for trial in trials]
    rows = summarise(scores, "tiny", "mid+last", dict.fromkeys(STAGES, 14))
    return {(row.system, row.stage): row for row in rows}


@pytest.fixture(scope="module")
def fit_on(tmp_path_factory):
    """Drawings of another seed: what is fitted on is another collection."""
    return FitOn("oxford5k", make_oxford(tmp_path_factory.mktemp("fit"), seed=9))


@pytest.mark.slow
@pytest.mark.parametrize("name", MAKERS)
def test_views_are_found(name, fit_on, tmp_path):
    make, measures = MAKERS[name]
    found = rows_of(name, make(tmp_path / "root"), tmp_path / "cache", fit_on=fit_on)
    assert set(found) == {(s, stage.name) for s, some in STAGES.items() for stage in some}
    for row in found.values():
        assert tuple(row.measures) == measures
        assert row.all == row.measures[measures[0]]
        assert row.collections is None
        assert 0 < row.all <= 1
    # A random order of fifteen images with two right ones reaches about .2.
    assert found["OfA", "first"].all > 0.4
    assert found["OnA", "first"].all > 0.4


@pytest.mark.slow
def test_boxes_of_ones_own_csv(tmp_path):
    root = make_csv_folder(tmp_path / "root")
    found = rows_of("folder", root, tmp_path / "cache", queries="boxes")
    assert len(found["OfA", "first"].trials) == 2
    assert found["OfA", "first"].all > 0.5


@pytest.mark.slow
def test_distractors_make_it_harder_and_are_not_fitted_on(fit_on, tmp_path):
    root, cache = make_oxford(tmp_path / "root"), tmp_path / "cache"
    make_distractors(root / "oxc1_100k", 30)
    plain = rows_of("oxford5k", root, cache, fit_on=fit_on)
    larger = rows_of("oxford105k", root, cache, fit_on=fit_on)
    assert larger["OfA", "first"].all < plain["OfA", "first"].all
