"""Validate the options of `camsearch evaluate` before a long measurement."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from camsearch.commands.options import check_writable
from descriptors.backbones import find_network
from descriptors.errors import RequestError
from reranker.explain.pages import check_suffix

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from descriptors.settings import MethodSettings

__all__ = [
    "at_size",
    "check_json_path",
    "check_report",
    "check_together",
    "the_folder",
    "weight_files",
]


# Options without effect beside another: tables have their own settings and systems.
_NOT_WITH_TABLE = (
    *("--preset", "--layers", "--classes", "--windows"),
    *("--systems", "--ablate", "--queries-of", "--report", "--compare"),
)
_NOT_WITH_THROUGH = (
    *_NOT_WITH_TABLE,
    *("--fit-on", "--distractors", "--stream", "--max-side", "--network", "--weights", "--table"),
)
_NOT_WITH_ABLATE = ("--systems", "--compare")


def check_together(dataset: str, here: Collection[str]) -> None:
    """Refuse options (`here`, by name) that have no effect together.

    Raises:
        RequestError: naming these options.
    """
    for option, needed in (("--index", "--through"), ("--queries-of", "--ablate")):
        if option in here and needed not in here:
            raise RequestError(f"{option} has no effect without {needed}: add it or remove it.")
    if "--through" in here:
        if dataset != "photos":
            raise RequestError("--through needs the dataset photos: evaluate that one.")
        _refuse("--through", _NOT_WITH_THROUGH, here)
    elif "--table" in here:
        _refuse("--table", _NOT_WITH_TABLE, here)
    elif "--ablate" in here and "--report" not in here:
        _refuse("--ablate (without --report)", _NOT_WITH_ABLATE, here)


def _refuse(option: str, idle: Sequence[str], given: Collection[str]) -> None:
    named = [name for name in idle if name in given]
    if named:
        raise RequestError(f"{', '.join(named)} has no effect with {option}: remove one of them.")


def the_folder(folder: Path | None, root: Path | None) -> Path:
    """The folder of the dataset.

    Raises:
        RequestError: if it is given twice or not at all.
    """
    if folder is not None and root is not None:
        raise RequestError(f"Two folders are given, {folder} and {root}: remove one of them.")
    place = folder or root
    if place is None:
        raise RequestError("No folder is given: write it after the dataset, or as --root DIR.")
    return place


def check_report(path: Path) -> None:
    """Check that a report can be written.

    Raises:
        RequestError: for another suffix than ``.html``, or if it cannot be written.
    """
    check_suffix(path)
    check_writable(path, "--report")


def check_json_path(path: Path | None) -> None:
    """Raise `RequestError` if the folder of a JSON file is missing."""
    if path is not None and not path.absolute().parent.is_dir():
        raise RequestError(
            f"The results cannot be written to {path}: there is no folder {path.parent}."
        )


def weight_files(given: Sequence[str]) -> tuple[Path | None, Mapping[str, Path]]:
    """Parse ``FILE`` and ``NETWORK=FILE``: the file for any network, and files by network.

    Raises:
        RequestError: for an unknown network, or two files for the same one.
    """
    plain: Path | None = None
    named: dict[str, Path] = {}
    for text in given:
        name, equals, file = text.partition("=")
        # A path may contain "=", too.
        network = name if equals and not Path(text).exists() else ""
        if network:
            find_network(network)
        if network in named or (not network and plain is not None):
            raise RequestError(
                f"--weights {text} is a second file for {network or 'any network'}: give one, or "
                "write NETWORK=FILE."
            )
        if network:
            named[network] = Path(file)
        else:
            plain = Path(text)
    return plain, named


def at_size(settings: MethodSettings, max_side: int | None) -> MethodSettings:
    """The settings with another working size, if one is given."""
    if max_side is None:
        return settings
    size = {"side": max_side, "side_is": "longer", "side_multiple": 32}
    return settings.model_copy(update=size)
