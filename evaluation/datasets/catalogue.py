"""Every dataset by its name: how it is read, what it needs, where its files come from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from descriptors.errors import RequestError
from evaluation.datasets.buildings import OXFORD, PARIS, read_buildings
from evaluation.datasets.distractors import (
    add_distractors,
    few_note,
    more_of,
    stream_distractors,
)
from evaluation.datasets.facts import PhotoFacts
from evaluation.datasets.files import FoundPhotos, Request, check_boxes, unreadable_note
from evaluation.datasets.folders import folder_photos, read_folder
from evaluation.datasets.holidays import HOLIDAYS, holidays_photos, read_holidays
from evaluation.datasets.photos import read_photos, read_trials
from evaluation.datasets.revisited import ROXFORD, RPARIS, read_revisited

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from evaluation.datasets.photos import Queries
    from evaluation.trials import Progress, Trial

    Reader = Callable[[Request], tuple[Trial, ...]]
    Lister = Callable[[Path, PhotoFacts], FoundPhotos]

__all__ = ["DATASETS", "Dataset", "FitOn", "read_dataset"]

# What the whitening may be fitted on besides a dataset's own photos: any folder of pictures.
_PICTURES = "pictures"


@dataclass(frozen=True)
class Dataset:
    """One dataset that can be measured.

    Attributes:
        read: makes its trials.
        photos: lists its pictures, for another dataset's whitening.
        description: a line for people.
        page: where its files come from; "" for one's own.
        queries: what its protocol asks with.
        fits_on: the kind of dataset that a folder to fit on is, unless it is said; None where
            it must be said.
        distractors: the folder that its name says is added to the gallery; "" for none.
        distractors_page: where that comes from.
        streamed: whether of those only vectors are kept.
        min_distractors: how many its name promises.
    """

    read: Reader
    photos: Lister
    description: str
    page: str = ""
    queries: Queries = "full"
    fits_on: str | None = None
    distractors: str = ""
    distractors_page: str = ""
    streamed: bool = False
    min_distractors: int = 0


@dataclass(frozen=True)
class FitOn:
    """What a whitening is fitted on.

    Attributes:
        kind: a name of `DATASETS`, or ``pictures`` for any folder of pictures.
        root: its folder.
    """

    kind: str
    root: Path

    @classmethod
    def parse(cls, text: str, dataset: str) -> FitOn:
        """``KIND:DIR``, or ``DIR`` of the kind that this dataset is usually fitted on.

        Raises:
            RequestError: for a kind that does not exist.
        """
        kind, colon, root = text.partition(":")
        if not text or (colon and not root):
            raise RequestError(f"--fit-on {text!r} names no folder: write DIR, or KIND:DIR.")
        if colon and (kind == _PICTURES or kind in DATASETS):
            return cls(kind, Path(root))
        drive = len(kind) == 1  # as in C:/data
        if colon and "/" not in kind and not drive and not Path(text).exists():
            raise RequestError(
                f"--fit-on {text} is no folder, and {kind} no kind of dataset: write DIR, or "
                f"KIND:DIR with one of {_PICTURES}, {', '.join(DATASETS)}."
            )
        return cls(_dataset(dataset).fits_on or _PICTURES, Path(text))


def _read_photos_csv(request: Request) -> tuple[Trial, ...]:
    return read_trials(request.root, request.queries or "full", request.fit)


_BUILDINGS = {
    "oxford5k": Dataset(
        partial(read_buildings, OXFORD),
        OXFORD.photos,
        "Oxford5k: 5,063 photos, 55 queries with boxes",
        OXFORD.source.page,
        queries="boxes",
        fits_on="paris6k",
    ),
    "paris6k": Dataset(
        partial(read_buildings, PARIS),
        PARIS.photos,
        "Paris6k: 6,392 photos, 55 queries with boxes",
        PARIS.source.page,
        queries="boxes",
        fits_on="oxford5k",
    ),
    "roxford5k": Dataset(
        partial(read_revisited, ROXFORD),
        ROXFORD.photos,
        "ROxford5k: 4,993 photos, 70 queries with boxes; medium, easy, hard",
        ROXFORD.source.page,
        queries="boxes",
        fits_on="paris6k",
    ),
    "rparis6k": Dataset(
        partial(read_revisited, RPARIS),
        RPARIS.photos,
        "RParis6k: 6,322 photos, 70 queries with boxes; medium, easy, hard",
        RPARIS.source.page,
        queries="boxes",
        fits_on="oxford5k",
    ),
}
_FLICKR = {
    "distractors": "oxc1_100k",
    "distractors_page": OXFORD.source.page,
    "min_distractors": 100_000,
}
_REVISITED_1M = {
    "distractors": "revisitop1m",
    "distractors_page": ROXFORD.source.page,
    "min_distractors": 1_000_000,
    "streamed": True,
}


def _larger(name: str, description: str, distractors: Mapping[str, Any]) -> Dataset:
    return replace(_BUILDINGS[name], description=description, **distractors)


DATASETS: Mapping[str, Dataset] = MappingProxyType(
    {
        "photos": Dataset(
            _read_photos_csv,
            lambda root, _facts: FoundPhotos(read_photos(root), ()),
            "a folder with photos.csv (and queries.csv, junk.csv for boxes)",
            fits_on="photos",
        ),
        "folder": Dataset(
            read_folder,
            folder_photos,
            "a folder of one's own: a subfolder an instance, or instances.csv",
            fits_on=_PICTURES,
        ),
        **_BUILDINGS,
        "oxford105k": _larger("oxford5k", "Oxford5k and 100k Flickr photos", _FLICKR),
        "paris106k": _larger("paris6k", "Paris6k and 100k Flickr photos", _FLICKR),
        "roxford5k+1m": _larger(
            "roxford5k", "ROxford5k and a million distractors, streamed", _REVISITED_1M
        ),
        "rparis6k+1m": _larger(
            "rparis6k", "RParis6k and a million distractors, streamed", _REVISITED_1M
        ),
        "holidays": Dataset(
            read_holidays,
            holidays_photos,
            "INRIA Holidays: 1,491 photos, 500 queries",
            HOLIDAYS.page,
            fits_on=_PICTURES,
        ),
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
        queries: full pictures or boxes; None as its protocol has it.
        fit_on: what the whitening is fitted on; None for half against half, where the dataset
            allows it.
        distractors: a folder of any pictures that are added to each gallery; None for those
            that the dataset's name promises, looked for below its root.
        stream: whether only vectors of the distractors are kept; None as the dataset has it.
        cache: where sizes of photos are kept between runs; None to keep nothing.
        progress: told what is done, how many of it, and of how many.

    Raises:
        RequestError: for a name, file, column or photo that is missing, with its remedy.
    """
    dataset, facts = _dataset(name), PhotoFacts(cache, progress)
    fit = None if fit_on is None else _fit_photos(fit_on, facts)
    trials = dataset.read(Request(root, queries, None if fit is None else fit.photos, facts))
    check_boxes(trials)
    if fit is not None:
        trials = tuple(replace(t, notes=t.notes + _notes(t, fit)) for t in trials)
    folder = distractors or _promised(name, dataset, root)
    if folder is None:
        return trials
    if dataset.streamed if stream is None else stream:
        larger = stream_distractors(trials, folder)
    else:
        larger = add_distractors(trials, folder, facts)
    return tuple(
        replace(
            one, notes=one.notes + few_note(name, dataset.min_distractors, more_of(one, before))
        )
        for one, before in zip(larger, trials, strict=True)
    )


