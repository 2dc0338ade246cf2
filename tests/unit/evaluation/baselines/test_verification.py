"""Matches of words and RANSAC's inliers on made places."""

from __future__ import annotations

import numpy as np

from evaluation.baselines.keypoints import PlacedWords, inliers, matches


def placed(words, places, side=1000):
    return PlacedWords.of(np.array(words), np.asarray(places, dtype=np.float32), side)


def scattered(count, seed=0):
    return np.random.default_rng(seed).random((count, 2)) * 900


def turned(places, degrees, scale):
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return scale * places @ turn.T + [40, -10]


class TestPlacedWords:
    def test_in_order_of_words(self):
        found = placed([5, 2, 5], [[0, 0], [1, 1], [2, 2]])
        assert found.words.tolist() == [2, 5, 5]
        assert found.places.tolist() == [[1, 1], [0, 0], [2, 2]]

    def test_words_that_stand_too_often_say_nothing_of_places(self):
        found = placed([1, 1, 1, 1, 2, 3, 3], scattered(7)).rare()
        assert found.words.tolist() == [2, 3, 3]


class TestMatches:
    def test_every_pair_of_equal_words(self):
        one = placed([1, 2, 2, 9], [[0, 0], [1, 0], [2, 0], [3, 0]])
        other = placed([2, 1, 2, 7], [[10, 0], [11, 0], [12, 0], [13, 0]])
        source, target = matches(one, other)
        pairs = sorted(zip(source[:, 0].tolist(), target[:, 0].tolist(), strict=True))
        assert pairs == [(0, 11), (1, 10), (1, 12), (2, 10), (2, 12)]

    def test_nothing_in_common(self):
        source, target = matches(placed([1], [[0, 0]]), placed([2], [[0, 0]]))
        assert len(source) == len(target) == 0


class TestInliers:
    def test_one_movement_is_found_among_wrong_matches(self):
        places = scattered(40)
        moved = turned(places, 30, 0.7)
        moved[25:] = scattered(15, seed=1)
        words = list(range(40))
        assert 25 <= inliers(placed(words, places), placed(words, moved)) <= 28

    def test_places_by_chance_have_none(self):
        words = list(range(30))
        assert inliers(placed(words, scattered(30)), placed(words, scattered(30, seed=1))) == 0

    def test_too_few_matches_count_nothing(self):
        places = scattered(5)
        assert inliers(placed(list(range(5)), places), placed(list(range(5)), places)) == 0

    def test_all_on_one_place_is_no_movement(self):
        words = list(range(20))
        there = np.full((20, 2), 100.0) + scattered(20) / 1e4
        assert inliers(placed(words, scattered(20)), placed(words, there)) == 0

    def test_a_place_that_matches_twice_counts_once(self):
        places = scattered(8)
        twice = np.concatenate([places, places])
        words = [*range(8), *range(8)]
        assert inliers(placed(words, twice), placed(words, twice)) == 8
