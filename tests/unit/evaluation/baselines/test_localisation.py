"""The window that is most like a query, against every window tried one by one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from evaluation.baselines.localisation import Localiser, sampled_windows, window_of_layer
from tests.unit.evaluation.baselines.made_maps import layer_of, made, maxima, unit


def localiser(*values):
    """Of layers, the first with stride 16, the second with 32."""
    return Localiser(tuple(layer_of(v, stride=16 * 2**i) for i, v in enumerate(values)))


def planted():
    """Channels 0 to 2 speak in columns 6 to 8 of rows 3 to 5, channel 3 everywhere else."""
    values = np.zeros((4, 9, 12))
    values[3] = 1
    values[:3, 3:6, 6:9] = np.random.default_rng(0).random((3, 3, 3)) + 1
    values[3, 3:6, 6:9] = 0
    return values


def vector(layers, window):
    """MAC of a window on every layer, cell by cell."""
    parts = []
    for i, values in enumerate(layers):
        x0, y0, x1, y1 = (side / 2**i for side in window)
        edges = (int(x0), int(y0), int(np.ceil(x1)), int(np.ceil(y1)))
        parts.append(unit(maxima(values, *edges)))
    return unit(np.concatenate(parts))


class TestSampledWindows:
    def test_by_hand(self):
        assert sampled_windows(3, 6).tolist() == [[0, 0, 3, 3], [0, 0, 6, 3], [3, 0, 6, 3]]

    @pytest.mark.parametrize(("height", "width"), [(1, 1), (2, 7), (22, 32), (32, 14)])
    def test_they_lie_inside_and_are_not_empty(self, height, width):
        x0, y0, x1, y1 = sampled_windows(height, width).T
        assert len(x0) > 0
        assert ((x0 >= 0) & (x0 < x1) & (x1 <= width)).all()
        assert ((y0 >= 0) & (y0 < y1) & (y1 <= height)).all()


class TestWindowOfLayer:
    def test_it_holds_every_cell_that_is_touched(self):
        found = window_of_layer(np.array([[1, 2, 4, 5], [3, 3, 4, 4]]), 2)
        assert found.tolist() == [[0, 1, 2, 3], [1, 1, 2, 2]]


class TestVectors:
    def test_against_loops(self):
        layers = (made(5, 9, 12), made(6, 5, 6, seed=1))
        windows = [(0, 0, 12, 9), (3, 2, 8, 9), (11, 8, 12, 9)]
        found = localiser(*layers).vectors(np.array(windows)).numpy()
        for row, window in zip(found, windows, strict=True):
            np.testing.assert_allclose(row, vector(layers, window), rtol=1e-4, atol=1e-6)

    def test_a_window_beyond_a_coarser_layer_takes_its_last_cell(self):
        # 9 rows of stride 16 over 4 of stride 32: the ninth has none of its own.
        found = localiser(made(5, 9, 12), made(6, 4, 6)).vectors(np.array([[0, 8, 2, 9]]))
        assert found.isfinite().all()


class TestFind:
    def test_what_was_planted(self):
        values = planted()
        query = torch.from_numpy(vector((values,), (6, 3, 9, 6))).float()[None]
        found = localiser(values).find(query, np.array([1.0]))
        assert found.tolist() == [[6, 3, 9, 6]]

    def test_sides_between_the_steps_are_found_by_refining(self):
        # Channel 0 in columns 4 and 5, channel 1 elsewhere: of windows as wide as high only
        # columns 3 to 5 hold channel 0 and little else; its left side has to move.
        values = np.zeros((2, 3, 12))
        values[1] = 1
        values[:, :, 4:6] = np.array([2.0, 0.0])[:, None, None]
        found = localiser(values).find(torch.tensor([[1.0, 0.0]]), np.array([1.0]))
        assert found.tolist() == [[4, 0, 6, 3]]

    def test_the_best_sampled_window_against_loops_without_refining(self, monkeypatch):
        monkeypatch.setattr("evaluation.baselines.localisation.ROUNDS", 0)
        layers = (made(5, 9, 12), made(6, 5, 6, seed=1))
        random = np.random.default_rng(5)
        queries = np.stack([unit(random.random(11)) for _ in range(4)])
        ratios = np.array([1.0, 1.3, 0.5, 40.0])
        found = localiser(*layers).find(torch.from_numpy(queries).float(), ratios)
        for query, ratio, row in zip(queries, ratios, found.tolist(), strict=True):
            apart = {
                (x0, y0, x1, y1): abs(np.log((x1 - x0) / (y1 - y0) / ratio))
                for x0, y0, x1, y1 in sampled_windows(9, 12).tolist()
            }
            most = max(np.log(1.1), min(apart.values())) + 1e-9
            allowed = [window for window, value in apart.items() if value <= most]
            best = max(vector(layers, window) @ query for window in allowed)
            assert tuple(row) in allowed
            assert vector(layers, tuple(row)) @ query == pytest.approx(best, abs=1e-5)

    def test_refining_never_makes_it_worse(self, monkeypatch):
        values = made(5, 9, 12)
        queries = torch.nn.functional.normalize(torch.rand(6, 5), dim=1)
        found = localiser(values)
        refined = found.vectors(found.find(queries, np.ones(6)))
        monkeypatch.setattr("evaluation.baselines.localisation.ROUNDS", 0)
        sampled = found.vectors(found.find(queries, np.ones(6)))
        gained = ((refined - sampled) * queries).sum(dim=1)
        assert (gained >= -1e-5).all()
        assert (gained > 1e-3).any()

    def test_queries_do_not_touch(self):
        found = localiser(made(5, 9, 12))
        queries = torch.nn.functional.normalize(torch.rand(5, 5), dim=1)
        ratios = np.array([1.0, 2.0, 0.5, 1.2, 1.0])
        together = found.find(queries, ratios)
        for i in range(5):
            assert found.find(queries[i : i + 1], ratios[i : i + 1]).tolist() == [
                together[i].tolist()
            ]

    def test_a_map_of_one_cell(self):
        found = localiser(made(5, 1, 1)).find(torch.rand(2, 5), np.array([0.5, 2.0]))
        assert found.tolist() == [[0, 0, 1, 1]] * 2