def _dataset(name: str) -> Dataset:
    if name not in DATASETS:
        raise RequestError(f"There is no dataset {name!r}: those known are {', '.join(DATASETS)}.")
    return DATASETS[name]


def _fit_photos(fit_on: FitOn, facts: PhotoFacts) -> FoundPhotos:
    """The photos of what the whitening is fitted on."""
    lister = folder_photos if fit_on.kind == _PICTURES else _dataset(fit_on.kind).photos
    return lister(fit_on.root, facts)


def _notes(trial: Trial, fit: FoundPhotos) -> tuple[str, ...]:
    """What people should know of the photos that are fitted on."""
    notes = unreadable_note(fit.unreadable, "of those the whitening is fitted on")
    shared = {photo.file for photo in trial.gallery}.intersection(p.file for p in fit.photos)
    if shared:
        notes += (
            f"{len(shared)} photos of the gallery are also fitted on: published figures never do.",
        )
    return notes


def _promised(name: str, dataset: Dataset, root: Path) -> Path | None:
    """The folder of distractors that a dataset's name promises."""
    if not dataset.distractors:
        return None
    folder = root / dataset.distractors
    if not folder.is_dir():
        raise RequestError(
            f"{name} needs its distractors in {folder}, or their folder named: get them from "
            f"{dataset.distractors_page}."
        )
    return folder
