"""Options of `camsearch evaluate`: what is refused before anything is measured for minutes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from descriptors.backbones import find_network
from descriptors.errors import RequestError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from descriptors.settings import MethodSettings

__all__ = ["at_size", "check_json", "check_report", "check_together", "the_folder", "weight_files"]


# What has no effect beside another option. The tables have settings and systems of their own.
_NOT_WITH_TABLE = (
    *("--preset", "--layers", "--classes"),
    *("--systems", "--ablate", "--queries-of", "--report", "--compare"),
)
_NOT_WITH_THROUGH = (
    *_NOT_WITH_TABLE,
    *("--fit-on", "--distractors", "--stream", "--max-side", "--network", "--weights", "--table"),
)
_NOT_WITH_ABLATE = ("--systems", "--compare")


def check_together(dataset: str, here: Collection[str]) -> None:
    """Refuse options of which one would leave another without effect.

    Args:
        dataset: its name.
        here: names of the options that are given.

    Raises:
        RequestError: naming those that would have none.
    """
    for option, needed in (("--index", "--through"), ("--queries-of", "--ablate")):
        if option in here and needed not in here:
            raise RequestError(f"{option} does nothing without {needed}: add it, or leave it out.")
    if "--through" in here:
        if dataset != "photos":
            raise RequestError("--through asks with the dataset photos: evaluate that one.")
        _refuse("--through", _NOT_WITH_THROUGH, here)
    elif "--table" in here:
        _refuse("--table", _NOT_WITH_TABLE, here)
    elif "--ablate" in here and "--report" not in here:
        _refuse("--ablate (without --report)", _NOT_WITH_ABLATE, here)


def _refuse(option: str, idle: Sequence[str], given: Collection[str]) -> None:
    named = [name for name in idle if name in given]
    if named:
        raise RequestError(f"{', '.join(named)} would do nothing with {option}: leave one out.")


def the_folder(folder: Path | None, root: Path | None) -> Path:
    """The folder of the dataset, named in one of two ways.

    Raises:
        RequestError: if it is named in both, or in none.
    """
    if folder is not None and root is not None:
        raise RequestError(f"Two folders are named, {folder} and {root}: leave one out.")
    place = folder or root
    if place is None:
        raise RequestError("No folder is named: write it after the dataset, or as --root DIR.")
    return place


def check_report(path: Path) -> None:
    """Refuse a report that could not be written where it is asked for.

    Raises:
        RequestError: for another ending than ``.html``, or below what is no folder of ours.
    """
    if path.suffix.lower() != ".html":
        raise RequestError(
            f"The report cannot be written to {path}: it is one HTML page, so let its name end "
            "in .html."
        )
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise RequestError(
            f"The report cannot be written to {path}, since {above} is no folder that can be "
            "written to: choose another place."
        )


def check_json(path: Path | None) -> None:
    """Refuse a file of figures whose folder is not there; ``-`` is none.

    Raises:
        RequestError: naming the folder.
    """
    if path is not None and not path.absolute().parent.is_dir():
        raise RequestError(
            f"The figures cannot be written to {path}: there is no folder {path.parent}."
        )


def weight_files(given: Sequence[str]) -> tuple[Path | None, Mapping[str, Path]]:
    """What ``FILE`` and ``NETWORK=FILE`` name: the file for any network, and those for one.

    Raises:
        RequestError: for a network that is not known, or two files where one can be.
    """
    plain: Path | None = None
    named: dict[str, Path] = {}
    for text in given:
        name, equals, file = text.partition("=")
        # A path may hold the sign too, but then its name is no network's.
        network = name if equals and not Path(text).exists() else ""
        if network:
            find_network(network)
        if network in named or (not network and plain is not None):
            raise RequestError(
                f"--weights {text} is a second file for {network or 'any network'}: name one, or "
                "say for which network as NETWORK=FILE."
            )
        if network:
            named[network] = Path(file)
        else:
            plain = Path(text)
    return plain, named


def at_size(settings: MethodSettings, max_side: int | None) -> MethodSettings:
    """The tables' own size, or another that is asked for."""
    if max_side is None:
        return settings
    size = {"side": max_side, "side_is": "longer", "side_multiple": 32}
    return settings.model_copy(update=size)
