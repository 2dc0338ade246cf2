"""Class activation maps: shape, a value by hand, a bad input."""

from __future__ import annotations

import pytest
import torch

from descriptors.cams import activation_maps, class_scores, heat_map, resize_maps, top_classes
from tests.support.checking import REFUSED
from tests.support.tiny_network import feature_maps

# Two evidence channels of 2 x 2 cells.
EVIDENCE = [[[1.0, 2.0], [3.0, 4.0]], [[0.0, 2.0], [0.0, 2.0]]]


class TestClassScores:
    def test_by_hand(self) -> None:
        """Means 2.5 and 1: 2 x 2.5 - 1 + 0.5 and 0 + 3 - 1."""
        weight, bias = torch.tensor([[2.0, -1.0], [0.0, 3.0]]), torch.tensor([0.5, -1.0])
        assert class_scores(feature_maps(EVIDENCE), weight, bias).tolist() == [[4.5, 2.0]]

    def test_counts_the_scale_of_kept_levels(self) -> None:
        levels = torch.tensor(EVIDENCE).to(torch.uint8)
        weight, bias = torch.tensor([[2.0, -1.0]]), torch.zeros(1)
        kept = feature_maps(levels, scale=[0.5, 2.0])
        assert class_scores(kept, weight, bias).tolist() == [[2 * 1.25 - 2.0]]


class TestTopClasses:
    def test_by_hand_best_first(self) -> None:
        scores = torch.tensor([[0.1, 5.0, -2.0, 3.0], [4.0, 3.0, 2.0, 1.0]])
        assert top_classes(scores, 3).tolist() == [[1, 3, 0], [0, 1, 2]]

    def test_all_of_them_where_there_are_fewer(self) -> None:
        assert top_classes(torch.tensor([[1.0, 2.0]]), 64).tolist() == [[1, 0]]


class TestActivationMaps:
    def test_by_hand(self) -> None:
        """1 x first - 1 x second = 1 0 / 3 2, by its maximum 3."""
        weight = torch.tensor([[9.0, 9.0], [1.0, -1.0]])
        maps = activation_maps(feature_maps(EVIDENCE), weight, torch.tensor([[1]]))
        torch.testing.assert_close(maps, torch.tensor([[[[1 / 3, 0], [1, 2 / 3]]]]))

    def test_negatives_are_zero(self) -> None:
        """1 x first - 2 x second = 1 -2 / 3 0."""
        maps = activation_maps(
            feature_maps(EVIDENCE), torch.tensor([[1.0, -2.0]]), torch.tensor([[0]])
        )
        torch.testing.assert_close(maps, torch.tensor([[[[1 / 3, 0], [1, 0]]]]))

    @pytest.mark.parametrize("weight", [[-1.0, -1.0], [0.0, 0.0]])
    def test_a_maximum_that_is_not_positive_gives_zeros(self, weight: list[float]) -> None:
        maps = activation_maps(feature_maps(EVIDENCE), torch.tensor([weight]), torch.tensor([[0]]))
        assert not maps.any()

    def test_each_image_has_its_own_classes(self) -> None:
        evidence = feature_maps(torch.tensor([EVIDENCE, EVIDENCE]))
        weight = torch.eye(2)
        maps = activation_maps(evidence, weight, torch.tensor([[0], [1]]))
        torch.testing.assert_close(maps[0, 0], torch.tensor(EVIDENCE[0]) / 4)
        torch.testing.assert_close(maps[1, 0], torch.tensor(EVIDENCE[1]) / 2)


class TestResizeMaps:
    def test_by_hand(self) -> None:
        """Cell centres at half positions: a quarter of the way, three quarters of the way."""
        doubled = resize_maps(torch.tensor([[[[0.0, 1.0]]]]), 1, 4)
        assert doubled.tolist() == [[[[0.0, 0.25, 0.75, 1.0]]]]

    def test_its_own_size_changes_nothing(self) -> None:
        maps = torch.rand(1, 2, 3, 4)
        assert resize_maps(maps, 3, 4) is maps


class TestHeatMap:
    def test_by_hand(self) -> None:
        maps = torch.tensor([[[[1.0, 0.0]], [[0.5, 0.5]], [[9.0, 9.0]]]])
        assert heat_map(maps, 2).tolist() == [[[0.75, 0.25]]]

    def test_fewer_maps_than_asked_for_are_averaged(self) -> None:
        maps = torch.tensor([[[[1.0, 0.5]]]])
        assert heat_map(maps, 2).tolist() == [[[1.0, 0.5]]]


def test_shapes_that_do_not_fit_are_refused() -> None:
    evidence = feature_maps(EVIDENCE)
    for call in (
        lambda: class_scores(evidence, torch.rand(7, 3), torch.rand(7)),
        lambda: top_classes(torch.rand(9), 4),
        lambda: activation_maps(evidence, torch.rand(3, 2), torch.tensor([[3]])),
        lambda: resize_maps(torch.rand(3, 4, 5), 8, 8),
        lambda: heat_map(torch.rand(5, 3, 4), 2),
    ):
        with pytest.raises((*REFUSED, IndexError)):
            call()
