"""Names and numbers of the ImageNet classes."""

from __future__ import annotations

import pytest

from descriptors.classes import class_names, class_numbers
from descriptors.errors import SettingsError

# Paper section 4.3: the theme of 55 Paris queries.
PARIS = [
    "vault",
    "bannister",
    "coil",
    "pier",
    "dome",
    "pedestal",
    "flagpole",
    "church",
    "chime",
    "birdhouse",
    "sundial",
]
PARIS += ["bell cote", "analog clock", "movie theater", "suspension bridge", "triumphal arch"]


def test_there_are_a_thousand_names() -> None:
    names = class_names()
    assert len(names) == 1000
    assert names[442] == "bell cote"
    assert len(set(names)) == 998


def test_numbers_of_names_in_any_case_of_any_synonym() -> None:
    assert class_numbers(["Bell Cote", "bell cot", "442", 442]) == (442,) * 4
    assert class_numbers([" stupa "]) == (832,)


def test_the_paris_theme_is_known() -> None:
    numbers = class_numbers(PARIS)
    assert len(set(numbers)) == 16
    assert class_numbers(numbers) == numbers


def test_every_number_is_its_own() -> None:
    assert class_numbers(list(range(1000))) == tuple(range(1000))


def test_an_unknown_class_is_refused_and_a_near_or_double_name_explained() -> None:
    no_class = dict.fromkeys([1000, -1, "1000", "", "churches of stone"], "There is no class")
    near = {"triumphal": r"did you mean .*triumphal arch", "crane": "give the number"}
    for unknown, said in (no_class | near).items():
        with pytest.raises(SettingsError, match=said):
            class_numbers([unknown])
