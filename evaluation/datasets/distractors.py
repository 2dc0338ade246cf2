"""Pictures of other things that make a gallery larger: 100k of Flickr, or a million."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from evaluation.datasets.files import find_files, paths_within, photos_of, unreadable_note
from evaluation.trials import StreamedPhotos

if TYPE_CHECKING:
    from evaluation.datasets.facts import PhotoFacts
    from evaluation.trials import Photo, Trial

__all__ = ["PREFIX", "add_distractors", "few_note", "more_of", "stream_distractors"]

# Before the paths of distractors, so that none is that of a gallery's photo.
PREFIX = "+distractors/"


def add_distractors(
    trials: tuple[Trial, ...], folder: Path, facts: PhotoFacts
) -> tuple[Trial, ...]:
    """The trials with the pictures of a folder in each gallery; none of them is fitted on.

    Raises:
        RequestError: for a folder that is not there, or has no pictures.
    """
    found = photos_of(paths_within(_files(folder), folder, PREFIX), facts)
    notes = unreadable_note(found.unreadable, "distractors")
    return tuple(
        replace(trial, gallery=_sorted(trial.gallery, found.photos), notes=trial.notes + notes)
        for trial in trials
    )


def stream_distractors(trials: tuple[Trial, ...], folder: Path) -> tuple[Trial, ...]:
    """The trials with the pictures of a folder searched too, but only their vectors kept.

    Raises:
        RequestError: for a folder that is not there, or has no pictures.
    """
    names = tuple(sorted(paths_within(_files(folder), folder).values()))
    streamed = StreamedPhotos(Path(os.path.abspath(folder)), names, PREFIX)
    return tuple(replace(trial, streamed=streamed) for trial in trials)


def more_of(larger: Trial, before: Trial) -> int:
    """How many distractors a trial got."""
    streamed = 0 if larger.streamed is None else len(larger.streamed)
    return len(larger.gallery) - len(before.gallery) + streamed


def few_note(name: str, promised: int, found: int) -> tuple[str, ...]:
    """A sentence where a dataset's name promises more; one in a hundred may be unreadable."""
    if found >= 0.99 * promised:
        return ()
    note = (
        f"{name} has {promised:,} distractors or more, and here are {found:,}: figures compare "
        "only where they are all there."
    )
    return (note,)


def _files(folder: Path) -> list[Path]:
    files = find_files(folder)
    if not files:
        raise RequestError(f"There are no pictures in {folder}: name the distractors' folder.")
    return files


def _sorted(gallery: tuple[Photo, ...], more: tuple[Photo, ...]) -> tuple[Photo, ...]:
    return tuple(sorted((*gallery, *more), key=lambda photo: photo.path))
