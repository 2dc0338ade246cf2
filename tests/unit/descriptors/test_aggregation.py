"""From maps to a descriptor: shape, a value by hand, a bad input."""

from __future__ import annotations

import math

import pytest
import torch

from descriptors.aggregation import (
    active_share,
    aggregate,
    channel_weights,
    join_layers,
    region_windows,
)
from tests.support.cells import class_vectors_of
from tests.support.checking import REFUSED
from tests.support.tiny_network import feature_maps

REGIONS = torch.tensor([[[0, 0, 3, 2], [1, 0, 2, 2]]])


class TestRegionWindows:
    def test_by_hand(self) -> None:
        windows = region_windows(REGIONS, 2, 3, centring=False)
        assert windows[0, 0].tolist() == [[1, 1, 1], [1, 1, 1]]
        assert windows[0, 1].tolist() == [[0, 1, 0], [0, 1, 0]]

    def test_the_prior_is_centred_in_the_region(self) -> None:
        """3 x 3 cells at (1, 2): sigma 1, exp(-1/2) beside the centre."""
        window = region_windows(torch.tensor([[[1, 2, 4, 5]]]), 6, 6, centring=True)[0, 0]
        assert window[3, 2].item() == 1
        assert window[3, 1].item() == pytest.approx(math.exp(-0.5), rel=1e-5)
        assert window[2, 1].item() == pytest.approx(math.exp(-1), rel=1e-5)
        assert window.sum() == window[2:5, 1:4].sum()

    def test_a_region_without_cells_is_all_zero(self) -> None:
        """What fills the rows of images without regions; never NaN."""
        for centring in (False, True):
            window = region_windows(
                torch.zeros(1, 1, 4, dtype=torch.int64), 3, 3, centring=centring
            )
            assert torch.equal(window, torch.zeros(1, 1, 3, 3))


class TestActiveShare:
    MAPS = feature_maps([[[0.0, 2.0, 0.0], [1.0, 0.0, 0.0]], [[5.0, 5.0, 5.0], [5.0, 5.0, 5.0]]])

    def test_by_hand(self) -> None:
        inside = region_windows(REGIONS, 2, 3, centring=False) > 0
        share = active_share(self.MAPS, inside)
        torch.testing.assert_close(share, torch.tensor([[[1 / 3, 1.0], [0.5, 1.0]]]))

    def test_no_cell_gives_zero(self) -> None:
        inside = torch.zeros(1, 1, 2, 3, dtype=torch.bool)
        assert active_share(self.MAPS, inside).tolist() == [[[0.0, 0.0]]]


class TestClassVectors:
    MAPS = feature_maps([[[1.0, 2.0]], [[0.0, 3.0]], [[0.0, 0.0]]])

    def test_by_hand(self) -> None:
        """Sums 1 x 1 + 2 x 0.5 = 2 and 3 x 0.5 = 1.5, times 3 and 4: 6 and 6."""
        cells = torch.tensor([[[[[1.0, 0.5]]]]])
        channels = torch.tensor([[[3.0, 4.0, 9.0]]])
        vectors = class_vectors_of(self.MAPS, cells, channels)
        torch.testing.assert_close(vectors, torch.tensor([[[[0.5**0.5, 0.5**0.5, 0.0]]]]))

    def test_power_by_hand(self) -> None:
        """Sums 1 and 0 x ..: channels 16 : 9 become 4 : 3, unit 0.8 : 0.6."""
        maps = feature_maps([[[16.0]], [[9.0]]])
        ones = torch.ones(1, 1, 1, 1, 1), torch.ones(1, 1, 2)
        torch.testing.assert_close(
            class_vectors_of(maps, *ones, power=0.5), torch.tensor([[[[0.8, 0.6]]]])
        )

    def test_a_zero_sum_gives_a_zero_row(self) -> None:
        cells, channels = torch.zeros(1, 1, 1, 1, 2), torch.ones(1, 1, 3)
        for power in (1.0, 0.5):
            assert not class_vectors_of(self.MAPS, cells, channels, power).any()

    def test_the_scale_of_kept_levels_counts(self) -> None:
        cells, channels = torch.ones(1, 1, 1, 1, 2), torch.ones(1, 1, 3)
        scaled = feature_maps([[[2.0, 4.0]], [[0.0, 1.0]], [[0.0, 0.0]]], scale=[0.5, 3.0, 1.0])
        expected = class_vectors_of(self.MAPS, cells, channels)
        torch.testing.assert_close(class_vectors_of(scaled, cells, channels), expected)


class TestAggregate:
    def test_by_hand(self) -> None:
        """(1, 0) + (0, 1) + (1, 0) = (2, 1)."""
        rows = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
        torch.testing.assert_close(aggregate(rows), torch.tensor([2.0, 1.0]) / 5**0.5)

    def test_weights_by_hand(self) -> None:
        rows = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        torch.testing.assert_close(
            aggregate(rows, torch.tensor([3.0, 4.0])), torch.tensor([0.6, 0.8])
        )

    def test_all_zero_stays_zero(self) -> None:
        assert aggregate(torch.zeros(2, 4, 3)).tolist() == [[0.0] * 3] * 2


class TestJoinLayers:
    def test_by_hand(self) -> None:
        joined = join_layers([torch.tensor([0.6, 0.8]), torch.tensor([1.0])])
        torch.testing.assert_close(joined, torch.tensor([0.6, 0.8, 1.0]) / 2**0.5)

    def test_a_layer_without_activation_leaves_the_other(self) -> None:
        joined = join_layers([torch.zeros(2), torch.tensor([0.6, 0.8])])
        torch.testing.assert_close(joined, torch.tensor([0.0, 0.0, 0.6, 0.8]))


class TestChannelWeights:
    def test_by_hand(self) -> None:
        """Natural logarithm of 1.75 / Q; never log(0)."""
        weights = channel_weights(torch.tensor([1.0, 0.5, 0.25, 0.0]))
        expected = [math.log(1.75), math.log(3.5), math.log(7), 0.0]
        torch.testing.assert_close(weights, torch.tensor(expected))

    def test_no_activation_at_all_gives_zeros(self) -> None:
        assert channel_weights(torch.zeros(5)).tolist() == [0.0] * 5

    def test_one_active_channel_weighs_nothing(self) -> None:
        assert channel_weights(torch.tensor([0.0, 0.5])).tolist() == [0.0, 0.0]


def test_shapes_that_do_not_fit_are_refused() -> None:
    maps, other = feature_maps([[[1.0, 2.0]]]), torch.ones(1, 1, 3, 3, dtype=torch.bool)
    for call in (
        lambda: region_windows(REGIONS[0], 2, 3, centring=False),
        lambda: active_share(maps, other),
        lambda: class_vectors_of(maps, torch.ones(1, 1, 1, 2, 2), torch.ones(1, 1, 1)),
        lambda: aggregate(torch.rand(4, 3), torch.rand(5)),
        lambda: join_layers([torch.rand(2, 3), torch.rand(4, 3)]),
        lambda: channel_weights(torch.tensor([1, 2, 3])),
    ):
        with pytest.raises(REFUSED):
            call()
