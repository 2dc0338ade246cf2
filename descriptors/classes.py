"""Names of the 1000 ImageNet classes, for display and for themes."""

from __future__ import annotations

from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING

from descriptors.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["class_names", "class_numbers"]


@cache
def _synonyms() -> tuple[tuple[str, ...], ...]:
    from timm.data.imagenet_info import ImageNetInfo

    info = ImageNetInfo()
    return tuple(
        tuple(info.index_to_description(number).split(", ")) for number in range(info.num_classes())
    )


def class_names() -> tuple[str, ...]:
    """One name per class. Two pairs of classes share a name ("crane", "maillot")."""
    return tuple(names[0] for names in _synonyms())


def class_numbers(names_or_numbers: Sequence[str | int]) -> tuple[int, ...]:
    """The numbers of classes given by name (any synonym, in any case) or by number.

    Raises:
        SettingsError: unknown name or number, or a name that two classes share.
    """
    by_name: dict[str, list[int]] = defaultdict(list)
    for number, names in enumerate(_synonyms()):
        for name in names:
            by_name[name.lower()].append(number)
    return tuple(_number(str(given), by_name) for given in names_or_numbers)


def _number(given: str, by_name: dict[str, list[int]]) -> int:
    known = len(_synonyms())
    if given.isdecimal():
        if int(given) < known:
            return int(given)
        raise SettingsError(f"There is no class {given}: classes count from 0 to {known - 1}.")
    numbers = by_name.get(given.strip().lower(), [])
    if len(numbers) > 1:
        raise SettingsError(f"Classes {numbers} are both called {given!r}: give the number.")
    if not numbers:
        near = [name for name in by_name if given.lower() in name][:5]
        hint = f"did you mean {', '.join(near)}?" if near else "give an ImageNet class or number."
        raise SettingsError(f"There is no class called {given!r}: {hint}")
    return numbers[0]
