"""Names and numbers of the ImageNet classes."""

from __future__ import annotations

import pytest

from descriptors.classes import class_names, class_numbers
from descriptors.errors import SettingsError

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
