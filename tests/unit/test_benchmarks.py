"""The benchmarks that need no server run, and compare with the yardstick of the same run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks.local import bench_encode, bench_rerank, bench_windows
from descriptors.settings import RegionSettings
from tests.support.datasets import make_distractors
from tests.support.tiny_network import tiny_method

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return sorted(make_distractors(tmp_path / "images", 6).rglob("*.jpg"))


def test_encode_is_compared_with_the_bare_forward(images: list[Path]):
    rows = bench_encode(tiny_method(), images, batch_sizes=(1, 2), repeats=2)
    assert [row["size"] for row in rows] == [1, 1, 2, 2, 1]
    assert [row["compared_with"] for row in rows] == ["", "bare forward", "", "bare forward", ""]
    assert all((row["ratio"] is None) == (row["compared_with"] == "") for row in rows)
    assert all(0 < row["ms_p50"] <= row["ms_p95"] for row in rows)


def test_rerank_fills_a_window_larger_than_the_images_there_are(images: list[Path], tmp_path: Path):
    regions = RegionSettings(n_classes=4, min_side=8)
    rows = bench_rerank(tiny_method(), regions, images, tmp_path / "g", windows=(10,), repeats=2)
    assert [row["what"] for row in rows] == ["maps recomputed, a query", "kept maps, a query"]
    assert [row["repeats"] for row in rows] == [1, 2]
    assert rows[1]["ratio"] == pytest.approx(rows[1]["ms_p50"] / rows[0]["ms_p50"], rel=0.01)


def test_windows_are_compared_with_whole_images(tmp_path: Path):
    rows = bench_windows(tmp_path, counts=(10, 300), dims=8, windows=5, repeats=2)
    assert [row["size"] for row in rows] == [10] * 4 + [300] * 4
    assert [row["compared_with"] for row in rows[:4]] == ["", *["whole images"] * 3]
    assert all(row["ms_p50"] > 0 and row["resident_mb"] > 0 for row in rows)
