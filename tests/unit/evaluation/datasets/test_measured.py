"""Every dataset, from its files to its rows, with the tiny network."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from descriptors.settings import RegionSettings
from evaluation.datasets.catalogue import FitOn, read_dataset
from evaluation.encoding import encode_photos
from evaluation.ours import score_ours
from evaluation.scores import Labels, summarise
from tests.support.datasets import (
    make_csv_folder,
    make_distractors,
    make_folder,
    make_holidays,
    make_oxford,
    make_paris,
    make_revisited,
)
from tests.support.tiny_network import tiny_encoder

if TYPE_CHECKING:
    from pathlib import Path

    from evaluation.scores import Row

REGIONS = RegionSettings(n_classes=4, least_side=8)


def rows_of(name: str, root: Path, cache: Path, **options: Any) -> dict[tuple[str, str], Row]:
    """What is measured of one dataset, by system and stage."""
    trials = read_dataset(name, root, cache=cache, **options)
    photos = list(dict.fromkeys(photo for trial in trials for photo in trial.photos))
    encoded = encode_photos(photos, tiny_encoder(), cache, lambda *_: None)
    scores = [score_ours(trial, encoded, REGIONS, lambda *_: None) for trial in trials]
    rows = summarise(scores, Labels("tiny", "mid+last"), dict.fromkeys(_OURS, 14))
    return {(row.system, row.stage): row for row in rows}


_OURS = ("OfA", "OnA", "theme")
_MAKERS = {
    "oxford5k": (make_oxford, ("all",)),
    "paris6k": (make_paris, ("all",)),
    "roxford5k": (make_revisited, ("medium", "easy", "hard")),
    "holidays": (make_holidays, ("all",)),
    "folder": (make_folder, ("all",)),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", _MAKERS)
def test_views_are_found(name: str, tmp_path: Path):
    make, measures = _MAKERS[name]
    # Drawings of another seed: what is fitted on is another collection.
    fit_on = FitOn("oxford5k", make_oxford(tmp_path / "fit", seed=9))
    found = rows_of(name, make(tmp_path / "root"), tmp_path / "cache", fit_on=fit_on)
    assert set(found) >= {("OfA", "R100+QE5"), ("OnA", "first"), ("theme", "first")}
    for (system, stage), row in found.items():
        assert tuple(row.measures) == measures, (system, stage)
        assert row.all == row.measures[measures[0]]
        assert row.collections is None
        assert 0 < row.all <= 1
    # A random order of fifteen pictures with two right ones reaches about .2.
    assert found["OfA", "first"].all > 0.4
    assert found["OnA", "first"].all > 0.4


@pytest.mark.slow
def test_boxes_of_ones_own_csv(tmp_path: Path):
    root = make_csv_folder(tmp_path / "root")
    found = rows_of("folder", root, tmp_path / "cache", queries="boxes")
    assert len(found["OfA", "first"].trials) == 2
    assert found["OfA", "first"].all > 0.5


@pytest.mark.slow
def test_distractors_make_it_harder_and_are_not_fitted_on(tmp_path: Path):
    fit_on = FitOn("paris6k", make_paris(tmp_path / "paris"))
    root = make_oxford(tmp_path / "root")
    make_distractors(root / "oxc1_100k", 30)
    cache = tmp_path / "cache"
    plain = rows_of("oxford5k", root, cache, fit_on=fit_on)
    larger = rows_of("oxford105k", root, cache, fit_on=fit_on)
    assert set(larger) == set(plain)
    assert larger["OfA", "first"].all < plain["OfA", "first"].all


@pytest.mark.slow
def test_class_vectors_that_do_not_fit_memory_are_not_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("evaluation.ours.MOST_ONLINE_BYTES", 1000)
    found = rows_of("folder", make_folder(tmp_path / "root"), tmp_path / "cache")
    systems = {system for system, _ in found}
    assert "OfA" in systems
    assert "OnA" not in systems
