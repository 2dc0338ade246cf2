"""Whitening, power, expansion and ranking against numpy and loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from descriptors.errors import RequestError
from descriptors.settings import LayerSettings
from evaluation.baselines.dense import DenseSystem, PostProcessing, search_descriptors
from evaluation.baselines.pooling import sum_pooled
from tests.unit.evaluation.baselines.benches import bench_of
from tests.unit.evaluation.baselines.made_maps import unit

LAYER = [LayerSettings(name="x", dims=3)]


def unit_rows(*shape, seed=0):
    rows = np.random.default_rng(seed).random(shape)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def whitened(rows, fit, dims):
    """PCA-whitening and l2 by the eigenvectors of the covariance."""
    values, axes = np.linalg.eigh(np.cov(fit.T))
    best = np.argsort(-values)[:dims]
    found = (rows - fit.mean(axis=0)) @ (axes[:, best] / np.sqrt(values[best]))
    return found / np.linalg.norm(found, axis=-1, keepdims=True)


def fitted(rows, **changes):
    system = DenseSystem(sum_pooled, **changes)
    return PostProcessing.fitted(system, [torch.from_numpy(rows).float()], LAYER)


class TestDescriber:
    def test_without_a_whitening_layers_are_joined(self):
        one, other = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[0.0, 1.0]]])
        expected = torch.tensor([[1.0, 0.0, 0.0, 1.0]]) / 2**0.5
        torch.testing.assert_close(PostProcessing(None)([one, other]), expected)

    @pytest.mark.parametrize("power", [False, True])
    def test_whitened_vectors_of_an_image_are_summed(self, power):
        rows = unit_rows(40, 2, 6)
        before = rows**0.5 if power else rows
        before = before / np.linalg.norm(before, axis=-1, keepdims=True)
        white = whitened(before, before.reshape(-1, 6), 3)
        expected = np.array([unit(one + other) for one, other in white])
        found = fitted(rows, power=power)([torch.from_numpy(rows).float()]).numpy()
        # The sign of an axis is free: cosines of one image with all others are not.
        np.testing.assert_allclose(found @ found.T, expected @ expected.T, atol=1e-3)

    def test_vectors_that_are_not_summed_stay_apart(self):
        rows = unit_rows(40, 2, 6)
        found = fitted(rows, summed=False)([torch.from_numpy(rows).float()])
        assert found.shape == (40, 2, 3)
        torch.testing.assert_close(found.norm(dim=2), torch.ones(40, 2))

    def test_power_by_hand(self):
        # Square roots of .6 and .8 are .775 and .894: .655 and .756 of their length.
        found = PostProcessing(None, power=True)([torch.tensor([[[0.6, 0.8]]])])
        torch.testing.assert_close(found, torch.tensor([[(3 / 7) ** 0.5, (4 / 7) ** 0.5]]))

    @pytest.mark.parametrize("power", [False, True])
    def test_nothing_active_stays_zero(self, power):
        describe = fitted(unit_rows(40, 1, 6), power=power)
        assert (describe([torch.zeros(1, 1, 6)]) == 0).all()

    def test_rows_that_only_fill_up_count_nothing(self):
        rows = unit_rows(40, 2, 6)
        describe = fitted(rows)
        filled = np.concatenate([rows[:1], np.zeros((1, 3, 6))], axis=1)
        torch.testing.assert_close(
            describe([torch.from_numpy(filled).float()]),
            describe([torch.from_numpy(rows[:1]).float()]),
        )

    def test_too_few_images_to_fit_on(self):
        with pytest.raises(RequestError, match="fit on more images"):
            fitted(unit_rows(3, 1, 6))


class TestSearchDescriptors:
    def test_against_loops(self):
        gallery, queries = unit_rows(14, 4, seed=1), unit_rows(3, 4, seed=2)
        leave_out = (5, None, 0)
        expected: dict[str, list[list[int]]] = {"first": [], "first+QE5": [], "first+QE10": []}
        for query, left in zip(queries, leave_out, strict=True):
            allowed = [i for i in range(14) if i != left]
            last = [] if left is None else [left]
            first = sorted(allowed, key=lambda i: -gallery[i] @ query)
            expected["first"].append(first + last)
            for n in (5, 10):
                more = unit(query + sum(gallery[i] for i in first[:n]))
                again = sorted(allowed, key=lambda i: -gallery[i] @ more)
                expected[f"first+QE{n}"].append(again + last)
        found = list(search_descriptors(bench_of(gallery, queries, leave_out)))
        assert {one.stage: one.rows.tolist() for one in found} == expected
        assert all(one.milliseconds > 0 for one in found)

    def test_a_gallery_smaller_than_the_expansion(self):
        gallery = unit_rows(3, 4)
        found = list(search_descriptors(bench_of(gallery, gallery[:1], (0,))))
        assert all(sorted(one.rows[0].tolist()) == [0, 1, 2] for one in found)
        assert all(one.rows[0, -1] == 0 for one in found)

    def test_ties_keep_their_order(self):
        gallery = np.array([[0.0, 1.0], [1.0, 0.0], [1.0, 0.0]])
        first = next(iter(search_descriptors(bench_of(gallery, np.array([[1.0, 0.0]])))))
        assert first.rows.tolist() == [[1, 2, 0]]


class TestDims:
    def test_as_many_as_the_layers_or_their_channels(self):
        assert DenseSystem(sum_pooled).dims(LAYER, [6]) == 3
        assert DenseSystem(sum_pooled, whitened=False).dims(LAYER, [6]) == 6
        assert DenseSystem(sum_pooled, vectors=30).dims(LAYER, [6]) == 90
