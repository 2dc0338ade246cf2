"""Query expansion: shape, a value by hand, a bad input."""

from __future__ import annotations

import pytest
import torch

from descriptors.expansion import expand
from tests.support.checking import REFUSED

QUERY = torch.tensor([1.0, 0.0])


class TestExpand:
    def test_shape(self) -> None:
        assert expand(QUERY, torch.rand(7, 2)).shape == (2,)

    def test_by_hand(self) -> None:
        """(1, 0) + (0, 1) + (0.6, 0.8) = (1.6, 1.8)."""
        found = torch.tensor([[0.0, 1.0], [0.6, 0.8]])
        expected = torch.tensor([1.6, 1.8]) / (1.6**2 + 1.8**2) ** 0.5
        torch.testing.assert_close(expand(QUERY, found), expected)

    def test_alpha_by_hand(self) -> None:
        """Cosines 0 and 0.6, squared: (1, 0) + 0.36 x (0.6, 0.8)."""
        found = torch.tensor([[0.0, 1.0], [0.6, 0.8]])
        expected = torch.tensor([1 + 0.36 * 0.6, 0.36 * 0.8])
        torch.testing.assert_close(expand(QUERY, found, 2.0), expected / expected.norm())

    def test_plain_takes_hits_that_point_away_too(self) -> None:
        """METHOD section 5 sums all of the first n hits."""
        found = torch.tensor([[-0.6, 0.8]])
        expected = torch.tensor([0.4, 0.8])
        torch.testing.assert_close(expand(QUERY, found), expected / expected.norm())

    def test_alpha_leaves_hits_that_point_away_out(self) -> None:
        torch.testing.assert_close(expand(QUERY, torch.tensor([[-0.6, 0.8]]), 1.0), QUERY)

    def test_nothing_found_gives_the_query(self) -> None:
        assert torch.equal(expand(QUERY, torch.zeros(0, 2)), QUERY)

    def test_a_hit_without_activation_adds_nothing(self) -> None:
        for alpha in (0.0, 3.0):
            torch.testing.assert_close(expand(QUERY, torch.zeros(1, 2), alpha), QUERY)

    def test_bad_input(self) -> None:
        with pytest.raises(REFUSED):
            expand(QUERY, torch.rand(3, 5))
