"""Two systems on the same queries: what is certain, what may be luck."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import pytest

from descriptors.errors import RequestError
from evaluation.significance import compare, holm, named_pair
from tests.unit.evaluation.scores import made_scores


class TestCompare:
    def test_worked_out_by_hand(self):
        one = [made_scores([0.5, 1.0], 2), made_scores([0.2, 0.2, 0.2], 3)]
        other = [made_scores([0.1, 1.0], 2), made_scores([0.2, 0.2, 0.5], 3)]
        found, queries = compare(one, other)
        assert found.trials == pytest.approx((0.2, -0.1))
        assert found.gained == pytest.approx(0.05)
        assert (found.better, found.worse, found.queries, found.groups) == (1, 1, 5, 5)
        assert [query.gained for query in queries] == pytest.approx([0.4, 0, 0, 0, -0.3])

    def test_a_gain_on_every_scene_is_no_luck(self):
        better = np.linspace(0.55, 0.75, 40).tolist()
        found, _ = compare([made_scores(better, 20)], [made_scores([0.5] * 40, 20)])
        assert found.p_value < 0.001
        assert 0 < found.low < found.gained < found.high

    def test_the_other_way_round_is_a_loss(self):
        better, plain = [made_scores([0.6] * 20, 10)], [made_scores([0.5] * 20, 10)]
        there, back = compare(better, plain)[0], compare(plain, better)[0]
        assert back.gained == -there.gained
        assert back.p_value == there.p_value

    def test_noise_may_be_luck(self):
        rng = np.random.default_rng(3)
        one, other = rng.uniform(size=(2, 60)).tolist()
        found, _ = compare([made_scores(one, 30)], [made_scores(other, 30)])
        assert found.p_value > 0.05
        assert found.low < 0 < found.high

    def test_queries_of_one_scene_count_as_one_draw(self):
        # Ten queries, all of one scene, are better: of single queries that would be certain.
        one = [0.9 if number % 10 == 0 else 0.5 for number in range(100)]
        found, _ = compare([made_scores(one, 10)], [made_scores([0.5] * 100, 10)])
        assert found.better == 10
        assert found.p_value > 0.5

    def test_the_same_system_is_no_better(self):
        scores = [made_scores([0.1, 0.9] * 5, 5)]
        found, _ = compare(scores, scores)
        assert (found.gained, found.p_value, found.low, found.high) == (0, 1, 0, 0)

    def test_too_few_scenes_say_nothing(self):
        found, _ = compare([made_scores([0.9] * 50, 5)], [made_scores([0.1] * 50, 5)])
        assert (found.p_value, found.low, found.high) == (1, -1, 1)

    def test_other_queries(self):
        with pytest.raises(RequestError, match="have different queries"):
            compare([made_scores([0.5] * 3, 2)], [made_scores([0.5] * 4, 2)])


def test_holm_worked_out_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


class TestNamedPair:
    STAGES: ClassVar = {"OfA": ("first", "R100+QE5"), "R-MAC": ("first",)}

    def test_two_systems_at_their_stages(self):
        pair = named_pair(" OfA:R100+QE5, R-MAC:first", self.STAGES)
        assert [str(one) for one in pair] == ["OfA:R100+QE5", "R-MAC:first"]

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            ("OfA:first", "does not name two systems"),
            ("OfA,R-MAC", "does not name two systems"),
            ("OfA:first,OfA:first", "does not name two systems"),
            ("OfA:first,R-MAC:first,SPoC:first", "does not name two systems"),
            ("OfA:first,SPoC:first", "'SPoC', which is not measured: choose among OfA, R-MAC"),
            ("OfA:first,R-MAC:R100", "the stage 'R100', at which R-MAC is not measured"),
        ],
    )
    def test_what_names_none(self, text, why):
        with pytest.raises(RequestError, match=why):
            named_pair(text, self.STAGES)
