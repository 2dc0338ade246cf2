"""The files of a dataset, in their usual places: images with their sizes, and tables."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from descriptors.arrays import Box
from descriptors.errors import RequestError
from evaluation.trials import DatasetImage
from indexer.sources import find_images

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from evaluation.datasets.facts import ImageFacts
    from evaluation.datasets.photos import Queries
    from evaluation.trials import Trial

__all__ = [
    "CORNERS",
    "DatasetRequest",
    "DatasetSource",
    "FoundImages",
    "box_of",
    "check_boxes",
    "find_files",
    "image_folder",
    "images_of",
    "incomplete_note",
    "numbers",
    "paths_within",
    "read_rows",
    "read_words",
    "require",
    "stems",
    "unreadable_note",
]


# Columns of a box.
CORNERS = ("x0", "y0", "x1", "y1")

# Most names in a sentence.
_NAMED = 5


@dataclass(frozen=True)
class DatasetSource:
    """Where the official files of a dataset come from.

    Attributes:
        name: as usually written, such as Oxford5k.
        page: of its authors.
    """

    name: str
    page: str

    def missing(self, what: str, root: Path) -> RequestError:
        """The error that names what is missing, and where to get it."""
        return RequestError(
            f"{self.name} needs {what} under {root}: get it from the official page, {self.page}, "
            "and unpack it there."
        )


@dataclass(frozen=True)
class DatasetRequest:
    """What a reader of a dataset is given.

    Attributes:
        root: folder of the dataset (or your own CSV file).
        queries: full images or boxes; None for the dataset's own protocol.
        fit: what the whitening is fitted on, nothing for the packaged one; None if nothing was
            named.
        facts: sizes of image files.
    """

    root: Path
    queries: Queries | None
    fit: tuple[DatasetImage, ...] | None
    facts: ImageFacts

    def asks_boxes(self, default: Queries) -> bool:
        """Whether queries have boxes."""
        return (self.queries or default) == "boxes"

    def fit_images(self, source: DatasetSource, example: str) -> tuple[DatasetImage, ...]:
        """What the whitening is fitted on, for a dataset that never fits on itself.

        Raises:
            RequestError: if nothing was named.
        """
        if self.fit is None:
            raise RequestError(
                f"{source.name} fits the whitening on another collection: name one with "
                f"--fit-on, such as {example} (images:DIR is any folder of images)."
            )
        return self.fit


@dataclass(frozen=True)
class FoundImages:
    """Images, and paths of files that are not images, both sorted by path."""

    images: tuple[DatasetImage, ...]
    unreadable: tuple[str, ...]

    def all_readable(self, remedy: str = "unpack the archive again") -> tuple[DatasetImage, ...]:
        """The images, if every file is one.

        Raises:
            RequestError: if one is not an image.
        """
        if self.unreadable:
            raise RequestError(
                f"There are files that cannot be read as images ({_some(self.unreadable)}): {remedy}."
            )
        return self.images


def find_files(folder: Path) -> list[Path]:
    """The image files in a folder and below, sorted by name.

    Raises:
        RequestError: for a folder that does not exist, or a part of it that cannot be listed.
    """
    files = []
    for source in find_images([folder]):
        if source.problem is not None:
            raise RequestError(source.problem.reason)
        files.append(Path(source.uri))
    return files


def image_folder(root: Path, names: Sequence[str]) -> Path:
    """The first of these folders that exists, else the root itself."""
    return next((root / name for name in names if (root / name).is_dir()), root)


def paths_within(files: Sequence[Path], folder: Path, prefix: str = "") -> dict[Path, str]:
    """The path of each file within a folder, after a prefix."""
    top = os.path.abspath(folder)
    return {file: prefix + file.relative_to(top).as_posix() for file in files}


def images_of(paths: Mapping[Path, str], facts: ImageFacts) -> FoundImages:
    """Images of files, given their paths in rankings.

    Raises:
        RequestError: for a file that is missing or cannot be read.
    """
    sizes = facts.sizes(list(paths))
    images = [
        DatasetImage(paths[file], size, file) for file, size in sizes.items() if size is not None
    ]
    unreadable = [paths[file] for file, size in sizes.items() if size is None]
    return FoundImages(tuple(sorted(images, key=lambda p: p.path)), tuple(sorted(unreadable)))


def stems(images: Iterable[DatasetImage], source: DatasetSource) -> dict[str, DatasetImage]:
    """Images by file name without its ending, as ground truths name them.

    Raises:
        RequestError: if two files have one name.
    """
    found: dict[str, DatasetImage] = {}
    for image in images:
        stem = image.file.stem
        if stem in found:
            raise RequestError(
                f"{source.name} has one image per name, but {found[stem].file} and {image.file} "
                "share theirs: name a folder with one copy of the dataset."
            )
        found[stem] = image
    return found


def require(
    names: Collection[str], images: Mapping[str, DatasetImage], source: DatasetSource, root: Path
) -> None:
    """Refuse a ground truth whose images are not all there.

    Raises:
        RequestError: naming some of the missing ones.
    """
    missing = sorted(set(names) - images.keys())
    if missing:
        raise source.missing(f"the images {_some(missing)}", root)


def check_boxes(trials: tuple[Trial, ...]) -> None:
    """Refuse a box outside its image before anything is encoded, naming the image."""
    for trial in trials:
        images = {image.path: image for image in trial.gallery}
        for query in trial.queries:
            _check_inside(query.image, () if query.box is None else (query.box,))
            for path, boxes in query.places.items():
                _check_inside(images[path], boxes)


def _check_inside(image: DatasetImage, boxes: Sequence[Box]) -> None:
    for box in boxes:
        try:
            box.inside(image.size)
        except RequestError as error:
            raise RequestError(f"{image.path}: {error.reason}") from error


def unreadable_note(unreadable: Sequence[str], why: str) -> tuple[str, ...]:
    """A sentence about files that are left out, if any."""
    if not unreadable:
        return ()
    return (f"Left out, {len(unreadable)} that are not images ({why}): {_some(unreadable)}.",)


def incomplete_note(source: DatasetSource, found: int, published: int) -> tuple[str, ...]:
    """A sentence about a dataset with missing images, which makes every search easier."""
    if found >= published:
        return ()
    note = (
        f"The published {source.name} has {published:,} images and this folder {found:,}: "
        "figures are comparable only with all of them."
    )
    return (note,)


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")


def read_rows(path: Path, columns: tuple[str, ...], remedy: str) -> list[dict[str, str]]:
    """The rows of a CSV file that has at least these columns.

    Raises:
        RequestError: with this remedy if it cannot be read; if it lacks a column, or a row is cut
            short.
    """
    try:
        # Spreadsheets write a byte order mark.
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            rows = list(reader)
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(f"{path} cannot be read ({type(error).__name__}): {remedy}.") from error
    if missing:
        raise RequestError(
            f"{path} lacks the columns {', '.join(missing)}: name them in its first line, "
            "separated by commas."
        )
    for line, row in enumerate(rows, start=2):
        if any(row[name] is None for name in columns):
            raise RequestError(f"Row {line} of {path} is cut short: give all of its columns.")
    return rows


def numbers(row: Mapping[str, str], names: tuple[str, ...], file: str) -> list[float]:
    """Some columns of a row as numbers.

    Raises:
        RequestError: if one is not a number.
    """
    try:
        return [float(row[name]) for name in names]
    except ValueError as error:
        raise RequestError(
            f"{file}: {' or '.join(names)} of {row['path']} is not a number: correct it."
        ) from error


def box_of(corners: Sequence[float], where: str) -> Box:
    """A box from a file; `where` is the file and its row, for the error.

    Raises:
        RequestError: for a box without area, or with a coordinate that is not a number.
    """
    try:
        return Box(*corners)
    except RequestError as error:
        raise RequestError(f"{where}: {error.reason}") from error


def read_words(path: Path) -> str:
    """The text of one of the authors' files.

    Raises:
        RequestError: if it is missing, or not text.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RequestError(
            f"{path} cannot be read ({type(error).__name__}): unpack its archive again."
        ) from error
