"""Query expansion: shape, a value by hand, a bad input."""

from __future__ import annotations

import pytest
import torch

from descriptors.arrays import Box, QueryDescription, Size
from descriptors.expansion import (
    GRAPH_HITS,
    combined_query,
    diffuse,
    expand,
    expanded_query,
    hits_to_read,
)
from descriptors.settings import RegionSettings
from tests.support.checking import REFUSED

QUERY = torch.tensor([1.0, 0.0])


def described(*vector: float) -> QueryDescription:
    unit = torch.tensor(vector)
    return QueryDescription(unit, unit, torch.tensor([3, 1]), Size(8, 6), Box(0, 0, 4, 4))


class TestCombined:
    def test_views_by_hand(self) -> None:
        """The mean of (1, 0) and (0.6, 0.8) is (0.8, 0.4)."""
        views = [described(1.0, 0.0), described(0.6, 0.8)]
        found = combined_query(views)
        expected = torch.tensor([0.8, 0.4]) / 0.8**0.5
        torch.testing.assert_close(found.descriptor, expected)
        assert found.examples == 2
        assert found.region_descriptor is views[0].region_descriptor
        assert (found.image, found.box) == (views[0].image, views[0].box)

    def test_negatives_by_hand(self) -> None:
        """(1, 0) minus a quarter of the unit mean of (0, 1) twice is (1, -0.25)."""
        found = combined_query([described(1.0, 0.0)], [described(0.0, 1.0), described(0.0, 1.0)])
        expected = torch.tensor([1.0, -0.25]) / (1 + 0.25**2) ** 0.5
        torch.testing.assert_close(found.descriptor, expected)
        assert found.examples == 3

    def test_one_image_is_the_query(self) -> None:
        only = described(1.0, 0.0)
        assert combined_query([only]) is only

    def test_bad_input(self) -> None:
        with pytest.raises(RuntimeError):
            combined_query([])


class TestExpand:
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
        """docs/method.md section 5 sums all of the first n hits."""
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
        with pytest.raises(REFUSED):
            diffuse(QUERY, torch.rand(3, 5), 1, 1, 0.9)

    def test_weights_by_hand(self) -> None:
        """(1, 0) + 0.5 x (0, 1) + 0.25 x (0.6, 0.8)."""
        found = torch.tensor([[0.0, 1.0], [0.6, 0.8]])
        expected = torch.tensor([1.15, 0.7])
        by_weight = expand(QUERY, found, weights=torch.tensor([0.5, 0.25]))
        torch.testing.assert_close(by_weight, expected / expected.norm())


def fan(*degrees: float) -> torch.Tensor:
    """Unit vectors at these angles from the query."""
    angles = torch.tensor(degrees).deg2rad()
    return torch.stack([angles.cos(), angles.sin()], dim=1)


class TestDiffuse:
    def test_by_hand(self) -> None:
        """Two hits joined by an edge: the walk from the first passes it 1 / (1 - 0.5^2) times.

        The second is passed half as often. The third, at a right angle, has no neighbour.
        """
        found = torch.tensor([[0.8, 0.6, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
        query = torch.tensor([1.0, 0.0, 0.0])
        reached = diffuse(query, found, 1, 1, 0.5)
        torch.testing.assert_close(reached, torch.tensor([1.0, 0.5, 0.0]))

    def test_first_hits_start_by_the_cube_of_their_cosines(self) -> None:
        reached = diffuse(QUERY, fan(0, 60), 2, 1, 0.0)
        torch.testing.assert_close(reached, torch.tensor([1.0, 0.125]))

    def test_of_two_hits_as_like_the_query_the_one_with_company_is_reached_better(self) -> None:
        """0, 20 and 40 degrees to one side, and 40 degrees to another."""
        cosine, sine = fan(40)[0].tolist()
        company = torch.cat([fan(0, 20, 40), torch.zeros(3, 1)], dim=1)
        found = torch.cat([company, torch.tensor([[cosine, 0.0, sine]])])
        reached = diffuse(torch.tensor([1.0, 0.0, 0.0]), found, 1, 2, 0.9)
        assert reached[2] > reached[3] + 0.1

    def test_who_is_nobodys_neighbour_is_reached_through_its_own(self) -> None:
        """The last has the second as its nearest, though it is not the second's."""
        assert diffuse(QUERY, fan(0, 10, 60), 1, 1, 0.9)[2] > 0

    def test_nothing_like_the_query_reaches_nobody(self) -> None:
        assert not diffuse(QUERY, fan(120, 150, 180), 3, 2, 0.9).any()

    def test_hits_without_activation_and_one_hit_alone(self) -> None:
        assert not diffuse(QUERY, torch.zeros(4, 2), 2, 5, 0.9).any()
        torch.testing.assert_close(diffuse(QUERY, fan(30), 1, 5, 0.9), torch.ones(1))


class TestExpandedQuery:
    def test_without_neighbours_it_is_the_papers(self) -> None:
        found = fan(5, 25, 50, 70)
        for preset, alpha in (("paper", 0.0), ("paper", 3.0)):
            settings = RegionSettings.preset(preset)
            expanded = expanded_query(QUERY, found, 2, alpha, settings)
            assert torch.equal(expanded, expand(QUERY, found[:2], alpha))

    def test_by_default_reached_hits_take_part_by_how_well_they_are_reached(self) -> None:
        found = fan(5, 25, 50, 70)
        reached = diffuse(QUERY, found, 2, 5, 0.9)
        assert reached[2] > 0
        for alpha in (0.0, 2.0):
            expanded = expanded_query(QUERY, found, 2, alpha, RegionSettings())
            torch.testing.assert_close(expanded, expand(QUERY, found, alpha, reached))

    @pytest.mark.parametrize(("hits", "most", "count"), [(1, 2, 2), (3, 2, 3)])
    def test_the_best_reached_expand_and_no_fewer_than_asked_for(self, hits, most, count) -> None:
        found = fan(5, 25, 50, 70)
        settings = RegionSettings(expand_max=most)
        reached = diffuse(QUERY, found, hits, 5, 0.9)
        best = reached.topk(count)
        expected = expand(QUERY, found[best.indices], weights=best.values)
        torch.testing.assert_close(expanded_query(QUERY, found, hits, 0.0, settings), expected)

    def test_nothing_found_gives_the_query(self) -> None:
        assert torch.equal(expanded_query(QUERY, fan()[:0], 5, 0.0, RegionSettings()), QUERY)

    def test_how_many_hits_are_read(self) -> None:
        assert hits_to_read(5, RegionSettings.preset("paper")) == 5
        assert hits_to_read(5, RegionSettings()) == GRAPH_HITS
        assert hits_to_read(500, RegionSettings()) == 500
