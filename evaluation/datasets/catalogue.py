"""Every dataset by name: how it is read, what it is fitted on, and its distractors."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from descriptors.errors import RequestError
from evaluation.datasets.buildings import OXFORD, PARIS, read_buildings
from evaluation.datasets.facts import ImageFacts
from evaluation.datasets.files import (
    DatasetRequest,
    FoundImages,
    check_boxes,
    find_files,
    images_of,
    paths_within,
    unreadable_note,
)
from evaluation.datasets.holidays import holidays_images, read_holidays
from evaluation.datasets.instances import folder_images, read_folder
from evaluation.datasets.photos import read_photos, read_trials
from evaluation.datasets.revisited import ROXFORD, RPARIS, read_revisited
from evaluation.trials import StreamedImages

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from evaluation.datasets.photos import Queries
    from evaluation.trials import Progress, Trial

    Reader = Callable[[DatasetRequest], tuple[Trial, ...]]
    Lister = Callable[[Path, ImageFacts], FoundImages]

__all__ = ["DATASETS", "PACKAGED", "FitOn", "read_dataset"]

# Any folder of images, to fit the whitening on.
_IMAGES = "images"
# The packaged whitening, fitted on nothing here.
PACKAGED = "packaged"

# Makes the paths of distractors differ from those of the gallery.
_PREFIX = "+distractors/"


@dataclass(frozen=True)
class _Distractors:
    """Distractors that belong to a dataset.

    Attributes:
        folder: below the dataset's own.
        page: where they come from.
        count: how many there are.
        streamed: whether only vectors of them are kept.
    """

    folder: str
    page: str
    count: int
    streamed: bool = False


@dataclass(frozen=True)
class Dataset:
    """One dataset that can be measured.

    Attributes:
        read: makes its trials.
        images: lists its images, for another dataset's whitening.
        fits_on: the default kind of a folder to fit on.
        queries: full images or boxes, by its protocol.
    """

    read: Reader
    images: Lister
    fits_on: str
    queries: Queries = "full"
    distractors: _Distractors | None = None


@dataclass(frozen=True)
class FitOn:
    """What a whitening is fitted on.

    Attributes:
        kind: a name of `DATASETS`, ``images`` for any folder of images, or ``packaged`` for the
            packaged whitening.
        root: its folder; of no meaning for ``packaged``.
    """

    kind: str
    root: Path

    @classmethod
    def parse(cls, text: str, dataset: str) -> FitOn:
        """``KIND:DIR``, ``DIR`` of the dataset's default kind, or ``packaged``.

        Raises:
            RequestError: for an unknown kind.
        """
        if text == PACKAGED:
            return cls(PACKAGED, Path())
        kind, colon, root = text.partition(":")
        if not text or (colon and not root):
            raise RequestError(f"--fit-on {text!r} names no folder: write DIR, or KIND:DIR.")
        if colon and (kind == _IMAGES or kind in DATASETS):
            return cls(kind, Path(root))
        drive = len(kind) == 1  # as in C:/data
        if colon and "/" not in kind and not drive and not Path(text).exists():
            raise RequestError(
                f"--fit-on {text} is not a folder, nor {kind} a kind of dataset: write DIR, or "
                f"KIND:DIR with one of {_IMAGES}, {', '.join(DATASETS)}."
            )
        return cls(_dataset(dataset).fits_on, Path(text))


def _read_photos_csv(request: DatasetRequest) -> tuple[Trial, ...]:
    return read_trials(request.root, request.queries or "full", request.fit)


_OXFORD = Dataset(partial(read_buildings, OXFORD), OXFORD.images, "paris6k", "boxes")
_PARIS = Dataset(partial(read_buildings, PARIS), PARIS.images, "oxford5k", "boxes")
_ROXFORD = Dataset(partial(read_revisited, ROXFORD), ROXFORD.images, "paris6k", "boxes")
_RPARIS = Dataset(partial(read_revisited, RPARIS), RPARIS.images, "oxford5k", "boxes")
_FLICKR_100K = _Distractors("oxc1_100k", OXFORD.source.page, 100_000)
_REVISITED_1M = _Distractors("revisitop1m", ROXFORD.source.page, 1_000_000, streamed=True)

DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        "photos": Dataset(
            _read_photos_csv, lambda root, _facts: FoundImages(read_photos(root), ()), "photos"
        ),
        "folder": Dataset(read_folder, folder_images, _IMAGES),
        "oxford5k": _OXFORD,
        "paris6k": _PARIS,
        "oxford105k": replace(_OXFORD, distractors=_FLICKR_100K),
        "paris106k": replace(_PARIS, distractors=_FLICKR_100K),
        "roxford5k": _ROXFORD,
        "rparis6k": _RPARIS,
        "roxford5k+1m": replace(_ROXFORD, distractors=_REVISITED_1M),
        "rparis6k+1m": replace(_RPARIS, distractors=_REVISITED_1M),
        "holidays": Dataset(read_holidays, holidays_images, _IMAGES),
    }
)


def read_dataset(  # noqa: PLR0913 - one keyword an option of the command line
    name: str,
    root: Path,
    *,
    queries: Queries | None = None,
    fit_on: FitOn | None = None,
    distractors: Path | None = None,
    stream: bool | None = None,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> tuple[Trial, ...]:
    """The trials of a dataset.

    Args:
        name: of `DATASETS`.
        root: its folder (for ``folder`` perhaps a CSV file).
        queries: full images or boxes; None for its protocol.
        fit_on: what the whitening is fitted on; None for half against half, if the dataset
            allows it.
        distractors: a folder of any images that are added to each gallery; None for the
            dataset's own, below its root.
        stream: whether only vectors of the distractors are kept; None for the dataset's default.
        cache: folder of image sizes between runs; None to store nothing.
        progress: called with what is being done, how many are done, and of how many.

    Raises:
        RequestError: for a name, file, column or image that is missing.
    """
    dataset, facts = _dataset(name), ImageFacts(cache, progress)
    fit = None if fit_on is None else _fit_images(fit_on, facts)
    trials = dataset.read(DatasetRequest(root, queries, None if fit is None else fit.images, facts))
    check_boxes(trials)
    if fit is not None:
        trials = tuple(replace(t, notes=t.notes + _notes(t, fit)) for t in trials)
    promised = dataset.distractors
    folder = distractors or _own_distractors(name, root, promised)
    if folder is None:
        return trials
    if stream is None:
        stream = promised is not None and promised.streamed
    trials, count = _with_distractors(trials, folder, None if stream else facts)
    # One in a hundred may be unreadable.
    if promised is None or count >= 0.99 * promised.count:
        return trials
    note = (
        f"{name} has at least {promised.count:,} distractors, and this folder {count:,}: figures "
        "are comparable only with all of them."
    )
    return tuple(replace(one, notes=(*one.notes, note)) for one in trials)


def _own_distractors(name: str, root: Path, promised: _Distractors | None) -> Path | None:
    """The folder of a dataset's own distractors; None if it has none.

    Raises:
        RequestError: if the folder is missing.
    """
    if promised is None:
        return None
    folder = root / promised.folder
    if not folder.is_dir():
        raise RequestError(
            f"{name} needs its distractors in {folder}, or another folder of them named: get them "
            f"from {promised.page}."
        )
    return folder


def _with_distractors(
    trials: tuple[Trial, ...], folder: Path, facts: ImageFacts | None
) -> tuple[tuple[Trial, ...], int]:
    """The trials with the images of a folder in each gallery, and the number of these.

    Args:
        facts: sizes; None to keep only the images' vectors, so that none is opened here.

    Raises:
        RequestError: for a folder that does not exist or has no images.
    """
    files = find_files(folder)
    if not files:
        raise RequestError(f"There are no images in {folder}: name the distractors' folder.")
    if facts is None:
        names = tuple(sorted(paths_within(files, folder).values()))
        streamed = StreamedImages(Path(os.path.abspath(folder)), names, _PREFIX)
        return tuple(replace(trial, streamed=streamed) for trial in trials), len(names)
    found = images_of(paths_within(files, folder, _PREFIX), facts)
    notes = unreadable_note(found.unreadable, "distractors")
    larger = []
    for trial in trials:
        gallery = sorted((*trial.gallery, *found.images), key=lambda image: image.path)
        larger.append(replace(trial, gallery=tuple(gallery), notes=trial.notes + notes))
    return tuple(larger), len(found.images)


def _dataset(name: str) -> Dataset:
    if name not in DATASETS:
        raise RequestError(f"There is no dataset {name!r}: choose among {', '.join(DATASETS)}.")
    return DATASETS[name]


def _fit_images(fit_on: FitOn, facts: ImageFacts) -> FoundImages:
    """The images of what the whitening is fitted on; none for the packaged one."""
    if fit_on.kind == PACKAGED:
        return FoundImages((), ())
    lister = folder_images if fit_on.kind == _IMAGES else _dataset(fit_on.kind).images
    found = lister(fit_on.root, facts)
    if not found.images:
        raise RequestError(f"--fit-on {fit_on.root} has no images: name another folder.")
    return found


def _notes(trial: Trial, fit: FoundImages) -> tuple[str, ...]:
    """Notes about the images that are fitted on."""
    notes = unreadable_note(fit.unreadable, "of those the whitening is fitted on")
    shared = {image.file for image in trial.gallery}.intersection(p.file for p in fit.images)
    if shared:
        notes += (
            f"{len(shared)} images of the gallery are also fitted on, unlike in published figures.",
        )
    return notes
