"""Channel weights and cell weights: shape, a value by hand, a bad input."""

from __future__ import annotations

import math

import pytest
import torch

from descriptors.crow import centring_prior, channel_weights
from tests.support.cells import cell_weights
from tests.support.checking import REFUSED


class TestChannelWeights:
    def test_shape(self) -> None:
        assert channel_weights(torch.rand(2, 3, 7)).shape == (2, 3, 7)

    def test_by_hand(self) -> None:
        """Natural logarithm of 1.75 / Q; never log(0)."""
        weights = channel_weights(torch.tensor([1.0, 0.5, 0.25, 0.0]))
        expected = [math.log(1.75), math.log(3.5), math.log(7), 0.0]
        torch.testing.assert_close(weights, torch.tensor(expected))

    def test_no_activation_at_all_gives_zeros(self) -> None:
        assert channel_weights(torch.zeros(5)).tolist() == [0.0] * 5

    def test_one_active_channel_weighs_nothing(self) -> None:
        assert channel_weights(torch.tensor([0.0, 0.5])).tolist() == [0.0, 0.0]

    def test_bad_input(self) -> None:
        with pytest.raises(REFUSED):
            channel_weights(torch.tensor([1, 2, 3]))


class TestCentringPrior:
    def test_shape(self) -> None:
        assert centring_prior(5, 8).shape == (5, 8)

    def test_by_hand(self) -> None:
        """3 x 3: sigma 1, so exp(-1/2) beside the centre and exp(-1) at the corner."""
        prior = centring_prior(3, 3)
        side, corner = math.exp(-0.5), math.exp(-1)
        expected = [[corner, side, corner], [side, 1.0, side], [corner, side, corner]]
        torch.testing.assert_close(prior, torch.tensor(expected))

    def test_the_shorter_side_gives_sigma(self) -> None:
        """3 x 7: sigma 1; three cells to the side exp(-9/2)."""
        assert centring_prior(3, 7)[1, 0].item() == pytest.approx(math.exp(-4.5), rel=1e-5)

    def test_one_cell_counts_fully(self) -> None:
        assert centring_prior(1, 1).tolist() == [[1.0]]

    def test_bad_input(self) -> None:
        with pytest.raises(REFUSED):
            centring_prior(3.5, 3)


class TestCellWeights:
    def test_shape(self) -> None:
        assert cell_weights(torch.rand(2, 3, 4, 5), 0.1, centring=True).shape == (2, 3, 4, 5)

    def test_by_hand(self) -> None:
        maps = torch.tensor([[[[0.0, 1.0, 0.5]]]])
        side = math.exp(-9 / 2)  # one row: sigma 1/3
        expected = [[[[0.1 * side, 1.1, 0.6 * side]]]]
        torch.testing.assert_close(
            cell_weights(maps, 0.1, centring=True), torch.tensor(expected), rtol=1e-5, atol=1e-6
        )

    def test_paper_leaves_the_maps_alone(self) -> None:
        maps = torch.rand(1, 2, 3, 4)
        assert torch.equal(cell_weights(maps, 0.0, centring=False), maps)

    def test_floor_alone(self) -> None:
        maps = torch.rand(1, 2, 3, 4)
        assert torch.equal(cell_weights(maps, 0.25, centring=False), maps + 0.25)
