"""Names and numbers of the ImageNet classes."""

from __future__ import annotations

import pytest
import torch

from descriptors.classes import class_names, class_numbers, most_frequent_classes
from descriptors.errors import SettingsError
from tests.support.checking import REFUSED

# Paper section 4.3: the theme of 55 Paris queries.
PARIS = [
    "vault",
    "bell cote",
    "bannister",
    "analog clock",
    "movie theater",
    "coil",
    "pier",
    "dome",
    "pedestal",
    "flagpole",
    "church",
    "chime",
    "suspension bridge",
    "birdhouse",
    "sundial",
    "triumphal arch",
]


def test_there_are_a_thousand_names() -> None:
    names = class_names()
    assert len(names) == 1000
    assert names[442] == "bell cote"
    assert len(set(names)) == 998


def test_numbers_of_names_in_any_case_of_any_synonym() -> None:
    assert class_numbers(["Bell Cote", "bell cot", "442", 442, " stupa "]) == (
        442,
        442,
        442,
        442,
        832,
    )


def test_the_paris_theme_is_known() -> None:
    numbers = class_numbers(PARIS)
    assert len(set(numbers)) == 16
    assert class_numbers(numbers) == numbers


def test_every_number_is_its_own() -> None:
    assert class_numbers(list(range(1000))) == tuple(range(1000))


def test_an_unknown_class_is_refused() -> None:
    for unknown in [1000, -1, "1000", "", "zzz", "churches of stone"]:
        with pytest.raises(SettingsError, match="There is no class"):
            class_numbers([unknown])


def test_a_near_name_is_proposed() -> None:
    with pytest.raises(SettingsError, match=r"did you mean .*triumphal arch"):
        class_numbers(["triumphal"])


def test_a_name_of_two_classes_needs_its_number() -> None:
    with pytest.raises(SettingsError, match="give the number"):
        class_numbers(["crane"])


class TestMostFrequentClasses:
    def test_by_hand(self) -> None:
        best = torch.tensor([[7, 3], [3, 9], [3, 7], [9, 1]])
        assert most_frequent_classes(best, 3) == (3, 7, 9)

    def test_fewer_than_asked_for(self) -> None:
        assert most_frequent_classes(torch.tensor([[2, 1]]), 5) == (1, 2)

    def test_bad_input(self) -> None:
        with pytest.raises(REFUSED):
            most_frequent_classes(torch.tensor([1, 2]), 1)
